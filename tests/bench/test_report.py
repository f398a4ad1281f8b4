"""From cases to figures, by hand: totals, loops apart, identity, where the time went; and the result in words."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from foredraft.bench.memory import Memory
from foredraft.bench.record import Case, Trial
from foredraft.bench.report import half_width, report
from foredraft.bench.words import summary
from foredraft.core.events import Step, Times
from foredraft.core.tree import DraftTree

SETUP: dict[str, Any] = {
    "model": "toy",
    "engine": "native",
    "isa": "avx512",
    "threads": 2,
    "row_invariant": True,
    "suite": "builtin",
    "drafters": ["lookup"],
    "machine": {"processor": "p"},
    "version": "0.1",
    "commit": None,
}
CONTRACT = {"model", "engine", "suite", "prompts", "baseline", "runs", "machine", "version"}
RUN_CONTRACT = {
    "drafter",
    "tok_s",
    "speedup",
    "speedup_ci",
    "mean_acceptance_length",
    "draft_acceptance_rate",
    "acceptance_by_position",
    "drafted",
    "accepted",
    "looping_share",
    "identical",
    "first_difference",
    "by_task",
    "time",
}


def plain(tokens: Sequence[int], seconds: float) -> Trial:
    each = Times(verify=seconds / len(tokens))
    return Trial(
        seconds, 0.0, "length", (), tuple(Step(at, (token,), rows=1, seconds=each) for at, token in enumerate(tokens))
    )


def drafted(tokens: Sequence[int], seconds: float, *, right: int, wrong: int, faults: tuple[str, ...] = ()) -> Trial:
    """A round of `right` + `wrong` drafts, then plain steps; a tenth of the time went into drafting, half of it before
    the first round, a half into verifying, and nobody knows where the rest went but for a tenth.
    """
    guess = DraftTree.chain((*tokens[:right], *[99] * wrong), "lookup")
    times = Times(draft=0.05 * seconds, verify=0.5 * seconds, sample=0.1 * seconds)
    first = Step(0, tuple(tokens[: right + 1]), right, guess, tuple(range(right)), 1 + len(guess), seconds=times)
    rest = tuple(Step(right + 1 + at, (token,), rows=1) for at, token in enumerate(tokens[right + 1 :]))
    return Trial(seconds, 0.05 * seconds, "length", faults, (first, *rest))


def case(name: str, task: str, base: Trial, own: Trial) -> Case:
    return Case(name, name, task, 11, 0.5, ("plain", "lookup"), {"plain": base, "lookup": own})


def between_two(speedup: float, one: float, other: float) -> Any:
    """The interval of two prompts with these speed-ups: drawn again, one of them alone stands for both, and Student's
    factor is 12.706. Within what 2,000 draws are off by."""
    half = 12.706 * abs(math.log(one / other)) / 2
    return pytest.approx([speedup * math.exp(-half), speedup * math.exp(half)], rel=0.01)


TEXT = (1, 2, 3, 4)
CASES = [
    case("a1", "a", plain(TEXT, 4.0), drafted(TEXT, 2.0, right=2, wrong=1)),
    case("a2", "a", plain(TEXT, 4.0), drafted(TEXT, 2.0, right=2, wrong=2)),
    case("b1", "b", plain(TEXT, 4.0), drafted(TEXT, 8.0, right=1, wrong=2)),
    case("b2", "b", plain([5] * 40, 40.0), drafted([5] * 40, 2.0, right=1, wrong=0)),
]


def test_figures_are_of_totals() -> None:
    result = report(SETUP, CASES, ["lookup"])
    assert set(result) >= CONTRACT
    assert json.loads(json.dumps(result)) == result
    assert result["prompts"] == 4
    base = result["baseline"]
    assert (base["tok_s"], base["prompt_tok_s"], base["without_looping"]) == (52 / 52, 40 / 2.0, {"tok_s": 12 / 12})
    [run] = result["runs"]
    assert set(run) >= RUN_CONTRACT
    assert run["tok_s"] == pytest.approx(52 / 14)
    assert {task: found["speedup"] for task, found in run["by_task"].items()} == pytest.approx({"a": 2.0, "b": 4.4})
    assert run["speedup"] == pytest.approx((2.0 * 4.4) ** 0.5)
    assert run["by_task"]["a"]["tok_s"] == pytest.approx(8 / 4)
    assert run["by_task"]["a"]["mean_acceptance_length"] == pytest.approx(8 / 4)
    low, high = run["speedup_ci"]
    assert low <= run["speedup"] <= high
    assert (run["drafted"], run["accepted"]) == (11, 6)
    assert run["draft_acceptance_rate"] == pytest.approx(6 / 11)
    assert run["acceptance_by_position"] == pytest.approx([4 / 4, 2 / 3, 0 / 3, 0 / 1])
    passes = 2 + 2 + 3 + 39
    assert run["mean_acceptance_length"] == pytest.approx(52 / passes)


def test_what_each_source_did_and_what_was_expected_are_totals_and_means() -> None:
    guess = DraftTree((2, 9), (-1, -1), (0.0, 0.0), ("lookup+suffix", "lookup"), (None, None), (False, False))
    times = Times(draft=0.2, verify=1.0, sample=0.1, other=0.1)
    told = Step(0, (2, 3), 1, guess, (0,), 3, seconds=times, wall=1.4, spent=(("suffix", 0.05), ("lookup", 0.1)))
    steps = (
        replace(told, expected=(1.5, 1.0)),
        Step(2, (4,), rows=1, seconds=times, wall=1.4, spent=(("late", 0.01),), expected=(1.1, 1.0)),
        replace(told, position=3, rows=9, expected=(2.0, 0.5)),  # it took in some prompt too
    )
    own = Trial(5.0, 0.0, "length", (), steps)
    [run] = report(SETUP, [case("a", "a", plain((2, 3, 4, 2, 3), 5.0), own)], ["lookup"])["runs"]
    assert run["by_source"] == {
        "suffix": {"drafted": 2, "accepted": 2, "seconds": pytest.approx(0.1)},
        "lookup": {"drafted": 4, "accepted": 2, "seconds": pytest.approx(0.2)},
        "late": {"drafted": 0, "accepted": 0, "seconds": 0.01},
    }
    assert run["forecast"] == pytest.approx(
        {
            "rounds": 2,
            "expected_tokens": 1.3,
            "tokens": 1.5,
            "expected_seconds": 1.0,
            "seconds": 1.4,
            "beyond_seconds": 0.2,
            "expected_tok_s": 1.3,
            "tok_s": 1.5 / 1.4,
        }
    )


def test_where_the_time_went_adds_up_to_what_was_on_the_clock() -> None:
    [run] = report(SETUP, CASES, ["lookup"])["runs"]
    assert run["time"] == pytest.approx({"draft": 1.4, "verify": 7.0, "sample": 1.4, "other": 4.2})
    assert sum(run["time"].values()) == pytest.approx(14.0)


def test_outputs_that_loop_are_counted_and_left_out_once() -> None:
    [run] = report(SETUP, CASES, ["lookup"])["runs"]
    assert run["looping_share"] == 0.25
    without = run["without_looping"]
    assert without["prompts"] == 3
    assert without["speedup"] == pytest.approx((2.0 * 0.5) ** 0.5)
    assert {task: one["speedup"] for task, one in without["by_task"].items()} == pytest.approx({"a": 2.0, "b": 0.5})
    assert without["draft_acceptance_rate"] == pytest.approx(5 / 10)
    [run] = report(SETUP, CASES[3:], ["lookup"])["runs"]
    assert (run["looping_share"], run["without_looping"], run["speedup_ci"]) == (1.0, None, None)


def test_identity_needs_every_prompt_and_counts_those_that_put_it_to_the_test() -> None:
    [run] = report(SETUP, CASES, ["lookup"])["runs"]
    assert (run["identical"], run["first_difference"], run["identity_cases"]) == (True, None, 3)
    other = case("c1", "a", plain(TEXT, 4.0), drafted((1, 2, 3, 9), 2.0, right=1, wrong=1))
    shorter = case("c2", "a", plain(TEXT, 4.0), drafted((1, 2), 1.0, right=1, wrong=1))
    [run] = report(SETUP, [*CASES, other, shorter], ["lookup"])["runs"]
    assert (run["identical"], run["first_difference"], run["first_different_prompt"]) == (False, 3, "c1")
    assert run["different_prompts"] == 2
    assert run["by_task"]["a"]["speedup"] == pytest.approx((16 / 16) / (7 / 14))  # by the token: the lengths differ


def test_the_turns_of_a_prompt_are_one_prompt_to_the_interval_and_cases_to_all_else() -> None:
    base, fast, slow = plain(TEXT, 4.0), drafted(TEXT, 1.0, right=2, wrong=1), drafted(TEXT, 3.0, right=2, wrong=1)
    first = case("a1", "a", base, fast)
    turns = [first, replace(case("a1#2", "a", base, slow), prompt="a1"), case("a2", "a", base, slow)]
    result = report(SETUP, turns, ["lookup"])
    assert (result["prompts"], result["cases"]) == (2, 3)
    [run] = result["runs"]
    assert run["speedup"] == pytest.approx(12 / 7)
    assert run["by_task"]["a"]["prompts"] == 2
    assert run["identity_cases"] == 3
    assert run["speedup_ci"] == between_two(12 / 7, 8 / 4, 4 / 3)
    alone = report(SETUP, turns[:2], ["lookup"])["runs"][0]
    assert alone["speedup_ci"] is None
    differ = replace(case("a2#2", "a", base, drafted((1, 2, 3, 9), 2.0, right=1, wrong=1)), prompt="a2")
    [run] = report(SETUP, [*turns, differ, replace(differ, id="a2#3")], ["lookup"])["runs"]
    assert (run["different_prompts"], run["first_different_prompt"]) == (1, "a2#2")


def test_the_setup_is_in_the_result() -> None:
    result = report(SETUP, CASES, ["lookup"])
    assert (result["isa"], result["threads"], result["commit"], result["machine"]) == (
        "avx512",
        2,
        None,
        {"processor": "p"},
    )


# --- in words -------------------------------------------------------------------------------------------------------


def words(cases: Sequence[Case], **setup: Any) -> str:
    return "\n".join(summary(report(SETUP | setup, cases, ["lookup"])))


def test_losing_tasks_are_named_worst_first() -> None:
    slow = [
        case(f"{task}{n}", task, plain(TEXT, 4.0), drafted(TEXT, seconds, right=1, wrong=1))
        for task, seconds in (("easy", 2.0), ("hard", 8.0), ("harder", 10.0))
        for n in range(2)
    ]
    said = words(slow)
    assert "it loses on harder (0.40x) and hard (0.50x)" in said
    assert "loses on no task" not in said
    assert "identical on all prompts (6 of them put it to the test)" in said


def test_winning_everywhere_still_names_the_least_gain() -> None:
    assert "it loses on no task, a gains least (2.00x)" in words(CASES)


def test_loops_intervals_and_missing_prompts_are_told() -> None:
    said = words(CASES)
    assert "1.00x without the 25% of outputs that loop" in said
    assert re.search(r"needed for intervals within 5%: beside these 4, lookup (about|more than) \d+\.", said)
    alone = words(CASES[3:])
    assert "beside these 1, at least one." in alone
    assert "one prompt, so no interval" in alone
    assert "every output loops" in alone
    even = [case(f"e{n}", "e", plain(TEXT, 4.0), drafted(TEXT, 4.0 + 0.05 * n, right=1, wrong=1)) for n in (-1, 0, 1)]
    assert "may be no difference at all" in words(even)
    assert "More prompts" not in words(even)


def test_nobody_is_sent_for_a_million_prompts() -> None:
    far = [case(f"f{n}", "f", plain(TEXT, 4.0), drafted(TEXT, 0.1 + 9 * n, right=1, wrong=1)) for n in range(2)]
    assert re.search(r"beside these 2, lookup more than 10000\.", words(far))


def test_faults_and_differences_are_told() -> None:
    failing = case("f", "a", plain(TEXT, 4.0), drafted(TEXT, 2.0, right=1, wrong=1, faults=("ValueError: no",)))
    assert "It failed 2 times (ValueError: no)" in words([failing, failing])
    other = case("c", "a", plain(TEXT, 4.0), drafted((1, 2, 3, 9), 2.0, right=1, wrong=1))
    assert "first at token 3 of prompt 'c': which is a bug" in words([other])
    assert "rounds a row differently" in words([other], row_invariant=False)


def test_plain_against_plain_is_noise_and_no_drafter() -> None:
    trials = {"plain": plain(TEXT, 4.0), "none": plain(TEXT, 5.0)}
    cases = [Case(name, name, "t", 3, 0.1, (), trials) for name in "ab"]
    [noise, *_] = summary(report(SETUP, cases, ["none"]))
    assert noise.startswith("Plain decoding against itself: 0.80x")


def test_every_task_has_its_interval_and_its_number_of_prompts() -> None:
    [run] = report(SETUP, CASES, ["lookup"])["runs"]
    assert run["by_task"]["b"]["speedup_ci"] == between_two(4.4, 0.5, 20.0)
    assert run["by_task"]["a"] | {"tok_s": 0} == {
        "tok_s": 0,
        "speedup": 2.0,
        "speedup_ci": pytest.approx([2.0, 2.0]),
        "mean_acceptance_length": 2.0,
        "more_prompts": 0,
        "prompts": 2,
    }


def test_memory_is_the_most_of_all_texts() -> None:
    cases = [
        case(name, "t", plain(TEXT, 1.0), replace(plain(TEXT, 1.0), memory=Memory(peak, own)))
        for name, peak, own in (("a", 300, 20), ("b", 200, None))
    ]
    result = report(SETUP, cases, ["lookup"])
    assert result["runs"][0]["memory"] == {"peak_rss": 300, "anonymous": 20}
    assert result["baseline"]["memory"] == {"peak_rss": None, "anonymous": None}


def test_half_of_an_interval() -> None:
    assert half_width({"speedup": 2.0, "speedup_ci": [1.8, 2.4]}) == pytest.approx(0.15)
    assert half_width({"speedup": 2.0, "speedup_ci": None}) is None
