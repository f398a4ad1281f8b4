"""What other texts teach, on answers whose rounds can be counted by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))  # as when the script runs

import past_texts
import successors

from foredraft.draft import recycling, suffix


def sure(prompt: tuple[int, ...], *tokens: int) -> successors.Answer:
    """Rows that hold what was said next for certain."""
    return successors.Answer("task", prompt, tokens, tuple(([token], [1.0]) for token in tokens))


@pytest.mark.parametrize(
    "drafter",
    [recycling.Recycling(recycling.Options(file="none")), suffix.Suffix(suffix.Options(past_doubt=2.4))],
    ids=["recycling", "suffix"],
)
def test_a_text_is_known_the_second_time(drafter: Any) -> None:
    """Two texts without a token in common: a round for each of four tokens when they are new, one when they are not."""
    answers = [sure((1, 2, 3), 4, 5, 6, 7), sure((11, 12, 13), 14, 15, 16, 17)]
    assert past_texts.figures(drafter, answers, 4) == {"alone": 1.0, "unlike": 1.0, "again": 4.0}


def test_a_round_gives_one_more_than_what_was_right() -> None:
    drafter = suffix.Suffix(suffix.Options())
    answers = [sure((1, 2, 3, 1), 2, 3)]
    assert past_texts.figures(drafter, answers, 4)["alone"] == 2.0


def test_what_a_match_claims_is_held_against_what_came() -> None:
    """1 2 stood in the text itself before, followed by 3; 7 8 in the text before, followed by 9, and by 5 here."""
    answers = [sure((7, 8, 9), 9), sure((1, 2, 3, 4, 1, 2), 3, 7, 8, 5)]
    found = past_texts.claims(suffix.Suffix(suffix.Options()), answers)
    assert sum(one["offered"] * one["came"] for one in found["own"]) == 1  # 3
    assert sum(one["offered"] for one in found["past"]) == 2  # 8 after 7, and 9 after 7 8
    assert sum(one["offered"] * one["came"] for one in found["past"]) == 1
