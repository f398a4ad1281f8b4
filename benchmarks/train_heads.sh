#!/bin/bash
# Trained heads: texts, training, packing. A GPU with 80 GB; some fifteen minutes for the heads that come with foredraft,
# and four minutes a method for all methods on SmolLM2.
# Usage: benchmarks/train_heads.sh PROMPTS.jsonl BENCHMARK.jsonl OUT [shipped | methods | distill]
# shipped: the heads and tables that come with foredraft, the default. methods: every method on SmolLM2, from the same
# texts, in the same time, with the same vocabulary, batches and rate. distill: small models of four sizes, and every
# divergence on one of them. Runs that were cut short go on.
set -euo pipefail
here=$(dirname "$0")
prompts=$1 against=$2 out=$3 what=${4:-shipped}
device=${DEVICE:-cuda} minutes_each=${MINUTES:-3.74}
mkdir -p "$out"

make_texts() { # name, invented prompts; made once, for a run goes on only with the texts that it began with
  [ ! -e "$out/$1.made" ] || return 0
  foredraft train data -m "$1" --device "$device" --out "$out/$1.jsonl" --prompts "$prompts" --against "$against" \
    --invent "$2" --openings "$here/prompts/openings.txt" --max-invented 384 --temperatures 0,0.7 --max-tokens 160 --max-prompt 640 --batch 1024 --minutes 2
  touch "$out/$1.made"
}

make_table() { # target: what recycling begins with, counted from the same texts
  foredraft train successors -m "$1" --data "$out/$1.jsonl" --out "$out/$1.successors"
}

train_head() { # target, name of the head, minutes, method, its options
  target=$1 name=$2 minutes=$3 method=$4
  shift 4
  foredraft train "$method" -m "$target" --device "$device" --data "$out/$target.jsonl" --out "$out/$name" --tokens 6144 \
    --steps 100000 --minutes "$minutes" --evaluate 45 "$@"
  foredraft train pack "$out/$name/head.safetensors" "$out/$name.safetensors"
}

if [ "$what" = shipped ]; then
  make_texts smollm2 4096
  train_head smollm2 smollm2 3.74 block --hidden 1536 --vocabulary 10240 --rate 1.5e-3
  make_table smollm2
  make_texts qwen2.5-coder-1.5b 3072
  train_head qwen2.5-coder-1.5b qwen2.5-coder-1.5b 3.66 block --hidden 2560 --vocabulary 16384 --rate 8e-4
  make_table qwen2.5-coder-1.5b
elif [ "$what" = distill ]; then
  make_texts smollm2 4096
  distil() { # name, options
    name=$1
    shift
    foredraft train distill -m smollm2 --device "$device" --data "$out/smollm2.jsonl" --out "$out/$name" --tokens 6144 \
      --steps 100000 --minutes "$minutes_each" --evaluate 45 --rate 1e-3 "$@"
  }
  distil student-3m --student 2x64
  distil student-8m --student 8x128
  distil student-20m --student 6x288
  distil student-45m --student 0,7,15,22,29
  for divergence in forward-kl reverse-kl jensen-shannon total-variation likelihood hybrid; do
    [ "$divergence" = forward-kl ] || distil "student-20m-$divergence" --student 6x288 --divergence "$divergence"
    distil "student-20m-$divergence-own" --student 6x288 --divergence "$divergence" --on-policy 0.5
  done
else
  make_texts smollm2 4096
  same=(--vocabulary 10240 --rate 1.5e-3)
  train_head smollm2 block "$minutes_each" block --hidden 1536 "${same[@]}"
  train_head smollm2 medusa "$minutes_each" medusa --heads 5 "${same[@]}"
  train_head smollm2 medusa-own "$minutes_each" medusa --heads 5 --own-projection "${same[@]}"
  train_head smollm2 hydra "$minutes_each" hydra --heads 5 "${same[@]}"
  train_head smollm2 hydra-plus "$minutes_each" hydra --plus --heads 5 "${same[@]}"
  train_head smollm2 mtp "$minutes_each" mtp --heads 4 "${same[@]}"
  train_head smollm2 eagle "$minutes_each" eagle --hidden 1536 "${same[@]}"
  train_head smollm2 eagle3 "$minutes_each" eagle3 --hidden 1536 "${same[@]}"
  train_head smollm2 mtp-recursive "$minutes_each" mtp-sequential --hidden 1536 --block 5 "${same[@]}"
  train_head smollm2 mtp-modules "$minutes_each" mtp-sequential --hidden 1536 --block 4 --modules 4 "${same[@]}"
fi
