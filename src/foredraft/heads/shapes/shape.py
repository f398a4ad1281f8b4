"""The contract of a method's settings."""

from __future__ import annotations

from typing import Protocol


class Shape(Protocol):
    """Settings of one method: numbers alone, so that they can be JSON. Making one raises ValueError for sizes that are
    none."""

    def tensors(self, width: int, taps: int, block: int, vocabulary: int) -> dict[str, tuple[int, ...]]:
        """Every tensor but the vocabulary, and its shape. width: of the target. taps: how many layers of it are read.
        block: tokens that are drafted one after another. vocabulary: tokens that the head may say."""
