"""Tenants: the one away longest goes first, and all of them together are bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from foredraft.draft.tenants import FULL, MOST, Tenants

LARGEST = 10


@given(st.lists(st.tuples(st.integers(0, 80), st.integers(0, LARGEST)), max_size=300))
def test_those_that_were_here_last_are_kept_as_far_as_there_is_room(visits: list[tuple[int, int]]) -> None:
    """Held against a list that is searched from its end."""
    tenants, here = Tenants[int](int, LARGEST), list[tuple[int, int]]()
    for name, size in visits:
        tenants.put(str(name), size)
        here = [one for one in here if one[0] != name] + [(name, size)]
        while len(here) > MOST or sum(size for _, size in here) > FULL * LARGEST:
            here.pop(0)
    assert len(tenants) == len(here)
    assert [tenants.get(str(name)) for name, _ in here] == [size for _, size in here]


def test_the_last_one_stays_however_large() -> None:
    tenants = Tenants[int](int, 1)
    tenants.put("a", 1)
    tenants.put("b", 1000)
    assert tenants.get("a") is None
    assert tenants.get("b") == 1000


def test_forgetting() -> None:
    tenants = Tenants[int](int, 1)
    for name in "abc":
        tenants.put(name, 1)
    tenants.forget("a")
    tenants.forget("unknown")
    assert ["a" in tenants, "b" in tenants] == [False, True]
    tenants.forget()
    assert not len(tenants)
