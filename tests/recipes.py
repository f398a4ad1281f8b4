"""Recipes of every kind of head for a tiny target, its texts, and what tests ask of both (torch)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from foredraft.train import block, corpus, data, eagle, eagle3, hydra, medusa, mtp, mtp_sequential
from foredraft.train.corpus import Text
from foredraft.train.recipe import HeadRecipe
from foredraft.train.target import TorchTarget

SIZES: dict[str, Any] = {"block": 3, "vocabulary": 200}
LAYER: dict[str, Any] = {"hidden": 64, "heads": (2, 1, 16)}
Make = Callable[[TorchTarget, list[Text]], HeadRecipe]
RECIPES: dict[str, Make] = {
    "medusa": lambda target, texts: medusa.MedusaRecipe(target, texts, medusa.Settings(**SIZES)),
    "medusa own": lambda target, texts: medusa.MedusaRecipe(target, texts, medusa.Settings(own=True, **SIZES)),
    "hydra": lambda target, texts: hydra.HydraRecipe(target, texts, hydra.Settings(**SIZES, **LAYER)),
    "hydra++": lambda target, texts: hydra.HydraRecipe(target, texts, hydra.Settings(**SIZES, **LAYER, **hydra.PLUS)),
    "mtp": lambda target, texts: mtp.MTPRecipe(target, texts, mtp.Settings(**SIZES, **LAYER)),
}
BEGUN: dict[str, Make] = RECIPES | {
    "block": lambda target, texts: block.BlockRecipe(target, texts, block.Settings(rank=8, **SIZES, **LAYER)),
    "eagle": lambda target, texts: eagle.EagleRecipe(target, texts, eagle.Settings(noise=0.0, **SIZES, **LAYER)),
    "eagle3": lambda target, texts: eagle3.Eagle3Recipe(target, texts, eagle3.Settings(**SIZES, **LAYER)),
    "mtp sequential": lambda target, texts: mtp_sequential.SequentialRecipe(
        target, texts, mtp_sequential.Settings(**SIZES, **LAYER)
    ),
}


def texts_of(target: TorchTarget, folder: Path) -> list[Text]:
    """What it answers to a hundred prompts."""
    prompts = folder / "prompts.jsonl"
    said = ({"id": n, "task": "t", "turns": [f"say {n} " + "x" * (n % 7)]} for n in range(100))
    prompts.write_text("".join(json.dumps(one) + "\n" for one in said))
    data.make(target, data.Plan(prompts, folder / "texts.jsonl", most=12, batch=50), lambda _: None)
    return corpus.read(folder / "texts.jsonl")


def loss_of(made: HeadRecipe, texts: list[Text]) -> float:
    return sum(float(part.detach()) for part in made.losses(texts))


def head_of(made: HeadRecipe) -> dict[str, Any]:
    tensors = {name: value.detach().numpy() for name, value in made.head.tensors().items()}
    return tensors | {"vocabulary": tensors["vocabulary"].astype(np.int32)}


def drawn_texts() -> list[Text]:
    """Of tokens by chance, prompts and responses of several lengths."""
    chance = np.random.default_rng(0)
    lengths = [(4 + n % 5, 1 + n % 9) for n in range(40)]
    drawn = [[tuple(chance.integers(3, 259, length).tolist()) for length in pair] for pair in lengths]
    return [Text(str(n), "t", prompt, response) for n, (prompt, response) in enumerate(drawn)]
