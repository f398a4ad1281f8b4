"""Prompts of several turns, and what drafters may know: cold, of this conversation alone; warm, of all before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from foredraft.bench.entrants import Entrant, admit
from foredraft.bench.prompts import Prompt
from foredraft.bench.record import Case, Json, case_of
from foredraft.bench.run import prepare, run_cases
from foredraft.core.errors import PromptError
from foredraft.core.params import SamplingParams
from foredraft.core.protocols import Ask, Needs, News, Request
from foredraft.core.tree import EMPTY, DraftTree
from foredraft.engine.backends import Loaded
from foredraft.engine.llm import LLM

PARAMS = SamplingParams(max_tokens=12)
TALKS = [
    Prompt("a", "animals", ("the cat sat on the ", "and the dog?", "and the mat?")),
    Prompt("b", "mats", ("the mat sat", "on what?")),
    Prompt("c", "mats", ("and the mat and the dog",)),
]
IDS = ["a", "a#2", "a#3", "b", "b#2", "c"]
FIXED = "lookup:k=4"


class Remembering:
    """Drafts nothing; remembers by tenant how many texts it has seen, and notes what it knew when each began."""

    needs = Needs()

    def __init__(self) -> None:
        self.texts: dict[str, int] = {}
        self.knew: list[int] = []

    def open(self, request: Request, parent: Any = None) -> str:
        self.knew.append(self.texts.get(request.tenant, 0))
        return request.tenant

    def propose(self, asks: Sequence[Ask[Any]]) -> list[DraftTree]:
        return [EMPTY] * len(asks)

    def update(self, news: Sequence[News[Any]]) -> None: ...

    def close(self, state: str) -> None:
        self.texts[state] = self.texts.get(state, 0) + 1


def without_times(found: Any) -> Any:
    if isinstance(found, dict):
        timed = ("seconds", "opening", "spent", "expected", "memory")
        return {key: without_times(value) for key, value in found.items() if not key.endswith(timed)}
    return [without_times(one) for one in found] if isinstance(found, list) else found


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_a_later_turn_goes_on_from_the_plain_answer(toy: Loaded, temperature: float) -> None:
    entrants, _ = admit(toy, [FIXED])
    tasks = prepare(entrants[0].llm, TALKS, 7, raw=False, max_tokens=12)
    cases = run_cases(entrants, tasks, replace(PARAMS, temperature=temperature))
    assert [case.id for case in cases] == IDS
    assert [case.prompt for case in cases] == ["a", "a", "a", "b", "b", "c"]
    assert all(len({trial.tokens for trial in case.trials.values()}) == 1 for case in cases)
    llm, messages = LLM(toy, "none"), list[dict[str, str]]()
    for turn, text in enumerate(TALKS[0].turns):  # as a user would talk, turn after turn
        messages.append({"role": "user", "content": text})
        output = llm.chat(messages, replace(PARAMS, temperature=temperature, seed=tasks[turn].seed))
        assert output.token_ids == cases[turn].trials["plain"].tokens
        assert len(output.prompt_token_ids) == cases[turn].prompt_tokens
        messages.append({"role": "assistant", "content": output.text})
    assert len({task.seed for task in tasks}) == len(tasks)


def test_raw_turns_and_answers_follow_each_other(toy: Loaded) -> None:
    llm = LLM(toy, "none")
    [first, second, _] = prepare(llm, TALKS[:1], 0, raw=True)
    assert first.ids(llm, ()) == llm.encode("the cat sat on the ")
    assert second.ids(llm, ("mat",)) == llm.encode("the cat sat on the \n\nmat\n\nand the dog?")


def test_turns_that_may_not_fit_after_their_answers_are_named_before_anything_runs(toy: Loaded) -> None:
    talk = [Prompt("a", "t", ("x" * 100, "y" * 100))]
    llm = LLM(toy, "none")
    assert len(prepare(llm, talk, 0, raw=False, max_tokens=100)) == 2
    with pytest.raises(PromptError, match="prompt 'a#2': .* lower --max-tokens, or leave it out"):
        prepare(llm, talk, 0, raw=False, max_tokens=300)


def knew(toy: Loaded, done: Sequence[Case] = (), *, warm: bool) -> tuple[list[int], list[Json]]:
    """What the drafter knew at each of its texts, the untimed first ones left out, and the cases that were run."""
    drafter = Remembering()
    entrants, _ = admit(toy, [])
    entrants.append(Entrant("remembering", LLM(toy, drafter, num_speculative_tokens=4)))
    kept: list[Json] = []
    tasks = prepare(entrants[0].llm, TALKS, 0, raw=False, max_tokens=12)
    run_cases(entrants, tasks, PARAMS, done={case.id: case for case in done}, warm=warm, keep=kept.append)
    return drafter.knew[1:], kept


def test_cold_a_drafter_knows_the_conversation_and_nothing_else(toy: Loaded) -> None:
    assert knew(toy, warm=False)[0] == [0, 1, 2, 0, 1, 0]


def test_warm_it_knows_all_that_came_before(toy: Loaded) -> None:
    assert knew(toy, warm=True)[0] == [0, 1, 2, 3, 4, 5]


def test_arms_share_nothing_when_warm(toy: Loaded) -> None:
    drafters = [Remembering(), Remembering()]
    entrants, _ = admit(toy, [])
    entrants += [Entrant(str(at), LLM(toy, one, num_speculative_tokens=4)) for at, one in enumerate(drafters)]
    run_cases(entrants, prepare(entrants[0].llm, TALKS, 0, raw=True), PARAMS, warm=True)
    assert [one.knew[1:] for one in drafters] == [[0, 1, 2, 3, 4, 5]] * 2


@pytest.mark.parametrize(("warm", "again"), [(False, [0, 1, 2, 0, 1, 0]), (True, [0, 1, 2, 3, 4, 5])])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_resumed_run_knows_what_an_uninterrupted_one_knew(
    toy: Loaded, warm: bool, again: list[int], count: int
) -> None:
    _, whole = knew(toy, warm=warm)
    found, rest = knew(toy, [case_of(one) for one in whole[:count]], warm=warm)
    assert without_times([*whole[:count], *rest]) == without_times(whole)
    last = max((at for at in range(count) if warm or IDS[at][0] == IDS[count][0]), default=-1)
    first = min((at for at in range(count) if warm or IDS[at][0] == IDS[count][0]), default=count)
    replayed = again[first : last + 1]
    assert found == [*replayed, *again[count:]]
