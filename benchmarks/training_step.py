"""What a step of training a block head takes, and where the time goes.

    training_step.py TEXTS.jsonl [-m smollm2] [--device cuda] [--tokens 6144] [--steps 20]

TEXTS: made by `foredraft train data`. Prints torch's profile of a short run, its one evaluation included, and the
milliseconds a step, from two runs of which one is --steps longer.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

from foredraft.train import corpus
from foredraft.train.block import BlockRecipe
from foredraft.train.block import Settings as Block
from foredraft.train.precision import precision_for
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
    options = parser.parse_args()
    texts = corpus.read(options.texts)
    target = TorchTarget(options.model, options.device, "bfloat16")

    def seconds(steps: int) -> float:
        recipe, began = BlockRecipe(target, texts, Block(vocabulary=8192)), time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(steps=steps, tokens=options.tokens, held_out=2, precision=precision_for(target.device))
            Trainer(recipe, texts, Path(folder), settings, tell=lambda _: None).run()
        return time.monotonic() - began

    short = seconds(SHORT)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if options.device == "cuda" else [])]
    with profile(activities=activities) as seen:
        seconds(SHORT)
    orders = ("self_device_time_total", "self_cpu_time_total")[options.device == "cpu" :]
    for order in orders:
        print(seen.key_averages().table(sort_by=order, row_limit=20, max_name_column_width=60))
    print(f"{1e3 * (seconds(SHORT + options.steps) - short) / options.steps:.1f} ms a step")


if __name__ == "__main__":
    main()
