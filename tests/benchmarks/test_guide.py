"""The tables of the decision guide and of the simulation check, on runs whose answer is known."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))  # as when the script runs

import simulate_check
from guide import Run, drafters_table, tasks_table
from simulate_check import RECORDED, TRIED, checks, name_of

from foredraft.bench.record import Case, Trial
from foredraft.core.events import Step, Times
from foredraft.core.tree import DraftTree

SETUP = {"model": "m", "temperature": 0.0, "max_tokens": 12}


def trial(seconds: float) -> Trial:
    """12 tokens in so many seconds, a quarter of them for drafting."""
    steps = tuple(Step(at, (at,), seconds=Times(draft=seconds / 48, verify=seconds / 16)) for at in range(12))
    return Trial(seconds, 0.0, "length", (), steps)


def case(task: str, seconds: Mapping[str, float]) -> Case:
    trials = {"plain": trial(1.0), "none": trial(1.0)} | {name: trial(one) for name, one in seconds.items()}
    return Case(task, task, task, 3, 0.1, (), trials)


def looping(one: Case) -> Case:
    """The same if it said eight words over and over."""

    def loop(found: Trial) -> Trial:
        steps = (replace(step, position=at, tokens=(at % 8,)) for at, step in enumerate(found.steps * 3))
        times = (replace(step, seconds=Times(step.seconds.draft / 3, step.seconds.verify / 3)) for step in steps)
        return replace(found, steps=tuple(times))

    return replace(one, trials={arm: loop(found) for arm, found in one.trials.items()})


RUN = Run(
    "folder",
    SETUP,
    (case("qa", {"auto": 1.1, "lookup": 1.25}), case("math_reasoning", {"auto": 0.8, "lookup": 0.5})),
)


def test_the_fastest_of_each_task_and_auto_beside_it() -> None:
    lines = tasks_table([RUN]).splitlines()
    assert lines[0] == "| run | qa | math reasoning |"
    assert lines[2] == "| `folder`, T = 0 | none gains: `auto` 0.91 | `lookup` 2.00; auto 1.25 |"


def test_a_run_of_another_suite_has_no_row_among_tasks() -> None:
    other = Run("other", SETUP, (case("long", {"lookup": 0.5}),))
    assert tasks_table([RUN, RUN, other]) == tasks_table([RUN, RUN])
    assert "| `other`, T = 0 |" in drafters_table([RUN, other])


def test_every_drafter_with_its_worst_and_best_task() -> None:
    lines = drafters_table([RUN]).splitlines()
    assert lines[2] == "| `folder`, T = 0 | `lookup` | 1.26 | 1.26 | qa 0.80 | math reasoning 2.00 | 1.00 | 25% |"
    assert lines[3].startswith("| `folder`, T = 0 | `auto` | 1.07 |")


def test_outputs_that_loop_are_left_out_beside_it() -> None:
    """Among three prompts of qa the one that loops is ten times as fast; all of rag loop."""
    fast = [looping(case(task, {"lookup": 0.1})) for task in ("qa", "rag")]
    run = Run("folder", SETUP, (*(case("qa", {"lookup": 0.5}) for _ in range(2)), *fast))
    assert tasks_table([run]).splitlines()[2] == "| `folder`, T = 0 | `lookup` 2.73 (2.00) | `lookup` 10.00 (–) |"
    row = drafters_table([run]).splitlines()[2]
    assert row == "| `folder`, T = 0 | `lookup` | 5.22 | 2.00 | qa 2.73 (2.00) | rag 10.00 (–) | 1.00 | 25% |"


def simulated(slower: float) -> list[Case]:
    """Every draft is wrong: passes with n drafts take 1 + n / 10, but `slower` where what is predicted was run."""

    def arm(drafts: int, factor: float = 1.0) -> Trial:
        def step(at: int) -> Step:
            tree = DraftTree.chain((99,) * (drafts if at < 11 else 0), "x")
            return Step(at, (at,), 0, tree, rows=1 + len(tree), seconds=Times(verify=factor * (1 + len(tree) / 10)))

        steps = tuple(map(step, range(12)))
        return Trial(sum(step.seconds.total for step in steps), 0.0, "length", (), steps)

    trials = {"plain": arm(0)}
    for drafter, lengths in TRIED.items():
        trials |= {name_of(drafter, size): arm(size, slower) for size in lengths}
        trials[name_of(drafter, RECORDED)] = arm(RECORDED)
    return [Case(name, name, "t", 3, 0.1, (), trials) for name in "ab"]


@pytest.mark.parametrize(("slower", "fine"), [(1.0, True), (2.0, False)])
def test_a_prediction_that_is_far_off_is_told(slower: float, fine: bool) -> None:
    found = checks({**SETUP, "max_tokens": 100}, simulated(slower))
    assert [(one.drafter, one.length) for one in found] == [
        (drafter, length) for drafter, lengths in TRIED.items() for length in lengths
    ]
    must = [one for one in found if one.drafter in simulate_check.MUST]
    assert all(one.fine == fine for one in must)
    assert fine or all(one.off > 0.3 for one in must)


def test_what_is_committed_holds() -> None:
    """Four settings and more within a tenth, from raw steps."""
    folders = [folder for folder in simulate_check.RESULTS.iterdir() if folder.is_dir()]
    assert folders
    for folder in folders:
        events = simulate_check.read(folder)
        found = checks(events.setup, events.cases, events.costs)
        assert sum(abs(one.off) <= simulate_check.LIMIT for one in found) >= 4
        assert all(one.fine for one in found)
