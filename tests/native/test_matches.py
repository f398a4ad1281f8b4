"""The native twins of `draft/matches.py`: the same places, trees and bits, and no harm from what makes no sense."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foredraft.draft import matches as spec
from foredraft.draft.history import History

native: Any = pytest.importorskip("foredraft._native")

TOKENS = st.lists(st.integers(-1, 2), min_size=1, max_size=60)
ANY = st.integers(-(2**31), 2**31 - 1)


def history_of(text: list[int]) -> History:
    history = History()
    history.extend(text)
    return history


@given(TOKENS, st.lists(st.integers(0, 2), min_size=1, max_size=8), st.integers(0, 61), st.integers(0, 61), st.data())
def test_places(text: list[int], context: list[int], first: int, until: int, data: st.DataObject) -> None:
    history, reach = history_of(text), data.draw(st.integers(0, 20))
    newest = (data.draw(st.integers(-1, len(text) - 1)), data.draw(st.integers(-1, len(text) - 1)))
    given_ = (history.tokens, history.single, history.triple, newest, array("i", context), (first, until), reach)
    ours, theirs = native.matches(*given_), spec.matches(*given_)
    assert ours.dtype == theirs.dtype == np.int32
    assert ours.tolist() == theirs.tolist()


@given(
    TOKENS,
    st.lists(st.integers(0, 2), min_size=1, max_size=60),
    st.integers(0, 40),
    st.integers(0, 12),
    st.sampled_from([0.0, 0.02, 0.1, 0.5, 1.0]),
    st.sampled_from([0.0, 0.7, 2.4]),
    st.sampled_from([0.0, 2.4, 12.0]),
)
def test_trees(
    past: list[int], text: list[int], rows: int, depth: int, least: float, doubt: float, more: float
) -> None:
    own, other = history_of(text), history_of(past)
    sources = [
        (own.tokens, True, own.own_matches(16), doubt),
        (other.tokens, False, other.matches(own.tokens[-16:], (0, len(other))), more),
    ]
    assert native.continuations(sources, rows, depth, least) == spec.continuations(sources, rows, depth, least)


@given(TOKENS, st.lists(st.integers(-1, 3), min_size=0, max_size=5))
def test_bounds(text: list[int], context: list[int]) -> None:
    order = array("i", sorted(range(len(text)), key=lambda place: text[place:]))
    given_ = (array("i", text), order, array("i", context))
    low, high = native.bounds(*given_)
    assert (low, high) == spec.bounds(*given_)
    where = [place for place in order if text[place : place + len(context)] == context]
    assert list(order[low:high]) == where


@given(st.lists(ANY, max_size=12), st.lists(ANY, max_size=12), st.lists(ANY, max_size=4), st.tuples(ANY, ANY), ANY)
def test_chains_and_places_that_make_no_sense_do_no_harm(
    text: list[int], other: list[int], context: list[int], span: tuple[int, int], newest: int
) -> None:
    """No crash and no endless search; what is found has no meaning, as the question had none."""
    words, chain = array("i", text), array("i", other)
    native.matches(words, chain, chain, (newest, newest), array("i", context), span, 50)
    native.bounds(words, chain, array("i", context))
    places = np.array([[end, abs(end) % 9 + 1] for end in other], dtype=np.int32).reshape(-1, 2)
    for wraps in (False, True):
        tokens, parents, chances = native.continuations([(words, wraps, places, 2.4)], 20, 5, 0.01)
        assert set(tokens) <= set(text)
        assert len(tokens) == len(parents) == len(chances) <= 20
