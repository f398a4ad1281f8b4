"""A whole benchmark on a toy model: pairing, order, resuming, seeds, and what reaches the cases."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from foredraft.bench.entrants import Entrant, admit
from foredraft.bench.prompts import Prompt
from foredraft.bench.record import Json, case_of
from foredraft.bench.report import report
from foredraft.bench.run import fitting, order_of, prepare, run_case, run_cases
from foredraft.core.errors import PromptError, RuleError
from foredraft.core.params import SamplingParams
from foredraft.core.protocols import Ask, Needs, Query, Scores
from foredraft.core.tree import DraftTree
from foredraft.draft.none import Nothing
from foredraft.engine.backends import Loaded
from foredraft.engine.compare import first_difference, scored, timed
from foredraft.engine.llm import LLM
from foredraft.models.toy import ToyModel

PARAMS = SamplingParams(max_tokens=24)


class Wrong(Nothing):
    """Fails at every round."""

    def propose(self, asks: Sequence[Ask[Any]]) -> list[DraftTree]:
        raise ValueError("no idea")


# Without a length the policy measures and decides by the clock: other passes, and other steps every time.
FIXED = "lookup:k=4"


def without_times(found: Any) -> Any:
    if isinstance(found, dict):
        timed = ("seconds", "opening", "spent", "memory")
        return {key: without_times(value) for key, value in found.items() if not key.endswith(timed)}
    return [without_times(one) for one in found] if isinstance(found, list) else found


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_arms_of_a_prompt_say_the_same_and_are_all_there(
    toy: Loaded, prompts: list[Prompt], temperature: float
) -> None:
    entrants, _ = admit(toy, [FIXED, "lookup:n=4,branches=2", "none"])
    tasks = prepare(entrants[0].llm, prompts, 7, raw=True)
    told: list[tuple[int, int]] = []
    cases = run_cases(entrants, tasks, replace(PARAMS, temperature=temperature), each=lambda *done: told.append(done))
    assert [case.id for case in cases] == ["a1", "a2", "m1", "m2"]
    assert told == [(done, 16) for done in range(17)]
    for case, task in zip(cases, tasks, strict=True):
        assert set(case.trials) == {"plain", FIXED, "lookup:n=4,branches=2", "none"}
        assert len({trial.tokens for trial in case.trials.values()}) == 1
        assert case.prompt_tokens == len(task.ids(entrants[0].llm, ()))
        assert case.trials["plain"].stats.drafted == case.trials["none"].stats.drafted == 0
        assert all(trial.seconds > trial.opening >= 0 and not trial.faults for trial in case.trials.values())
        assert all(len(trial.steps[0].tokens) > 0 for trial in case.trials.values())
    assert sum(case.trials[FIXED].stats.accepted for case in cases) > 0
    alone = LLM(toy, "none").generate(prompts[0].turns[0], replace(PARAMS, temperature=temperature, seed=tasks[0].seed))
    assert alone.token_ids == cases[0].trials[FIXED].tokens


def test_the_prompt_is_scored_once_for_all_arms(toy: Loaded, prompts: list[Prompt]) -> None:
    class Counting(ToyModel):
        prompts = 0

        def score(self, queries: Sequence[Query]) -> list[Scores]:
            self.prompts += sum(not query.logits for query in queries)
            return super().score(queries)

    assert isinstance(toy.model, ToyModel)
    model = Counting(toy.model.net, context=512)
    entrants, _ = admit(replace(toy, model=model), [FIXED, "none"])
    [task] = prepare(entrants[0].llm, prompts[:1], 0, raw=True)
    ids = task.ids(entrants[0].llm, ())
    run_case(entrants, task, ids, PARAMS, 0)
    assert model.prompts == 1
    nosy = Nothing()
    nosy.needs = Needs(taps=(1,))  # type: ignore[misc]
    own = Entrant("nosy", LLM(replace(toy, model=model), nosy, num_speculative_tokens=4))
    run_case([*entrants, own], task, ids, PARAMS, 0)
    assert model.prompts == 3  # it wants to see the prompt's hidden states, so it scores the prompt itself


def test_a_scored_prompt_is_the_prompt_but_its_last_token(toy: Loaded) -> None:
    llm = LLM(toy, "lookup")
    ids = llm.encode("the cat sat on the ")
    cache, seconds = scored(LLM(toy, "none"), ids, PARAMS)
    assert cache.length == len(ids) - 1
    assert seconds > 0
    forked = timed(llm, ids, PARAMS, cache=cache.fork())
    own = timed(llm, ids, PARAMS)
    assert forked.completion.token_ids == own.completion.token_ids
    assert forked.completion.steps[0].tokens  # no chunk of a prompt
    assert not own.completion.steps[0].tokens
    assert cache.length == len(ids) - 1  # the fork was another's


def test_the_order_is_balanced() -> None:
    for count in range(1, 6):
        entrants = [Entrant(str(index), None) for index in range(count)]  # type: ignore[arg-type]
        turns = [[one.name for one in order_of(entrants, turn)] for turn in range(2 * count)]
        assert all(sorted(turn) == [one.name for one in entrants] for turn in turns)
        assert (
            Counter(turn[0] for turn in turns)
            == Counter(turn[-1] for turn in turns)
            == {one.name: 2 for one in entrants}
        )
        for one, other in permutations((entrant.name for entrant in entrants), 2):
            assert sum(turn.index(one) < turn.index(other) for turn in turns) == count


def test_a_resumed_run_ends_as_an_uninterrupted_one(toy: Loaded, prompts: list[Prompt]) -> None:
    entrants, _ = admit(toy, [FIXED])
    tasks = prepare(entrants[0].llm, prompts, 3, raw=True)
    params = replace(PARAMS, temperature=1.0)
    whole: list[Json] = []
    run_cases(entrants, tasks, params, keep=whole.append)
    first: list[Json] = []

    def until_two(found: Json) -> None:
        first.append(found)
        if len(first) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_cases(entrants, tasks, params, keep=until_two)
    done = {found["id"]: case_of(found) for found in first}
    rest: list[Json] = []
    told: list[tuple[int, int]] = []
    run_cases(entrants, tasks, params, done=done, keep=rest.append, each=lambda *made: told.append(made))
    assert told == [(made, 8) for made in range(4, 9)]
    assert [found["id"] for found in rest] == ["m1", "m2"]
    assert without_times([*first, *rest]) == without_times(whole)


def test_what_was_done_before_is_no_progress_of_this_run(toy: Loaded, prompts: list[Prompt]) -> None:
    entrants, _ = admit(toy, [FIXED])
    tasks = prepare(entrants[0].llm, prompts, 3, raw=True)
    done = {case.id: case for case in run_cases(entrants, tasks[1::2], PARAMS)}
    told: list[tuple[int, int]] = []
    run_cases(entrants, tasks, PARAMS, done=done, each=lambda *made: told.append(made))
    assert told == [(made, 8) for made in range(4, 9)]


def test_a_prompts_seed_does_not_depend_on_the_rest_of_the_suite(toy: Loaded, prompts: list[Prompt]) -> None:
    llm = LLM(toy, "none")
    seeds = {task.prompt.id: task.seed for task in prepare(llm, prompts, 5, raw=True)}
    assert len(set(seeds.values())) == len(prompts)
    [alone] = prepare(llm, prompts[2:3], 5, raw=True)
    assert alone.seed == seeds["m1"]
    assert prepare(llm, prompts[2:3], 6, raw=True)[0].seed == seeds["m1"] + 1


def test_prompts_are_chats_unless_raw(toy: Loaded, prompts: list[Prompt]) -> None:
    llm = LLM(toy, "none")
    [raw], [chat] = (prepare(llm, prompts[:1], 0, raw=raw) for raw in (True, False))
    assert chat.ids(llm, ()) == llm.encode_chat([{"role": "user", "content": prompts[0].turns[0]}])
    assert raw.ids(llm, ()) == llm.encode(prompts[0].turns[0]) != chat.ids(llm, ())


def test_a_prompt_that_does_not_fit_is_named_before_anything_runs(toy: Loaded) -> None:
    with pytest.raises(PromptError, match="prompt 'long': .* leave it out"):
        prepare(LLM(toy, "none"), [Prompt("long", "t", ("x" * 600,))], 0, raw=True)


def test_faults_reach_the_report_and_the_text_is_still_plain(toy: Loaded, prompts: list[Prompt]) -> None:
    entrants, _ = admit(toy, [])
    entrants.append(Entrant("wrong", LLM(toy, Wrong(), num_speculative_tokens=4)))
    cases = run_cases(entrants, prepare(entrants[0].llm, prompts, 0, raw=True), PARAMS)
    setup = dict.fromkeys(("model", "engine", "suite", "machine", "version"), "x")
    [run] = report(setup, cases, ["wrong"])["runs"]
    assert run["faults"] > 0
    assert run["first_fault"] == "ValueError: no idea"
    assert run["identical"]
    assert run["identity_cases"] == 0


def test_a_text_that_fails_ends_the_benchmark_by_name(toy: Loaded, prompts: list[Prompt]) -> None:
    entrants, _ = admit(toy, [FIXED])
    [task] = prepare(entrants[0].llm, prompts[:1], 0, raw=True)
    allowed = (toy.tokenizer.size - 1,)
    bad = SamplingParams(max_tokens=4, allowed_token_ids=allowed, logit_bias={allowed[0]: float("-inf")})
    with pytest.raises(RuleError, match="prompt 'a1'"):
        run_case(entrants, task, task.ids(entrants[0].llm, ()), bad, 0)


def test_what_is_kept_is_json(toy: Loaded, prompts: list[Prompt]) -> None:
    entrants, _ = admit(toy, ["lookup:branches=3"])
    [task] = prepare(entrants[0].llm, prompts[:1], 0, raw=True)
    found = run_case(entrants, task, task.ids(entrants[0].llm, ()), PARAMS, 1)
    assert found["order"] == ["lookup:branches=3", "plain"]
    assert case_of(json.loads(json.dumps(found, allow_nan=False))) == case_of(found)


def test_the_first_difference_counts_an_early_end() -> None:
    assert first_difference([1, 2], [1, 2]) is None
    assert first_difference([1, 2], [1, 3]) == 1
    assert first_difference([1, 2], [1, 2, 3]) == 2
    assert first_difference([], [1]) == 0


def test_prompts_that_leave_no_room_for_an_answer_are_left_out_by_name(toy: Loaded, prompts: list[Prompt]) -> None:
    llm = LLM(toy, "none")
    long = Prompt("long", "animals", ("the cat sat on the mat. " * 100,))
    room = toy.model.about.context
    kept, left_out = fitting(llm, [*prompts, long], raw=True, max_tokens=16)
    assert kept == tuple(prompts)
    assert list(left_out) == ["long"]
    assert "leave it out of the suite" in left_out["long"]
    with pytest.raises(PromptError, match="the model holds"):
        fitting(llm, prompts, raw=True, max_tokens=room)
