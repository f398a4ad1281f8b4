"""What a table is worth, on answers whose rounds can be counted by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))  # as when the script runs

import successors

from foredraft.draft.recycling import Options, Recycling

PROMPT = (1, 2, 3, 4)


def sure(*tokens: int) -> successors.Answer:
    """Rows that hold what was said next for certain."""
    return successors.Answer("task", PROMPT, tokens, tuple(([token], [1.0]) for token in tokens))


@pytest.mark.parametrize(
    ("tokens", "nodes", "rounds"),
    [
        ((9, 8, 7, 6), 3, 4),  # nothing of it was met before
        ((2, 3, 4), 3, 2),  # what follows 4 is not known; what follows 4 2 was, after 2 alone
        ((9, 4, 9, 4, 9, 4, 9, 4), 1, 5),  # learnt from the rows of the answer, two tokens a round from the third on
        ((9, 4, 9, 4, 9, 4, 9, 4), 7, 3),
    ],
)
def test_rounds_are_those_of_a_hand(tokens: tuple[int, ...], nodes: int, rounds: int) -> None:
    drafter = Recycling(Options(file="none"))
    found = successors.figures(drafter, [sure(*tokens)], [nodes])
    expected = round(len(tokens) / rounds, 2)
    assert found["tokens_a_round"][str(nodes)] == {"task": expected, "all": expected}


def test_what_is_offered_and_comes_is_counted() -> None:
    found = successors.figures(Recycling(Options(file="none")), [sure(9, 4, 9, 4)], [1])["claims"]
    assert sum(one["offered"] for one in found) == 2  # after 9 4 nothing, then 4 -> 9 and 9 -> 4
    assert sum(one["offered"] * one["came"] for one in found) == 2
    assert all(0 < one["claimed"] < 1 for one in found)
