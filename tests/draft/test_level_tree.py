"""Trees of heads that go level by level, by hand."""

from __future__ import annotations

import numpy as np

from foredraft.core.protocols import Budget
from foredraft.core.tree import DraftTree
from foredraft.draft.level_tree import LevelTree, plain_children

LAW = np.log(np.array([0.6, 0.3, 0.1]))  # after every token


def grown(budget: Budget) -> DraftTree:
    tree, depth = LevelTree(budget, (7, 8, 9), plain_children), 0
    while tree.frontier and depth < budget.depth:
        tree.level(depth, np.tile(LAW, (len(tree.frontier), 1)))
        depth += 1
    return tree.tree("head")


def test_levels_grow_while_there_is_room() -> None:
    assert grown(Budget(2, 4)).tokens == (7, 7)  # .6 .36
    assert grown(Budget(3, 4)).depth == 2  # .6 .36 .3


def test_a_node_that_is_not_worth_its_row_is_left_out() -> None:
    assert sorted(grown(Budget(9, 1, min_gain=0.2)).tokens) == [7, 8]
    assert sorted(grown(Budget(9, 1)).tokens) == [7, 8, 9]
