"""Sweeps: how they are written, and theory beside measurements on cases whose answer is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from foredraft.bench.entrants import Variant, admit
from foredraft.bench.plot import NAME, plot_sweep
from foredraft.bench.prompts import Prompt
from foredraft.bench.record import Case, Trial
from foredraft.bench.report import report
from foredraft.bench.run import prepare, run_cases
from foredraft.bench.sweep import (
    MOST,
    Sweep,
    Theory,
    expand,
    expand_all,
    expected_tokens,
    missed,
    parse_sweep,
    sweep_json,
    theory_of,
)
from foredraft.bench.words import summary
from foredraft.core.errors import UnknownName, UsageError
from foredraft.core.events import Step, Times
from foredraft.core.params import SamplingParams
from foredraft.core.tree import DraftTree
from foredraft.engine.backends import Loaded

# --- how they are written -------------------------------------------------------------------------------------------

K = "num_speculative_tokens"


@pytest.mark.parametrize(
    ("text", "option", "values"),
    [
        (f"{K}=0..4", K, ["0", "1", "2", "3", "4"]),
        ("k=0..12..4", K, ["0", "4", "8", "12"]),
        (" num-speculative-tokens = 1 .. 2 ", K, ["1", "2"]),
        ("n=2,3,8", "n", ["2", "3", "8"]),
        ("n=5", "n", ["5"]),
        ("threshold=0..1..0.25", "threshold", ["0", "0.25", "0.5", "0.75", "1"]),
        ("factor=-10..10..10", "factor", ["-10", "0", "10"]),
        ("n=1..4..2", "n", ["1", "3"]),
        ("shared=true,false", "shared", ["true", "false"]),
    ],
)
def test_ranges_steps_and_lists(text: str, option: str, values: list[str]) -> None:
    assert parse_sweep(text) == Sweep(option, tuple(values))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "no sweep"),
        ("n", "no sweep"),
        ("n=", "no sweep"),
        ("n=1,,2", "no sweep"),
        ("n=4..1", "no sweep"),
        ("n=1..4..0", "no sweep"),
        ("n=1..4..-1", "no sweep"),
        ("n=1..2..1..1", "no sweep"),
        ("n=1..x", "no sweep"),
        ("n=1..1e9", "no sweep"),
        ("n=nan..inf", "no sweep"),
        ("two words=1", "no sweep"),
        ("n=1..999999999", f"more than {MOST} values"),
        ("n=3,3", "twice"),
        ("k=0..1..0.5", "whole numbers"),
        ("k=-1..1", "whole numbers"),
    ],
)
def test_wrong_sweeps_are_refused_at_once(text: str, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        parse_sweep(text)


def test_lengths_are_for_every_drafter_and_none_is_plain_decoding() -> None:
    sweep = parse_sweep("k=0,3")
    plain = Variant("none", "none")
    assert expand("lookup", sweep) == {"0": plain, "3": Variant("lookup:k=3", "lookup", 3)}
    assert expand("auto", sweep)["3"] == Variant("auto:k=3", "auto", 3)
    joined = "lookup:n=2+model:a.gguf"
    assert expand(joined, sweep)["3"] == Variant(f"{joined},k=3", joined, 3)
    with pytest.raises(UsageError, match="says itself"):
        expand("lookup:k=4", sweep)


def test_other_options_are_given_to_those_that_have_them() -> None:
    sweep = parse_sweep("n=2..3")
    assert [one.name for one in expand("lookup", sweep).values()] == ["lookup:n=2", "lookup:n=3"]
    assert expand("lookup:min=2+model:a.gguf", sweep)["2"].text == "lookup:min=2,n=2+model:a.gguf"
    for drafter, wrong, error in (
        ("model:a.gguf", sweep, "no option 'n'"),
        ("lookup:n=4", sweep, "twice"),
        ("lookup", parse_sweep("n=0..2"), "min <= n"),
        ("lookup", parse_sweep("n=a,b"), "whole number"),
    ):
        with pytest.raises(UsageError, match=error):
            expand(drafter, wrong)
    with pytest.raises(UnknownName, match="magic"):
        expand("magic", sweep)


def test_drafters_that_cannot_be_swept_are_told_or_refused() -> None:
    sweep = parse_sweep("n=2..3")
    swept, unable = expand_all(["none", "model:a.gguf", "lookup"], sweep, strict=False)
    assert list(swept) == ["lookup"]
    assert "no option 'n'" in unable["model:a.gguf"]
    with pytest.raises(UsageError, match="no option 'n'"):
        expand_all(["model:a.gguf", "lookup"], sweep)
    with pytest.raises(UsageError, match="no drafter to sweep"):
        expand_all(["none"], sweep)


# --- theory ---------------------------------------------------------------------------------------------------------


def test_expected_tokens_of_a_chain() -> None:
    for acceptance in (0.0, 0.3, 0.9):
        for length in (0, 1, 7):
            closed = (1 - acceptance ** (length + 1)) / (1 - acceptance)
            assert expected_tokens(acceptance, length) == pytest.approx(closed, rel=1e-12)
    assert expected_tokens(1.0, 5) == 6.0


# Cost of a draft, acceptance, best length of at most 15, speed-up there: by hand from the formula, passes flat.
FLAT = [(0.0, 0.5, 15, 2.00), (0.02, 0.8, 11, 3.82), (0.05, 0.6, 4, 1.92), (0.1, 0.7, 4, 1.98), (0.2, 0.9, 7, 2.37)]


@pytest.mark.parametrize(("cost", "acceptance", "length", "factor"), FLAT)
def test_the_best_length_where_passes_cost_the_same(cost: float, acceptance: float, length: int, factor: float) -> None:
    theory = Theory(acceptance, cost, 1.0, (0.0, *[1.0] * 16))
    assert max(range(16), key=theory.speedup) == length
    assert theory.speedup(length) == pytest.approx(factor, abs=0.005)
    assert theory.speedup(0) == 1.0
    assert theory.with_gaps(length) == pytest.approx(theory.speedup(length), rel=1e-12)


def test_rows_that_cost_and_rounds_without_drafts_count() -> None:
    theory = Theory(0.5, 0.1, 0.25, (0.0, 1.0, 1.2, 1.6))
    assert theory.speedup(2) == pytest.approx(1.75 / (0.2 + 1.6))
    assert theory.with_gaps(2) == pytest.approx((0.25 * 1.75 + 0.75) / (0.25 * 1.8 + 0.75))


def plain(count: int = 9, seconds: float = 1.0) -> list[Step]:
    return [Step(at, (at,), rows=1, seconds=Times(verify=seconds, other=0.5)) for at in range(count)]


def chain(accepted: int, length: int, draft: float, verify: float, emitted: int | None = None) -> Step:
    """A round of a chain; `emitted` tokens of it where the text ended inside."""
    tokens = tuple(range(accepted + 1))[:emitted]
    tree = DraftTree.chain(tuple(range(length)), "x")
    return Step(
        0, tokens, min(accepted, len(tokens)), tree, tuple(range(accepted)), 1 + length, seconds=Times(draft, verify)
    )


def test_a_round_misses_where_a_draft_was_wrong_and_not_where_all_were_right() -> None:
    assert missed(chain(0, 2, 0.0, 1.0))
    assert missed(chain(1, 2, 0.0, 1.0))
    assert not missed(chain(2, 2, 0.0, 1.0))
    assert not missed(chain(2, 2, 0.0, 1.0, emitted=1))  # cut off by the end of the text, not by a wrong draft
    assert not missed(Step(0, (1,), rows=1))
    tree = DraftTree.of((1, 2, 3), (-1, -1, 0), "x")
    assert missed(Step(0, (1, 9), 1, tree, (0,), 4))
    assert not missed(Step(0, (2, 9), 1, tree, (1,), 4))  # a leaf


def test_theory_is_measured_on_the_sweeps_own_rounds() -> None:
    drafting = [
        *[chain(2, 2, 0.3, 1.5)] * 3,  # 6 accepted, no miss
        *[chain(1, 4, 0.5, 2.5)] * 2,  # 2 accepted, 2 misses
        chain(0, 4, 0.5, 2.5),  # 1 miss
        chain(0, 3, 0.2, 99.0),  # 1 miss; the only pass of its size says nothing about the size
        *plain(2),  # rounds without drafts
        Step(0, (1,), rows=40, seconds=Times(verify=50.0)),  # took in some prompt
    ]
    theory = theory_of(plain(), drafting, 6)
    assert theory is not None
    assert theory.acceptance == pytest.approx(8 / (8 + 4))
    assert theory.cost == pytest.approx((3 * 0.3 + 3 * 0.5 + 0.2) / (3 * 2 + 3 * 4 + 3))
    assert theory.share == pytest.approx(7 / 10)
    # Measured at 1, 3 and 5 rows; between and beyond them along straight lines.
    assert theory.rows == pytest.approx((0.0, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 3.5))


def test_nothing_is_said_of_trees_or_of_nothing() -> None:
    assert theory_of(plain(), plain(), 4) is None
    branching = Step(0, (1, 9), 1, DraftTree.of((1, 2), (-1, -1), "x"), (0,), 3)
    assert theory_of(plain(), [chain(1, 2, 0.1, 1.0), branching], 4) is None


# --- the result -----------------------------------------------------------------------------------------------------


def trial(steps: Sequence[Step]) -> Trial:
    return Trial(math.fsum(step.seconds.total for step in steps), 0.0, "length", (), tuple(steps))


def cases_of(task: str, best: int) -> list[Case]:
    """12 tokens. Up to `best`, k drafts are all right and a row costs a tenth of a pass; beyond it the rest of them is
    wrong and costs more than all save: so `best` is best.
    """
    steps = {"plain": plain(12), "none": plain(12)}
    for k in range(1, 7):
        right = min(k, best)
        rounds = 12 // (right + 1)
        cost = 1.0 + 0.1 * right + (5.0 if k > best else 0.0)
        steps[f"lookup:k={k}"] = [
            *[chain(right, k, 0.01, cost)] * rounds,
            *plain(12 - rounds * (right + 1)),
        ]
    trials = {name: trial(one) for name, one in steps.items()}
    return [Case(f"{task}{n}", f"{task}{n}", task, 5, 0.1, (), trials) for n in range(2)]


SETUP = {"model": "m", "engine": "e", "suite": "s", "machine": {}, "version": "0", "row_invariant": True}


def test_the_best_is_found_for_all_and_by_task_and_the_advice_is_judged() -> None:
    sweep = parse_sweep("k=0..6")
    swept, _ = expand_all(["lookup"], sweep)
    cases = [*cases_of("easy", 5), *cases_of("hard", 1)]
    names = [variant.name for variant in swept["lookup"].values()]
    result = report(SETUP, cases, names) | {"sweep": sweep_json(sweep, swept, cases)}
    [found] = result["sweep"]["drafters"]
    assert [point["value"] for point in found["points"]] == list("0123456")
    assert found["points"][0]["speedup"] == 1.0
    assert found["points"][0]["formula"] == 1.0
    assert found["by_task"]["easy"]["best"]["value"] == "5"
    assert found["by_task"]["easy"]["advised"] == found["by_task"]["easy"]["best"]
    assert found["by_task"]["hard"]["best"]["value"] == "1"
    assert found["by_task"]["hard"]["advised"]["speedup"] < 0.5
    assert found["by_task"]["easy"]["acceptance"] > found["acceptance"] > found["by_task"]["hard"]["acceptance"]
    said = "\n".join(summary(result))
    assert f"lookup is fastest at {K}={found['best']['value']} as measured" in said
    assert "The usual advice of 3 to 5 drafts is within 3% of the best on easy." in said
    assert "It is not best on hard (1:" in said
    assert "identical on all" not in said  # no paragraph for each of seven


def test_a_sweep_on_a_real_run_shares_models_and_nothing_that_is_learnt(toy: Loaded, prompts: list[Prompt]) -> None:
    sweep = parse_sweep("k=0..2")
    swept, _ = expand_all(["lookup"], sweep)
    entrants, _ = admit(toy, swept["lookup"].values())
    assert [entrant.name for entrant in entrants] == ["plain", "none", "lookup:k=1", "lookup:k=2"]
    assert entrants[2].llm.drafting is entrants[3].llm.drafting
    assert entrants[3].borrows
    assert entrants[2].fresh("x").tenant != entrants[3].fresh("x").tenant
    cases = run_cases(entrants, prepare(entrants[0].llm, prompts, 0, raw=True), SamplingParams(max_tokens=24))
    for case in cases:
        assert len({one.tokens for one in case.trials.values()}) == 1
        for k in (1, 2):
            assert max(step.drafted for step in case.trials[f"lookup:k={k}"].steps) == k
    [found] = sweep_json(sweep, swept, cases)["drafters"]
    assert 0 < found["acceptance"] < 1
    assert found["points"][2]["mean_acceptance_length"] > found["points"][1]["mean_acceptance_length"] > 1.0


def test_other_options_have_no_formula(toy: Loaded, prompts: list[Prompt]) -> None:
    sweep = parse_sweep("n=1..2")
    swept, _ = expand_all(["lookup:k=3"], sweep)
    entrants, _ = admit(toy, swept["lookup:k=3"].values())
    cases = run_cases(entrants, prepare(entrants[0].llm, prompts, 0, raw=True), SamplingParams(max_tokens=12))
    [found] = sweep_json(sweep, swept, cases)["drafters"]
    assert "formula" not in found["points"][0]
    assert "acceptance" not in found
    assert found["by_task"]["animals"]["advised"] is None


@pytest.mark.parametrize("option", ["k=0..6", "n=2,3"])
def test_the_plot_is_drawn_where_it_can_be(tmp_path: Path, option: str) -> None:
    pytest.importorskip("matplotlib")
    sweep = parse_sweep(option)
    swept, _ = expand_all(["lookup"], sweep)
    cases = cases_of("easy", 5)
    if not sweep.of_lengths:
        same = {f"lookup:n={n}": cases[0].trials["plain"] for n in (2, 3)}
        cases = [Case(case.id, case.id, "t", 5, 0.1, (), {**case.trials, **same}) for case in cases]
    path = plot_sweep(sweep_json(sweep, swept, cases), "a title", tmp_path)
    assert path == tmp_path / NAME
    assert path.read_bytes().startswith(b"\x89PNG")
