"""The methods of trained heads: what each says of its shape, and every tensor that its file holds.

A method's settings are a frozen dataclass of numbers, which stand in the file beside what all heads say of themselves
(`heads/files.py`); a method of the table is one that files may name.
"""

from __future__ import annotations

from typing import Any

from foredraft.heads.shapes.block import BlockShape
from foredraft.heads.shapes.hydra import HydraShape
from foredraft.heads.shapes.medusa import MedusaShape
from foredraft.heads.shapes.mtp import MTPShape
from foredraft.heads.shapes.steps import Eagle3Shape, EagleShape, SequentialShape

SHAPES: dict[str, type[Any]] = {
    "block": BlockShape,
    "eagle": EagleShape,
    "eagle3": Eagle3Shape,
    "hydra": HydraShape,
    "medusa": MedusaShape,
    "mtp": MTPShape,
    "mtp_sequential": SequentialShape,
}
"""Method -> its settings, which are a `Shape` (shapes/shape.py)."""
