"""Heads that draft in one pass and know nothing of each other: their trees are dynamic or static."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from foredraft.core.errors import UsageError
from foredraft.draft.family import Provided
from foredraft.draft.head_drafter import HeadOptions
from foredraft.draft.one_pass import OnePass, OnePassDrafter
from foredraft.draft.static_tree import StaticTree


class Independent(OnePass, Protocol):
    """accuracies: [heads, ranks], how often each head's likeliest tokens were right on held-out text."""

    accuracies: NDArray[np.float64]


@dataclass(frozen=True)
class IndependentOptions(HeadOptions):
    tree: str = field(
        default="dynamic",
        metadata={"help": "dynamic, from what the heads say; static, from how often they were right (Medusa's)"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tree not in ("dynamic", "static"):
            raise UsageError(f"tree of drafter {self.name!r} must be dynamic or static, not {self.tree!r}")


def build(options: IndependentOptions, provided: Provided) -> OnePassDrafter:
    head = cast(Independent, options.given(provided))
    paths = StaticTree(head.accuracies).paths if options.tree == "static" else None
    return OnePassDrafter(head, options.depth, name=options.name, window=options.window, paths=paths)
