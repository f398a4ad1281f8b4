"""Self-speculation: some of the target's own layers draft, then its final norm and head; nothing is loaded or trained.

Draft & Verify (2309.08168) leaves out layers that an offline search found to matter least; SWIFT (2410.06916) chooses
them on the fly; LayerSkip (2404.16710) trains a model so that its first layers can stop early. Ours takes any stock
model and a fixed set of whole layers. The draft has keys and values of its own, so that any layer may be left out: one
behind a gap sees other states than it does in the target.
"""

from __future__ import annotations

import itertools
import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from foredraft.core.errors import UsageError
from foredraft.core.protocols import Ask, Model, Needs
from foredraft.core.tree import DraftTree
from foredraft.draft.family import Family, Provided
from foredraft.draft.model import ModelDrafter
from foredraft.draft.model_tree import DraftState

NAME = "early_exit"
MOST_CHILDREN = 64
SPAN = r"\d{1,6}(-\d{1,6})?"


@dataclass(frozen=True)
class Options:
    layers: str = field(
        default="", metadata={"help": "layers that draft, as in 0-13+27; by default all but the middle fifth"}
    )
    exit: int = field(default=0, metadata={"help": "instead: so many of the first layers alone"})
    skip: str = field(default="", metadata={"help": "instead: all layers but these, as in 10-19"})
    tree: str = field(default="", metadata={"help": "children a node by depth, as in 3x2x1; a chain by default"})

    def __post_init__(self) -> None:
        if sum(map(bool, (self.layers, self.exit, self.skip))) > 1:
            raise UsageError(f"drafter {NAME!r} takes layers, exit or skip: give one of them")
        for name, text in (("layers", self.layers), ("skip", self.skip)):
            if text and (not re.fullmatch(rf"{SPAN}(\+{SPAN})*", text) or any(a > b for a, b in _spans(text))):
                raise UsageError(f"{name} of drafter {NAME!r} must be layers joined by +, as in 0-13+27, not {text!r}")
        sizes = self.tree.split("x") if self.tree else []
        if not all(size.isdecimal() and 0 < int(size) <= MOST_CHILDREN for size in sizes):
            raise UsageError(f"tree of drafter {NAME!r} must be widths joined by x, as in 3x2x1, not {self.tree!r}")

    @property
    def widths(self) -> tuple[int, ...]:
        """Children a node by depth; empty for a chain of any length."""
        return tuple(int(width) for width in self.tree.split("x")) if self.tree else ()

    @property
    def nodes(self) -> int | None:
        """Nodes of the whole tree; None for a chain of any length."""
        return sum(itertools.accumulate(self.widths, operator.mul)) or None

    def chosen(self, count: int) -> tuple[int, ...]:
        """The layers that draft, ascending, of a target that has `count`. Raises UsageError for layers it has not."""
        if not (self.layers or self.exit or self.skip):
            return _without_middle(count)
        named = [(0, self.exit - 1)] if self.exit else _spans(self.layers or self.skip)
        if beyond := [last for _, last in named if last >= count]:
            raise UsageError(f"drafter {NAME!r} names layer {beyond[0]} of a target that has layers 0 to {count - 1}")
        inside = {layer for first, last in named for layer in range(first, last + 1)}
        found = tuple(layer for layer in range(count) if (layer in inside) != bool(self.skip))
        if not found:
            raise UsageError(f"drafter {NAME!r} skips all {count} layers of its target: leave it some")
        return found


class EarlyExit(ModelDrafter):
    """A draft model that is a view of the target."""

    def __init__(self, options: Options, view: Model) -> None:
        super().__init__(view, options.widths)
        self.needs = Needs(layers=options.chosen, reads=True)

    def propose(self, asks: Sequence[Ask[DraftState]]) -> list[DraftTree]:
        return [replace(tree, sources=(NAME,) * len(tree)) for tree in super().propose(asks)]


def _spans(text: str) -> list[tuple[int, int]]:
    """First and last of each run of layers."""
    ends = [[int(end) for end in span.split("-")] for span in text.split("+") if span]
    return [(run[0], run[-1]) for run in ends]


def _without_middle(count: int) -> tuple[int, ...]:
    """All but the middle fifth, one layer at least where there are several: the first and the last matter most."""
    size = max(1, count // 5) if count > 1 else 0
    first = (count - size + 1) // 2
    return (*range(first), *range(first + size, count))


def _build(options: Options, provided: Provided) -> EarlyExit:
    if provided.view is None:
        raise UsageError(f"drafter {NAME!r} needs a view of its target")
    return EarlyExit(options, provided.view)


FAMILY = Family(
    name=NAME,
    summary="self-speculation: some of the target's own layers draft",
    options=Options,
    needs=lambda options: Needs(layers=options.chosen),
    build=_build,
    requires="layers of the target",
    nodes=lambda options: options.nodes,
)
