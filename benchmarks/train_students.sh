#!/bin/bash
# Small models that draft for SmolLM2: what a model's size and the divergence it learns by are worth. Without a GPU; runs
# that were cut short go on.
# Usage: [LAYERS=30] benchmarks/train_students.sh TEXTS.jsonl OUT [sizes | divergences | further | own]
# TEXTS.jsonl: by `foredraft train data`; its last hidden states are kept beside it first, 1.2 GB for a million tokens.
# LAYERS: those kept already, where there are more than the last; DISK: what they may take, in GB.
# Rates fall with the width, 0.64 of its inverse: of two or three tried for 100 batches of the two smallest the highest
# lost least; the others follow.
# sizes: four of them, forward KL. divergences: every one, on the second, from nothing. further: every one, on the
# largest of the sizes, which goes on. own: two of them on one like it of fewer batches, which goes on, on the target's
# words, on its own, and where half of the batches are its own; judged at their ends alone, for what is kept is the best
# that was judged. A rate rises for a hundred batches, so those of few batches are given higher ones.
set -euo pipefail
texts=$1 out=$2 what=${3:-sizes divergences further own}
mkdir -p "$out"
none=$out/none.jsonl
: > "$none"
foredraft train data -m smollm2 --device cpu --out "$texts" --prompts "$none" --taps --layers "${LAYERS:-30}" --disk "${DISK:-12}"

distil() { # name, options
  name=$1
  shift
  [ ! -e "$out/$name/done" ] || return 0
  foredraft train distill -m smollm2 --data "$texts" --out "$out/$name" --kept --vocabulary 10240 --tokens 6144 \
    --evaluate 300 "$@"
  touch "$out/$name/done"
}

every="forward-kl reverse-kl jensen-shannon total-variation likelihood hybrid"
for one in $what; do
  if [ "$one" = sizes ]; then
    distil 3m --student 2x64 --steps 600 --rate 1e-2
    distil 8m --student 8x128 --steps 600 --rate 5e-3
    distil 20m --student 6x288 --steps 600 --rate 2.2e-3
    distil 45m --student 0,7,15,22,29 --steps 600 --rate 1.1e-3
  elif [ "$one" = divergences ]; then
    for divergence in $every; do
      distil "$divergence" --student 8x128 --steps 300 --rate 5e-3 --divergence "$divergence"
    done
  elif [ "$one" = further ]; then
    for divergence in $every; do
      distil "45m-$divergence" --student "$out/45m/model.gguf" --steps 80 --rate 3e-4 --divergence "$divergence"
    done
  elif [ "$one" = own ]; then
    distil begun --student 0,7,15,22,29 --steps 70 --rate 4e-3
    for divergence in forward-kl reverse-kl; do
      same=(--student "$out/begun/model.gguf" --steps 24 --rate 8e-3 --divergence "$divergence" --evaluate 99999)
      distil "$divergence-theirs" "${same[@]}"
      distil "$divergence-half" "${same[@]}" --on-policy 0.5
      distil "$divergence-own" "${same[@]}" --on-policy 1
    done
  else
    echo "$one is none of sizes, divergences, further and own" >&2
    exit 2
  fi
done
