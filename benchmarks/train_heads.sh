#!/bin/bash
# The heads that come with foredraft: texts, training, packing. A GPU with 80 GB; some fifteen minutes.
# Usage: benchmarks/train_heads.sh PROMPTS.jsonl BENCHMARK.jsonl OUT
set -euo pipefail
prompts=$1 against=$2 out=$3
mkdir -p "$out"

make_head() { # name, invented prompts, minutes, options of the head
  name=$1 invented=$2 minutes=$3
  shift 3
  foredraft train data -m "$name" --device cuda --out "$out/$name.jsonl" --prompts "$prompts" --against "$against" \
    --invent "$invented" --temperatures 0,0.7 --max-tokens 160 --max-prompt 640 --batch 1024 --minutes 2
  foredraft train block -m "$name" --device cuda --data "$out/$name.jsonl" --out "$out/$name" --tokens 6144 --steps 100000 \
    --minutes "$minutes" --evaluate 45 "$@"
  foredraft train pack "$out/$name/head.safetensors" "$out/$name.safetensors"
}

make_head smollm2 4096 3.74 --hidden 1536 --vocabulary 10240 --rate 1.5e-3
make_head qwen2.5-coder-1.5b 3072 3.66 --hidden 2560 --vocabulary 16384 --rate 8e-4
