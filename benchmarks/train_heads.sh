#!/bin/bash
# Trained heads: texts, training, packing. A GPU with 80 GB; on an H200 some ten minutes for a head, and one to five a
# method for all methods on SmolLM2, by how many run beside each other.
# Usage: benchmarks/train_heads.sh PROMPTS.jsonl BENCHMARK.jsonl OUT [shipped | further | longer | methods]
# The heads that come with foredraft are made by shipped, further and longer, one after the other; the tables by shipped,
# which is the default. further: SmolLM2's goes on, on a CPU, in an hour and 25 GB of disk. longer: both go on with
# more texts, on a GPU of 140 GB. methods: every method on SmolLM2, from the same batches of the same texts, with the
# same vocabulary and rate. Runs that were cut short go on. A step by itself leaves much of a GPU idle: where time is
# short, run several of the commands beside each other. Small models: train_students.sh.
set -euo pipefail
here=$(dirname "$0")
prompts=$1 against=$2 out=$3 what=${4:-shipped}
device=${DEVICE:-cuda} steps_each=${STEPS:-600}
mkdir -p "$out"

make_texts() { # name, invented prompts, texts at once; made once, for a run goes on only with the texts that it began with
  [ ! -e "$out/$1.made" ] || return 0
  { grep -v gsm8k-train "$prompts" || true; { grep gsm8k-train "$prompts" || true; } | sed -n 1,2000p; } > "$out/$1.prompts.jsonl"
  foredraft train data -m "$1" --device "$device" --out "$out/$1.jsonl" --prompts "$out/$1.prompts.jsonl" --against "$against" \
    --invent "$2" --openings "$here/prompts/openings.txt" --max-invented 384 --temperatures 0,0.7 --max-tokens 160 --max-prompt 640 --batch "$3" --minutes 2.2
  touch "$out/$1.made"
}

make_table() { # target: what recycling begins with, counted from the same texts
  foredraft train successors -m "$1" --data "$out/$1.jsonl" --out "$out/$1.successors"
}

train_head() { # target, name of the head, steps, method, its options
  target=$1 name=$2 steps=$3 method=$4
  shift 4
  foredraft train "$method" -m "$target" --device "$device" --data "$out/$target.jsonl" --out "$out/$name" --tokens 6144 \
    --steps "$steps" --evaluate 100 "$@"
  foredraft train pack "$out/$name/head.safetensors" "$out/$name.safetensors"
}

if [ "$what" = shipped ]; then
  make_texts smollm2 8192 2048
  train_head smollm2 smollm2 2757 block --hidden 1536 --vocabulary 10240 --rate 1.5e-3
  make_table smollm2
  make_texts qwen2.5-coder-1.5b 3072 1024
  train_head qwen2.5-coder-1.5b qwen2.5-coder-1.5b 1137 block --hidden 2560 --vocabulary 16384 --rate 8e-4
  make_table qwen2.5-coder-1.5b
elif [ "$what" = further ]; then
  : > "$out/none.jsonl"
  foredraft train data -m smollm2 --device cpu --out "$out/smollm2.jsonl" --prompts "$out/none.jsonl" --taps --layers 2,15,27 --disk 40
  foredraft train block -m smollm2 --device cpu --data "$out/smollm2.jsonl" --kept --out "$out/smollm2-further" --begin "$out/smollm2.safetensors" \
    --hidden 1536 --tokens 6144 --rate 1e-3 --steps 1143 --evaluate 800
  foredraft train pack "$out/smollm2-further/head.safetensors" "$out/smollm2-further.safetensors"
elif [ "$what" = longer ]; then
  # of SmolLM2's second texts the first 10,624 of 16,768 were there when it went on
  more=(--against "$against" --openings "$here/prompts/openings.txt" --temperatures 0,0.7 --max-tokens 160 --max-prompt 640 --seed 7000000)
  foredraft train data -m smollm2 --device cpu --out "$out/smollm2-more.jsonl" --invent 10240 --max-invented 384 --batch 512 "${more[@]}"
  foredraft train data -m qwen2.5-coder-1.5b --device "$device" --out "$out/qwen2.5-coder-1.5b-more.jsonl" --invent 14336 --max-invented 320 --batch 2048 --minutes 2.4 "${more[@]}"
  for target in smollm2 qwen2.5-coder-1.5b; do
    { cat "$out/$target.jsonl"; tail -n +2 "$out/$target-more.jsonl"; } > "$out/$target-both.jsonl"
  done
  go_on() { # target, name, head to begin with, its options
    foredraft train block -m "$1" --device "$device" --data "$out/$1-both.jsonl" --out "$out/$2" --begin "$3" --tokens 6144 "${@:4}"
    foredraft train pack "$out/$2/head.safetensors" "$out/$2.safetensors"
  }
  go_on smollm2 smollm2-longer "$out/smollm2-further.safetensors" --hidden 1536 --rate 1e-3 --steps 2634 --evaluate 100 --remember 36
  go_on smollm2 smollm2-longer-2 "$out/smollm2-longer/head.safetensors" --hidden 1536 --rate 7e-4 --steps 1177 --evaluate 80 --remember 36
  go_on qwen2.5-coder-1.5b qwen2.5-coder-1.5b-longer "$out/qwen2.5-coder-1.5b.safetensors" --vocabulary 16384 --hidden 2560 --rate 1e-3 --steps 4249 --evaluate 75 --remember 80
else
  make_texts smollm2 8192 2048
  same=(--vocabulary 10240 --rate 1.5e-3)
  train_head smollm2 block "$steps_each" block --hidden 1536 "${same[@]}"
  train_head smollm2 medusa "$steps_each" medusa --heads 5 "${same[@]}"
  train_head smollm2 medusa-own "$steps_each" medusa --heads 5 --own-projection "${same[@]}"
  train_head smollm2 hydra "$steps_each" hydra --heads 5 "${same[@]}"
  train_head smollm2 hydra-plus "$steps_each" hydra --plus --heads 5 "${same[@]}"
  train_head smollm2 mtp "$steps_each" mtp --heads 4 "${same[@]}"
  train_head smollm2 eagle "$steps_each" eagle --hidden 1536 "${same[@]}"
  train_head smollm2 eagle3 "$steps_each" eagle3 --hidden 1536 "${same[@]}"
  train_head smollm2 mtp-recursive "$steps_each" mtp-sequential --hidden 1536 --block 5 "${same[@]}"
  train_head smollm2 mtp-modules "$steps_each" mtp-sequential --hidden 1536 --block 4 --modules 4 "${same[@]}"
fi
