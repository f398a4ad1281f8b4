"""Heads of residual blocks, as Medusa and Hydra have them: who computes them, and the specification in numpy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from foredraft.core.protocols import Vectors
from foredraft.core.rules import Logits
from foredraft.draft.plain_layers import Array


class Residuals(Protocol):
    def logits(self, inputs: Vectors, first: int, last: int) -> Logits:
        """What the heads first … last - 1 say of rows [rows, inputs] that each reads: [rows, heads, places]."""


class PlainResiduals:
    """tensors: as a head's file has them. rows: [places, width] of the target's head, None where each head has its own
    projection. Row by row, so that none depends on its neighbours."""

    def __init__(self, tensors: Mapping[str, Array], rows: Array | None, dtype: type[Any] = np.float32) -> None:
        self._tensors = {name: values.astype(dtype) for name, values in tensors.items()}
        self._rows = None if rows is None else rows.astype(dtype)

    def logits(self, inputs: Vectors, first: int, last: int) -> Logits:
        return np.stack([np.stack([self._said(head, x) for head in range(first, last)]) for x in inputs])

    def _said(self, head: int, x: Array) -> Array:
        at = f"heads.{head}."
        residual, state = self._tensors.get(at + "residual.weight"), x
        if residual is not None:
            state = residual @ x
        for layer in range(self._layers(at)):
            inner = self._tensors[f"{at}blocks.{layer}.weight"] @ (state if layer else x)
            state = state + inner / (1 + np.exp(-inner))
        said: Array = self._tensors[at + "out.weight"] @ state
        return said if self._rows is None else self._rows @ said

    def _layers(self, at: str) -> int:
        return sum(name.startswith(at + "blocks.") for name in self._tensors)
