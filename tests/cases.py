"""What many tests of drafting and verifying begin with: the small worlds of the audit, and drafters of tests alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from foredraft.audit.chances import (
    chi_square as chi_square,
)
from foredraft.audit.chances import (
    chi_square_tail as chi_square_tail,
)
from foredraft.audit.doubles import (
    Double as Double,
)
from foredraft.audit.doubles import (
    Iid as Iid,
)
from foredraft.audit.doubles import (
    Mixed as Mixed,
)
from foredraft.audit.doubles import (
    Random as Random,
)
from foredraft.audit.doubles import (
    Spam as Spam,
)
from foredraft.audit.doubles import (
    Top as Top,
)
from foredraft.audit.doubles import (
    Twice as Twice,
)
from foredraft.audit.doubles import (
    Without as Without,
)
from foredraft.audit.doubles import (
    Wrong as Wrong,
)
from foredraft.audit.doubles import (
    best as best,
)
from foredraft.audit.doubles import (
    chain_length as chain_length,
)
from foredraft.audit.doubles import (
    lane as lane,
)
from foredraft.audit.worlds import (
    EXACT as EXACT,
)
from foredraft.audit.worlds import (
    NETS as NETS,
)
from foredraft.audit.worlds import (
    VARIANTS as VARIANTS,
)
from foredraft.audit.worlds import (
    JointLaw as JointLaw,
)
from foredraft.audit.worlds import (
    Memo as Memo,
)
from foredraft.audit.worlds import (
    Round as Round,
)
from foredraft.audit.worlds import (
    Text as Text,
)
from foredraft.audit.worlds import (
    World as World,
)
from foredraft.audit.worlds import (
    continued as continued,
)
from foredraft.audit.worlds import (
    make_nets as make_nets,
)
from foredraft.audit.worlds import (
    make_world as make_world,
)
from foredraft.audit.worlds import (
    net_logits as net_logits,
)
from foredraft.audit.worlds import (
    one_round as one_round,
)
from foredraft.audit.worlds import (
    rules_after as rules_after,
)
from foredraft.audit.worlds import (
    trees_of as trees_of,
)
from foredraft.core.protocols import Ask
from foredraft.core.tree import EMPTY, DraftTree


class Broken(Double):
    """A drafter that does `what` instead of drafting."""

    def __init__(self, what: Callable[[Ask[Any]], DraftTree]) -> None:
        self.what = what

    def grow(self, ask: Ask[Any]) -> DraftTree:
        return self.what(ask)


class Fixed(Double):
    """The same tree every round, cut to the budget: for tests of what becomes of a tree."""

    def __init__(self, tree: DraftTree) -> None:
        self.tree = tree

    def grow(self, ask: Ask[Any]) -> DraftTree:
        tree = self.tree
        fits = [
            node
            for node in range(len(tree))
            if tree.depths[node] <= ask.budget.depth and max(tree.path(node)) < ask.budget.rows
        ]
        return tree.select(fits) if fits else EMPTY
