"""The native twin of `draft/successors.py`: the same rows, trees and bits, and no harm from what makes no sense."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foredraft.draft import successors as spec
from foredraft.draft.successors import Trust

native: Any = pytest.importorskip("foredraft._native")

TRUSTS = (Trust(0.4, 0.35), Trust(0.6, 0.1), Trust(0.7, 0.05), Trust(0.9, 0.0))
TOKENS = st.lists(st.integers(0, 4), max_size=12)
LOGITS = st.floats(-30, 30) | st.just(float("-inf"))
READINGS = st.lists(st.tuples(st.integers(0, 6), LOGITS), max_size=5, unique_by=lambda pair: pair[0])
Read = tuple[list[int], list[int], list[tuple[list[int], list[float]]]]


@st.composite
def reads(draw: st.DrawFn) -> Read:
    """A tree, its parents, and a reading of the root and every node."""
    tokens = draw(TOKENS)
    parents = [draw(st.integers(-1, node - 1)) for node in range(len(tokens))]
    found = []
    for _ in range(len(tokens) + 1):
        pairs = sorted(draw(READINGS), key=lambda pair: -pair[1])
        found.append(([token for token, _ in pairs], [logit for _, logit in pairs]))
    return tokens, parents, found


@given(
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from([0.3, 0.5, 1.0]),
    st.lists(TOKENS, max_size=3),
    st.lists(st.tuples(TOKENS, reads()), max_size=6),
    st.integers(-1, 12),
    st.integers(-1, 5),
    st.sampled_from([float("-inf"), -2.0, -0.5, 0.0]),
)
def test_tables(
    context: int,
    width: int,
    share: float,
    past: list[list[int]],
    rounds: list[tuple[list[int], Read]],
    rows: int,
    depth: int,
    least: float,
) -> None:
    tables = []
    for make in (native.Successors, spec.Successors):
        before = make(TRUSTS[:context], width, share)
        for text in past:
            before.said(text, 0.6)
        table = make(TRUSTS[:context], width, share, before)
        for text, (tokens, parents, found) in rounds:
            table.read(text, tokens, parents, [*range(len(tokens)), -1], found)
        other = table.copy()
        other.learn([1], [2], [1.0])
        tables.append((table, other))
    (ours, ours_beside), (theirs, theirs_beside) = tables
    assert ours.rows() == theirs.rows()
    assert ours_beside.rows() == theirs_beside.rows()
    assert ours.over(ours.base).rows() == theirs.over(theirs.base).rows()
    above, beneath = ours_beside.over(ours), theirs_beside.over(theirs)
    assert above.rows() == beneath.rows()
    assert above.draft([1, 2], rows, depth, least) == beneath.draft([1, 2], rows, depth, least)
    for one in (ours, theirs):
        one.base.take(one, 0.1)
    assert ours.base.rows() == theirs.base.rows()
    assert len(ours) == len(theirs)
    for text in ([], [0], [1, 2], [3, 1, 2], [4, 3, 1, 2, 0], *(text for text, _ in rounds)):
        assert ours.draft(text, rows, depth, least) == theirs.draft(text, rows, depth, least)


def table(width: int = 2) -> Any:
    return native.Successors(TRUSTS, width, 0.5)


@pytest.mark.parametrize(
    "call",
    [
        lambda: native.Successors((), 2, 0.5),
        lambda: native.Successors((*TRUSTS, TRUSTS[0]), 2, 0.5),
        lambda: table(0),
        lambda: table().learn([1], [2, 3], [1.0]),
        lambda: table().learn([-1], [2], [1.0]),
        lambda: table().learn([2**31 - 1], [2], [1.0]),
        lambda: table().put([], [2], [1.0]),
        lambda: table().put([1, 2, 3, 4, 5], [2], [1.0]),
        lambda: table().put([1], [2], []),
        lambda: (one := table()).take(one, 0.5),
        lambda: table().said([1, -5, 2], 0.5),
        lambda: table().fill(
            *(np.zeros(shape, kind) for shape, kind in (((1, 1), "i4"), ((2, 1), "i4"), ((2, 1), "f4")))
        ),
        lambda: table().fill(
            *(np.zeros(shape, kind) for shape, kind in (((1, 1), "i4"), ((1, 2), "i4"), ((1, 1), "f4")))
        ),
        lambda: table().fill(*(np.full((1, 1), value, kind) for value, kind in ((-1, "i4"), (0, "i4"), (1, "f4")))),
        lambda: table().read([1], [1, 2], [0, -1], [], []),
        lambda: table().read([1], [1], [], [], []),
        lambda: table().read([1], [1], [-1], [1], [([1], [0.0])]),
        lambda: table().read([1], [1], [-1], [-2], [([1], [0.0])]),
        lambda: table().read([1], [1], [-1], [0], []),
    ],
)
def test_nonsense_is_refused(call: Any) -> None:
    with pytest.raises(ValueError, match="[a-z]"):
        call()


def test_a_text_of_nonsense_has_no_tree() -> None:
    assert table().draft([-1, 2**31 - 1], 4, 4, -9.0) == ([], [], [])
