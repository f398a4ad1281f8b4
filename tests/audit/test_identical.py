"""Compared texts: what counts, what differs and where, what a failing drafter does; cases are kept and resumed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest

pytest.importorskip("torch")

from foredraft import LLM
from foredraft.audit import identical as module
from foredraft.audit.everyone import LENGTH, named
from foredraft.audit.identical import (
    Compared,
    Identical,
    Run,
    Scope,
    compare_texts,
    compared_of,
    fitting,
    spread,
)
from foredraft.audit.margins import NearTie
from foredraft.bench.entrants import Entrant, admit
from foredraft.bench.prompts import Prompt
from foredraft.core.protocols import Ask
from foredraft.core.tree import DraftTree
from foredraft.draft.lookup import Lookup, Options
from foredraft.engine.backends import Loaded, load_model
from tiny import write_model

PROMPTS = tuple(
    Prompt(name, name[0], (text,)) for name, text in [("a1", "abcabcabc"), ("b1", "xyxyxy"), ("a2", "hello")]
)
SCOPE = Scope(PROMPTS, few=1, max_tokens=24)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    found = load_model(str(write_model(tmp_path_factory.mktemp("tiny") / "model", seed=11)), threads=1)
    yield found
    found.model.close()


def entrants_of(loaded: Loaded, drafters: Sequence[str]) -> tuple[list[Entrant], dict[str, str]]:
    return admit(loaded, named(",".join(drafters), loaded.source.name, "."))


def compared(loaded: Loaded, drafters: Sequence[str], scope: Scope = SCOPE) -> Identical:
    entrants, unable = entrants_of(loaded, drafters)
    assert not unable
    return Identical(tuple(compare_texts(entrants, scope)))


def test_every_prompt_meets_auto_and_a_few_meet_the_others(loaded: Loaded) -> None:
    found = compared(loaded, ["auto", "lookup"])
    assert (found.prompts, found.drafters, found.temperatures) == (3, ["auto", "lookup"], [0.0, 0.7, 1.0])
    assert [len(case.runs) for case in found.compared] == [2, 2, 2, 1, 1, 1, 1, 1, 1]
    assert found.passed
    assert found.counted("lookup") > 0  # what `auto` drafts depends on the clock
    assert found.counted() == found.counted("auto") + found.counted("lookup")
    assert all(run.drafted <= LENGTH * run.tokens for _, run in found.runs if run.drafter == "lookup")


def test_a_verifier_whose_text_depends_on_the_drafter_is_caught_with_the_position(loaded: Loaded) -> None:
    """`recursive` has the law, not the tokens: above temperature 0 it must not pass for identical."""
    entrants, _ = entrants_of(loaded, ["lookup"])
    wrong = Entrant("wrong", LLM(loaded, "lookup", verifier="recursive", num_speculative_tokens=3))
    found = Identical(tuple(compare_texts([entrants[0], wrong], replace(SCOPE, few=9))))
    assert not found.passed
    assert {case.temperature for case, _ in found.mismatches} <= {0.7, 1.0}
    for _, run in found.mismatches:
        assert run.difference is not None
        assert run.here[0] != run.there[0]
        assert len(run.here) <= 4


class Failing(Lookup):
    def propose(self, asks: Sequence[Ask[Any]]) -> list[DraftTree]:
        raise ValueError("broken")


def test_a_drafter_that_fails_fails_the_audit_though_the_text_survives(loaded: Loaded) -> None:
    entrants, _ = entrants_of(loaded, ["auto"])
    failing = Entrant("failing", LLM(loaded, Failing(Options()), num_speculative_tokens=3))
    found = Identical(tuple(compare_texts([*entrants, failing], replace(SCOPE, few=1))))
    assert not found.mismatches
    assert {run.drafter for _, run in found.failed} == {"failing"}
    assert "broken" in found.failed[0][1].faults[0]
    assert not found.passed


def run_with(**fields: Any) -> Run:
    return Run(**{"drafter": "x", "tokens": 9, "drafted": 6, "accepted": 3, **fields})


def test_a_case_counts_only_with_accepted_and_rejected_drafts() -> None:
    assert run_with().counts
    assert not run_with(accepted=0).counts
    assert not run_with(accepted=6).counts
    nothing = Compared("a", 0.0, 1, (run_with(drafted=0, accepted=0),))
    assert not Identical((nothing,)).passed
    assert Identical((nothing, replace(nothing, prompt="b", runs=(run_with(),)))).passed


def test_near_ties_excuse_a_difference_and_nothing_else_does() -> None:
    tie = NearTie(4, 1, 2, own=1.0, best=1.001, limit=0.01)
    differs = run_with(difference=4)
    assert differs.mismatch
    assert not replace(differs, ties=(tie,)).mismatch
    assert replace(differs, ties=(tie, replace(tie, best=2.0))).mismatch
    case = Compared("a", 0.0, 1, (replace(differs, ties=(tie,)), run_with()))
    assert Identical((case,)).passed
    assert Identical((case,)).near_ties == [(case, case.runs[0])]


def test_what_rounding_does_not_explain_is_a_mismatch_where_rows_depend_on_their_company(loaded: Loaded) -> None:
    assert not loaded.model.about.row_invariant
    entrants, _ = entrants_of(loaded, ["lookup"])
    wrong = Entrant("wrong", LLM(loaded, "lookup", verifier="recursive", num_speculative_tokens=3))
    found = Identical(tuple(compare_texts([*entrants, wrong], replace(SCOPE, prompts=PROMPTS[:1]))))
    assert {run.drafter for _, run in found.mismatches} == {"wrong"}
    for _, run in found.mismatches:
        assert run.ties
        assert run.noise < 1e-3
        assert not all(tie.excused for tie in run.ties)


def test_cases_survive_json(loaded: Loaded) -> None:
    tie = NearTie(4, 1, 2, own=1.0, best=1.001, limit=0.01)
    case = Compared("a", 0.7, 5, (run_with(difference=4, here=(1, 2), there=(2, 2), ties=(tie,), faults=("no",)),))
    assert compared_of(json.loads(json.dumps(asdict(case)))) == case


def test_what_was_done_is_not_done_again(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    entrants, _ = entrants_of(loaded, ["lookup"])
    first = compare_texts(entrants, SCOPE)
    done = {case.id: case for case in first[:-1]}
    kept: list[Compared] = []
    assert compare_texts(entrants, SCOPE, done=done, keep=kept.append) == first
    assert kept == first[-1:]
    monkeypatch.setattr(module, "_runs", None)
    assert compare_texts(entrants, SCOPE, done={case.id: case for case in first}) == first


def test_prompts_are_spread_over_tasks_and_have_to_fit(loaded: Loaded) -> None:
    assert [prompt.id for prompt in spread(PROMPTS, 9)] == ["a1", "b1", "a2"]
    assert [prompt.id for prompt in spread(PROMPTS, 2)] == ["a1", "b1"]
    llm = LLM(loaded, "none")
    long = Prompt("long", "a", ("x" * 250,))
    assert fitting(llm, [*PROMPTS, long], 24) == PROMPTS
    assert fitting(llm, [long], 1, raw=True) == (long,)
