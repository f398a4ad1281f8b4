"""Heads of residual blocks: what Medusa and Hydra have in common."""

from __future__ import annotations

RANKS = 10
"""How many of the likeliest tokens of each head are counted where accuracies are measured."""


def residual(at: str, inputs: int, width: int, layers: int, outputs: int) -> dict[str, tuple[int, ...]]:
    """The tensors of one head. inputs: of its first block, which where they are more than the width has a matrix beside
    it that takes them down. outputs: 0 for a square matrix, else the tokens that it says itself."""
    found: dict[str, tuple[int, ...]] = {}
    if inputs != width:
        found[f"{at}residual.weight"] = (width, inputs)
    for layer in range(layers):
        found[f"{at}blocks.{layer}.weight"] = (width, width if layer else inputs)
    found[f"{at}out.weight"] = (outputs or width, width)
    return found
