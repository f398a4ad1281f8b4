"""Run in a folder with a target and texts: training that is killed between its files, or finds no room for them.

Every run is a child of its own, which has torch already. What they said is printed as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from foredraft.core.errors import ForedraftError
from foredraft.heads.files import read_head, write_head
from foredraft.train import block, corpus, distill
from foredraft.train.corpus import Text
from foredraft.train.target import TorchTarget
from foredraft.train.trainer import Settings, Trainer

SHAPE = block.Settings(hidden=64, block=3, vocabulary=200, heads=(2, 1, 16), rank=8)
STEPS = 4
KILLED = range(1, 8)  # before which of the files that it puts in place


def train(target: TorchTarget, texts: list[Text], out: Path, steps: int = STEPS) -> None:
    """An evaluation a step."""
    loop = Settings(steps=steps, tokens=512, rate=5e-3, warmup=2, evaluate=0.0)
    Trainer(block.BlockRecipe(target, texts, SHAPE), texts, out, loop, lambda _: None).run()


def child(work: Callable[[], None], said: Path, *, killed: int = 0, most: int = 0) -> str:
    """What it said, or by which signal it ended. killed: before so many files are put in place. most: bytes of one."""
    if not (pid := os.fork()):
        if killed:
            _kill_before(killed)
        said.write_text("")
        with said.open("w", buffering=1) as told:
            if most:
                resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
            try:
                work()
            except ForedraftError as error:
                told.write(str(error))
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else said.read_text()


def _kill_before(count: int) -> None:
    whole, done = os.replace, 0

    def replace(*given: Any) -> None:
        nonlocal done
        done += 1
        if done == count:
            os.kill(os.getpid(), signal.SIGKILL)
        whole(*given)

    os.replace = replace


def readable(out: Path) -> None:
    """Raises where a file is there and is not whole."""
    if (out / "state.pt").exists():
        torch.load(out / "state.pt", weights_only=True)
    if (out / "head.safetensors").exists():
        read_head(out / "head.safetensors")
    if (out / "log.jsonl").exists():
        [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def main(folder: Path) -> None:
    torch.set_num_threads(1)  # a fork has no others
    target, texts = TorchTarget(str(folder / "target"), "cpu", "float32"), corpus.read(folder / "texts.jsonl")
    said, found = folder / "said", dict[str, Any]()
    train(target, texts, folder / "whole")
    found["killed"] = []
    for count in KILLED:
        found["killed"].append(child(lambda: train(target, texts, folder / "killed"), said, killed=count))
        readable(folder / "killed")
    train(target, texts, folder / "killed")
    train(target, texts, folder / "full", 2)
    found["full"] = child(lambda: train(target, texts, folder / "full"), said, most=4096)
    found["beside full"] = [path.name for path in (folder / "full").glob("*.part")]
    readable(folder / "full")
    (folder / "packed").mkdir()
    head = read_head(folder / "whole" / "head.safetensors")
    found["head"] = child(lambda: write_head(folder / "packed" / "head", *head), said, most=4096)
    found["beside head"] = [path.name for path in (folder / "packed").iterdir()]
    student = distill.distilled(target, texts, distill.Settings("1x32"))
    found["student"] = child(lambda: student.write(folder / "student", {}), said, most=4096)
    found["beside student"] = [path.name for path in (folder / "student").iterdir()]
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
