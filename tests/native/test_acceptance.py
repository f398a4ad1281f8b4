"""The native counts behind the policy's chances against their specification, policy/acceptance.py."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from foredraft import _native
from foredraft.core.tree import ROOT, DraftTree
from foredraft.policy.acceptance import LEARNT, Acceptance

SOURCES = (
    *("block", "recycling", "suffix", "recycling+suffix", "block+recycling+suffix"),
    *("a+suffixes", "a+recycling", "recycling+b", "suffix+", "", *LEARNT),
)


def tree_of(draw: random.Random) -> DraftTree:
    """Of any shape, siblings that guess the same and probes among its nodes; few tokens, so that many come true."""
    parents: list[int] = []
    score: list[float] = []
    for node in range(draw.randrange(0, 24)):
        parents.append(draw.choice((ROOT, *range(node))))
        above = 0.0 if parents[-1] == ROOT else score[parents[-1]]
        score.append(above + draw.choice((0.0, -1e-3, -100.0, math.log(1 - draw.random()))))
    size = len(parents)
    return DraftTree(
        tuple(draw.randrange(3) for _ in range(size)),
        tuple(parents),
        tuple(score),
        tuple(draw.choice(SOURCES) for _ in range(size)),
        (None,) * size,
        tuple(draw.random() < 0.1 for _ in range(size)),
    )


@pytest.mark.parametrize("seed", range(5))
def test_both_twins_count_and_promise_the_same(seed: int) -> None:
    """A request over its tenant, and a second one that finds what the first has left there."""
    draw = random.Random(seed)
    plain, native = Acceptance(400.0), _native.Acceptance(400.0)
    for _ in range(2):
        own_plain, own_native = Acceptance(60.0, plain), _native.Acceptance(60.0, native)
        for _ in range(200):
            tree = tree_of(draw)
            assert own_native.look(tree) == own_plain.look(tree)
            came = [draw.randrange(3) for _ in range(draw.randrange(5))]
            own_plain.learn(tree, came)
            own_native.learn(tree, came)
        assert own_native.counts() == own_plain.counts()
        assert native.counts() == plain.counts()
    assert len(plain.counts()) > 50


def test_what_is_no_tree_is_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        _native.Acceptance(10.0).look(DraftTree((1,), (ROOT,), (0.0,), (), (None,), (False,)))
    with pytest.raises(ValueError, match="before its node"):
        _native.Acceptance(10.0).look(DraftTree((1,), (0,), (0.0,), ("a",), (None,), (False,)))


def test_fields_that_a_draft_may_have_are_read_as_python_reads_them() -> None:
    """Probes by their truth, and names that are no text: `core/tree.check` lets both through."""
    tree = DraftTree(
        (1, 2, 1),
        (ROOT, ROOT, 0),
        (-0.5, -1.0, -0.7),
        ("a\udc80", "b", "a\udc80"),
        (None,) * 3,
        (0, np.True_, ""),  # type: ignore[arg-type]
    )
    plain, native = Acceptance(60.0), _native.Acceptance(60.0)
    for counts in (plain, native):
        counts.learn(tree, [1, 1])
    assert native.look(tree) == plain.look(tree)
    assert native.counts() == plain.counts() != {}
