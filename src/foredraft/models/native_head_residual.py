"""Heads of residual blocks on the native engine: all heads of a row in one call, each matrix read once."""

from __future__ import annotations

from typing import Any

import numpy as np

from foredraft import _native
from foredraft.core.protocols import Vectors
from foredraft.core.rules import Logits
from foredraft.models.native import Activations
from foredraft.models.native_head_parts import Arrays, Packing, single


class NativeResiduals:
    """The native twin of `draft/residual.py`'s PlainResiduals. rows: [places, width] of the target's head, None where
    each head has its own projection."""

    def __init__(
        self, pack: Packing, tensors: Arrays, rows: Vectors | None, isa: str, activations: Activations
    ) -> None:
        heads = sum(name.endswith(".out.weight") and name.startswith("heads.") for name in tensors)
        stacks = [self._stack(pack, tensors, f"heads.{head}.") for head in range(heads)]
        head = None if rows is None else pack(rows)
        self._native = _native.Residual(stacks, head, pack.pool, isa, activations)

    @staticmethod
    def _stack(pack: Packing, tensors: Arrays, at: str) -> tuple[Any, list[Any], Any]:
        layers = sum(name.startswith(at + "blocks.") for name in tensors)
        residual = tensors.get(at + "residual.weight")
        blocks = [pack(tensors[f"{at}blocks.{layer}.weight"]) for layer in range(layers)]
        return None if residual is None else pack(residual), blocks, pack(tensors[at + "out.weight"])

    def logits(self, inputs: Vectors, first: int, last: int) -> Logits:
        found: Logits = self._native.logits(single(np.atleast_2d(inputs)), first, last)
        return found
