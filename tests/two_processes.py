"""Run by torchrun in a folder: trains in every way that several processes can, and writes what each lost.

Here are also the recipes, so that the test makes the same with one process.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from cut_short import learn_until
from foredraft.train import block, corpus, distill, eagle, joint, mtp
from foredraft.train.corpus import Text
from foredraft.train.processes import Processes, started
from foredraft.train.target import TorchTarget
from foredraft.train.trainer import Settings, Trainer

LOOP = Settings(steps=8, tokens=320, rate=5e-3, warmup=2)
SMALL: dict[str, Any] = {"hidden": 64, "block": 3, "vocabulary": 200, "heads": (2, 1, 16)}
RECIPES: dict[str, Callable[[Path, list[Text], Path], Any]] = {
    "block": lambda name, texts, out: block.BlockRecipe(target(name), texts, block.Settings(rank=8, **SMALL)),
    "eagle": lambda name, texts, out: eagle.EagleRecipe(target(name), texts, eagle.Settings(noise=0.0, **SMALL)),
    "mtp": lambda name, texts, out: mtp.MTPRecipe(target(name), texts, mtp.Settings(**SMALL)),
    "distill": lambda name, texts, out: distill.distilled(target(name), texts, distill.Settings("1x32")),
    "distill of some": lambda name, texts, out: of_some(target(name), texts),
    "joint": lambda name, texts, out: joint.JointRecipe(
        target(name), texts, joint.Settings(block=2, vocabulary=200), out=out / "target"
    ),
}
# What each draws differs with their number, so it is no one's but its own.
DRAWN: dict[str, Callable[[Path, list[Text], Path], Any]] = {
    f"own words {share}": lambda name, texts, out, share=share: distill.distilled(
        target(name), texts, distill.Settings("1x32", on_policy=share)
    )
    for share in (0.5, 1.0)
}


def of_some(target: TorchTarget, texts: list[Text]) -> distill.DistillRecipe:
    """Laws are compared over a sample that holds every token, so that none is drawn by chance."""
    common = range(30, target.head.shape[0])
    settings = distill.Settings("1x32", vocabulary=len(common))
    return distill.DistillRecipe(target, distill.make_student(target, "1x32"), settings, common)


def target(name: Path) -> TorchTarget:
    return TorchTarget(str(name), "cpu", "float32")


def losses(folder: Path, name: str, out: Path, stops: Iterable[int], processes: Processes | None = None) -> list[float]:
    """Of a run that is cut short at every stop and taken up, and at last of a batch of one text."""
    texts = corpus.read(folder / "texts.jsonl")
    found: list[float] = []
    for stop in stops:
        recipe = (RECIPES | DRAWN)[name](folder / "target", texts, out)
        run = Trainer(recipe, texts, out, LOOP, lambda _: None, processes)
        found += learn_until(stop, run, out, lambda kept: kept._evaluate([]))
    return [*found, run._learn(texts[:1])]


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    joint.WARMUP = 2
    both, found = started("cpu"), {}
    assert both.count == 2
    for name in RECIPES:
        for sharded in (False, True):
            way = f"{name} sharded" if sharded else name
            processes: Any = dataclasses.replace(both, sharded=sharded)  # type: ignore[type-var]
            found[way] = losses(folder, name, folder / way, [2, 4], processes)
            taken_up = folder / f"{way} from one"
            if both.rank == 0:
                shutil.copytree(folder / f"{name} one at 2", taken_up)
            both.each(None)  # copied by now
            found[f"{way} from one"] = losses(folder, name, taken_up, [4], processes)
    for name in DRAWN:
        for sharded in (False, True):
            way = f"{name} sharded" if sharded else name
            held: Any = dataclasses.replace(both, sharded=sharded)  # type: ignore[type-var]
            found[way] = losses(folder, name, folder / way, [4], held)
    if both.rank == 0:
        (folder / "losses.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
