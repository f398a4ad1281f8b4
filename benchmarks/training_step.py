"""What a step of training a block head, or a small model, takes, and where the time goes.

    training_step.py TEXTS.jsonl [-m smollm2] [--device cuda] [--tokens 6144] [--steps 20] [--kept]
                     [--precision bfloat16] [--brief] [--student 6x288]

TEXTS: made by `foredraft train data`. Prints torch's profile of a short run, its one evaluation included, and the
milliseconds a step, from two runs of which one is --steps longer.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, profile

from foredraft.train import corpus
from foredraft.train.block import BlockRecipe
from foredraft.train.block import Settings as Block
from foredraft.train.distill import Settings as Distill
from foredraft.train.distill import distilled
from foredraft.train.precision import precision_for
from foredraft.train.taps import Taps, folder_of
from foredraft.train.target import TorchTarget
from foredraft.train.trainer import Settings, Trainer

SHORT = 5  # steps


def main() -> None:
    parser = argparse.ArgumentParser(description="What a step of training a block head takes, and where the time goes.")
    parser.add_argument("texts", type=Path)
    parser.add_argument("-m", "--model", default="smollm2")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tokens", type=int, default=6144)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--kept", action="store_true", help="hidden states are read from TEXTS.taps")
    parser.add_argument("--precision", default="", help="float32 or bfloat16; by default what the machine is fast at")
    parser.add_argument("--student", default="", help="a small model in place of a head, as in 6x288")
    parser.add_argument("--brief", action="store_true", help="no profile")
    options = parser.parse_args()
    texts, kept = corpus.read(options.texts), Taps(folder_of(options.texts)) if options.kept else None
    target = TorchTarget(options.model, options.device, "bfloat16", kept)
    precision = precision_for(target.device.type, options.precision)

    def seconds(steps: int) -> float:
        if options.student:
            recipe: Any = distilled(target, texts, Distill(options.student, vocabulary=10240))
        else:
            recipe = BlockRecipe(target, texts, Block(vocabulary=8192))
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(steps=steps, tokens=options.tokens, held_out=2, precision=precision)
            Trainer(recipe, texts, Path(folder), settings, tell=lambda _: None).run()
        return time.monotonic() - began

    short = seconds(SHORT)
    if not options.brief:
        profiled(lambda: seconds(SHORT), options.device)
    print(f"{1e3 * (seconds(SHORT + options.steps) - short) / options.steps:.1f} ms a step")


def profiled(run: Callable[[], object], device: str) -> None:
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    with profile(activities=activities) as seen:
        run()
    orders = ("self_device_time_total", "self_cpu_time_total")[device == "cpu" :]
    for order in orders:
        print(seen.key_averages().table(sort_by=order, row_limit=20, max_name_column_width=60))


if __name__ == "__main__":
    main()
