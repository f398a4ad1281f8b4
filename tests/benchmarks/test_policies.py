"""A replay of recorded drafts, on texts whose rounds can be counted by hand."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))  # as when the script runs

import policies

from foredraft.core.protocols import Budget
from foredraft.core.tree import ROOT
from foredraft.policy.constant import Constant

TEXT = [0, 1, 2, 3, 4, 5, 6]
LIKELY, UNLIKELY = math.log(0.5), math.log(0.01)


def record(right: int) -> policies.Record:
    """At every place a source drafts so many right tokens in a row, then a wrong one; beside them a wrong sibling."""
    trees = []
    for place in range(len(TEXT)):
        chain = [*TEXT[place : place + right], 99]
        scores = [LIKELY * depth for depth in range(1, len(chain) + 1)]
        trees.append(([*chain, 98], [*range(-1, len(chain) - 1), ROOT], [*scores, UNLIKELY]))
    text = policies.Text("task", TEXT, {"one": trees})
    return policies.Record("model", [text], [1, 8], [1.0, 2.0], {"one": 0.5}, {"one": 0.0}, 0.0, 0.0)


@pytest.mark.parametrize(("right", "drafted", "rounds"), [(0, 3, 6), (1, 3, 3), (2, 3, 2), (2, 1, 3), (2, 0, 6)])
def test_rounds_are_those_of_a_hand(right: int, drafted: int, rounds: int) -> None:
    """Six tokens after the first; a round brings what is right of what it drafted, and one more."""
    found = record(right)
    played = policies.play(found, found.texts[0], ["one"], Constant(drafted), lambda: 1.0)
    assert (played.rounds, played.tokens) == (rounds, 6)
    # Nobody is asked at the last token, which leaves no room for a draft.
    assert played.asked["one"] == (rounds - (right == 0) if drafted else 0)


def test_seconds_are_those_of_passes_and_of_sources_that_were_asked() -> None:
    found = record(0)
    idle = policies.play(found, found.texts[0], ["one"], Constant(0), lambda: 1.0)
    busy = policies.play(found, found.texts[0], ["one"], Constant(1), lambda: 1.0)
    assert idle.seconds == pytest.approx(6 * 1.0)
    # The last token leaves no room for a draft.
    assert busy.seconds == pytest.approx(5 * (1.0 + 1 / 7 + 0.5) + 1.0)


@pytest.mark.parametrize(
    ("right", "seconds", "rounds"), [(0, 6.0, 6), (1, 3 * (1 + 1 / 7 + 0.5), 3), (2, 2 * (1 + 2 / 7 + 0.5), 2)]
)
def test_who_knows_the_text_asks_for_what_is_right_alone(right: int, seconds: float, rounds: int) -> None:
    found = record(right)
    known = policies.known(found, found.texts[0], ["one"])
    assert known.seconds == pytest.approx(seconds)
    assert (known.rounds, known.tokens, known.asked["one"]) == (rounds, 6, rounds if right else 0)
    assert policies.replayed(found, ["one"], "oracle", 0.1)["mean"] == pytest.approx(6 / seconds, abs=1e-3)


def test_a_recorded_tree_is_cut_to_the_budget() -> None:
    node = record(2).texts[0].trees["one"][0]
    assert policies.drafted(node, "one", Budget(9, 9), 9).tokens == (0, 1, 99, 98)
    assert policies.drafted(node, "one", Budget(2, 9), 9).tokens == (0, 1)
    assert policies.drafted(node, "one", Budget(9, 1), 9).tokens == (0, 98)
    assert policies.drafted(node, "one", Budget(9, 9, min_gain=0.2), 9).tokens == (0, 1)
    assert policies.drafted(node, "one", Budget(9, 9), 1).tokens == (0, 98)


def test_the_adaptive_policy_gains_where_drafts_are_right_and_loses_next_to_nothing_where_not() -> None:
    long = [policies.Text("task", TEXT * 40, {"one": record(3).texts[0].trees["one"] * 40})]
    good = policies.Record("model", long, [1, 8], [1.0, 1.1], {"one": 0.1}, {"one": 0.0}, 0.0, 0.0)
    assert policies.replayed(good, ["one"], "adaptive", 0.0)["mean"] > 1.5
    wrong = [policies.Text("task", TEXT * 40, {"one": record(0).texts[0].trees["one"] * 40})]
    bad = policies.Record("model", wrong, [1, 8], [1.0, 1.1], {"one": 0.1}, {"one": 0.0}, 0.0, 0.0)
    assert policies.replayed(bad, ["one"], "adaptive", 0.0)["mean"] > 0.97
