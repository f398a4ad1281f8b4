"""Predictions: by hand, and on a real run of a toy model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from foredraft.bench.entrants import Variant, admit
from foredraft.bench.prompts import Prompt
from foredraft.bench.record import Case, Trial
from foredraft.bench.replay import Setting
from foredraft.bench.run import prepare, run_cases
from foredraft.bench.simulate import (
    AS_RECORDED,
    SIMULATED,
    assumptions,
    prediction_json,
    recorded,
    recorded_json,
    replayable,
    simulate,
    synthetic,
    synthetic_tokens,
)
from foredraft.core.errors import UsageError
from foredraft.core.events import Step, Times
from foredraft.core.params import SamplingParams
from foredraft.core.tree import DraftTree
from foredraft.engine.backends import Loaded

SETUP = {"max_tokens": 100, "temperature": 0.0}


def trial(steps: Sequence[Step], opening: float = 0.0) -> Trial:
    return Trial(opening + math.fsum(step.seconds.total for step in steps), opening, "length", (), tuple(steps))


def step(position: int, tokens: Sequence[int], drafts: Sequence[int], draft: float = 0.0) -> Step:
    """A pass of n rows takes 1 + (n - 1) / 4, sampling nothing."""
    tree = DraftTree.chain(drafts, "lookup")
    times = Times(draft=draft, verify=1 + len(drafts) / 4)
    path = tuple(range(len(tokens) - 1))
    return Step(position, tuple(tokens), len(tokens) - 1, tree, path, 1 + len(drafts), seconds=times, wall=times.total)


def case(name: str = "lookup:k=4", opening: float = 0.5) -> Case:
    """10 tokens: 3 of 4 drafts right, then 0 of 4, then 4 of 4."""
    drafting = [
        step(0, (0, 1, 2, 3), (0, 1, 2, 99), 0.8),
        step(4, (4,), (99, 5, 6, 7), 0.8),
        step(5, (5, 6, 7, 8, 9), (5, 6, 7, 8), 0.8),
    ]
    plain = [step(token, (token,), ()) for token in range(10)]
    other = [step(0, (0, 1), (0, 98), 0.1), step(2, (2,), (98,), 0.1)] * 3
    trials = {"plain": trial(plain), name: trial(drafting, opening), "lookup:k=2": trial(other)}
    return Case("a", "a", "t", 3, 0.1, (), trials)


def test_as_recorded_costs_what_it_did() -> None:
    run = recorded([case()], "lookup:k=4", SETUP)
    assert (run.full, run.most, run.sources) == (4, 4, {"lookup"})
    found = recorded_json(run)
    assert found["speedup"] == pytest.approx(10 / (0.5 + 3 * 2.8))
    assert simulate(run, AS_RECORDED).speedup == pytest.approx(found["speedup"])
    assert found["prices_off"] == pytest.approx(0.0, abs=1e-9)


def test_what_prices_get_wrong_of_the_recorded_rounds_is_taken_out() -> None:
    """Passes of the second prompt take half as long again beside its plain ones: no one price fits both."""
    slow = case()
    steps = [
        replace(one, seconds=replace(one.seconds, verify=1.5 * one.seconds.verify))
        for one in slow.trials["lookup:k=4"].steps
    ]
    uneven = Case("b", "b", "t", 3, 0.1, (), {**slow.trials, "lookup:k=4": trial(steps, 0.5)})
    run = recorded([case(), uneven], "lookup:k=4", SETUP)
    for one in simulate(run, AS_RECORDED).cases:
        recorded_trial = next(each.trials["lookup:k=4"] for each in run.cases if each.id == one.id)
        assert one.trials[SIMULATED].seconds == pytest.approx(recorded_trial.seconds)
    assert run.plain(uneven) > 1.1 > 0.9 > run.plain(case())


def test_a_smaller_budget_by_hand() -> None:
    """2 a round: (0 1 2) (3) (4) (5 6 7) (8 9). Drafting costs by the token, 0.2; passes on the line 1 … 1.5 … 2."""
    run = recorded([case()], "lookup:k=4", SETUP)
    found = simulate(run, Setting(rows=2))
    steps = found.cases[0].trials[SIMULATED].steps
    assert [one.tokens for one in steps] == [(0, 1, 2), (3,), (4,), (5, 6, 7), (8, 9)]
    assert [one.rows for one in steps] == [3, 3, 3, 3, 3]
    assert found.kinds == ("recorded", "moved", "recorded", "recorded", "moved")
    assert found.speedup == pytest.approx(10 / (0.5 + 5 * (1.5 + 0.4)))
    told = prediction_json(found)
    assert told["rounds"] == {"recorded": 0.6, "moved": 0.4, "stretched": 0.0}
    assert told["mean_acceptance_length"] == 2.0
    assert (told["drafted"], told["accepted"]) == (10, 5)


def test_a_faster_drafter_costs_less_and_says_the_same() -> None:
    run = recorded([case()], "lookup:k=4", SETUP)
    assert simulate(run, AS_RECORDED, 0.5).speedup == pytest.approx(10 / (0.25 + 3 * 2.4))
    assert simulate(run, AS_RECORDED, 0.0).speedup == pytest.approx(10 / (3 * 2.0))


def test_no_drafts_are_plain_decoding() -> None:
    run = recorded([case(opening=0.0)], "lookup:k=4", SETUP)
    assert simulate(run, Setting(rows=0)).speedup == pytest.approx(1.0)


def test_synthetic_acceptance_separates_cost_from_quality() -> None:
    assert synthetic_tokens([0.5], 3) == 1.875
    assert synthetic_tokens([0.8, 0.5], 3) == pytest.approx(1 + 0.8 + 0.4 + 0.2)
    assert synthetic_tokens([1.0], 4) == 5.0
    assert synthetic_tokens([], 0) == 1.0
    run = recorded([case(opening=0.0)], "lookup:k=4", SETUP)
    assert synthetic(run, [0.5], 3) == pytest.approx(1.875 / (1.75 + 0.6))
    assert synthetic(run, [0.5], 3, drafting=0.0) == pytest.approx(1.875 / 1.75)


def test_what_is_assumed_is_said() -> None:
    run = recorded([case()], "lookup:k=4", SETUP)
    moved, stretched = simulate(run, Setting(rows=2)), simulate(run, Setting(rows=8))
    assert stretched.share("stretched") > 0
    assert len(assumptions(run, [simulate(run, Setting(rows=4))])) == 3
    assert any("40% of the rounds begin where none did" in one for one in assumptions(run, [moved]))
    assert any("want more than was drafted" in one for one in assumptions(run, [stretched]))
    adaptive = recorded([case("lookup")], "lookup", SETUP)
    assert "A policy cut these drafts" in assumptions(adaptive, [])[-1]


def probing(name: str) -> Case:
    tree = DraftTree.of([1, 2], [-1, 0], "lookahead", probes=[False, True])
    probes = Step(0, (5,), 0, tree, (), 3, seconds=Times(verify=1.0))
    return Case("a", "a", "t", 3, 0.1, (), {"plain": trial([step(0, (5,), ())]), name: trial([probes])})


def test_what_cannot_be_replayed_is_refused_by_name() -> None:
    lossy = Step(0, (5,), lossless=False, rows=1, seconds=Times(verify=1.0))
    changed = Case("a", "a", "t", 3, 0.1, (), {"plain": case().trials["plain"], "lookup": trial([lossy])})
    for cases, arm, setup, named in (
        ([], "lookup", SETUP, "no cases"),
        ([case()], "suffix", SETUP, "no drafter 'suffix'"),
        ([case()], "plain", SETUP, "no drafter 'plain'"),
        ([case()], "lookup:k=4", {**SETUP, "verifier": "recursive", "temperature": 0.7}, "recursive"),
        ([probing("lookahead")], "lookahead", SETUP, "scores rows to learn"),
        ([changed], "lookup", SETUP, "lossy"),
    ):
        with pytest.raises(UsageError, match=named):
            recorded(cases, arm, setup)
    assert recorded([case()], "lookup:k=4", {**SETUP, "verifier": "recursive"}).arm == "lookup:k=4"
    able, unable = replayable([probing("lookahead")], SETUP)
    assert (able, list(unable)) == ([], ["lookahead"])
    with pytest.raises(UsageError, match="'suffix' drafted nothing"):
        simulate(recorded([case()], "lookup:k=4", SETUP), Setting(sources=("suffix",)))


def test_a_real_run_predicts_the_rounds_of_smaller_budgets(toy: Loaded, prompts: list[Prompt]) -> None:
    """What was said in how many rounds, not seconds: those of a toy say nothing."""
    entrants, _ = admit(toy, [Variant.of("lookup", size) for size in (8, 4, 2)])
    tasks = prepare(entrants[0].llm, prompts, 0, raw=True)
    cases = run_cases(entrants, tasks, SamplingParams(max_tokens=40))
    run = recorded(cases, "lookup:k=8", {**SETUP, "max_tokens": 40})
    for size in (4, 2):
        real = [len(one.trials[f"lookup:k={size}"].steps) for one in cases]
        found = [len(one.trials[SIMULATED].steps) for one in simulate(run, Setting(size)).cases]
        assert sum(found) == pytest.approx(sum(real), rel=0.1)
