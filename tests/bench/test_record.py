"""Raw records: what is written is read again, whole, and nothing that can be told from the rest is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from foredraft.bench.record import case_of, step_json, steps_of, trial_json
from foredraft.core.events import Step, Times
from foredraft.core.tree import DraftTree
from foredraft.engine.compare import Arm
from foredraft.engine.outputs import Completion

SECONDS = st.integers(0, 10**8).map(lambda units: round(units * 1e-7, 7))
SOURCES = ("suffix", "lookup")
SPENT = ((), SOURCES, SOURCES[:1], SOURCES[1:])
TOKENS = st.lists(st.integers(0, 200_000), min_size=1, max_size=4).map(tuple)


@st.composite
def trees(draw: Callable[..., object]) -> DraftTree:
    size: int = draw(st.integers(0, 6))  # type: ignore[assignment]
    return DraftTree(
        tuple(draw(st.integers(0, 99)) for _ in range(size)),  # type: ignore[misc]
        tuple(draw(st.integers(-1, node - 1)) for node in range(size)),  # type: ignore[misc]
        tuple(draw(st.sampled_from((0.0, -0.25, -1.5, float("-inf")))) for _ in range(size)),  # type: ignore[misc]
        tuple(draw(st.sampled_from(("lookup", "model"))) for _ in range(size)),  # type: ignore[misc]
        (None,) * size,
        tuple(draw(st.booleans()) for _ in range(size)),  # type: ignore[misc]
    )


@st.composite
def texts(draw: Callable[..., object]) -> tuple[Step, ...]:
    steps, position = [], 0
    for _ in range(draw(st.integers(1, 4))):  # type: ignore[call-overload]
        tree: DraftTree = draw(trees())  # type: ignore[assignment]
        tokens: tuple[int, ...] = draw(TOKENS)  # type: ignore[assignment]
        times = Times(*(draw(SECONDS) for _ in range(4)))  # type: ignore[arg-type]
        path = tuple(range(draw(st.integers(0, len(tree)))))  # type: ignore[call-overload]
        steps.append(
            Step(
                position,
                tokens,
                accepted=min(len(path), len(tokens)),
                tree=tree,
                path=path,
                rows=draw(st.sampled_from((1 + len(tree), 7))),  # type: ignore[arg-type]
                finish=draw(st.sampled_from((None, "stop", "length"))),  # type: ignore[arg-type]
                fault=draw(st.sampled_from((None, "ValueError: no"))),  # type: ignore[arg-type]
                seconds=times,
                wall=times.total,
                spent=tuple((source, draw(SECONDS)) for source in draw(st.sampled_from(SPENT))),  # type: ignore[arg-type]
                expected=draw(st.none() | st.tuples(st.sampled_from((1.0, 2.345)), SECONDS)),  # type: ignore[arg-type]
            )
        )
        position += len(tokens)
    return tuple(steps)


@given(steps=texts())
def test_steps_are_read_as_they_were_written(steps: tuple[Step, ...]) -> None:
    lines = json.dumps([step_json(step, SOURCES) for step in steps], allow_nan=False)
    assert steps_of(json.loads(lines), SOURCES) == steps


@given(steps=texts())
def test_a_trial_names_its_sources_once(steps: tuple[Step, ...]) -> None:
    completion = Completion(0, "", (), None, None, 0, (), steps)
    found = trial_json(Arm(completion, 1.0))
    line = {"id": "a", "task": "t", "prompt_tokens": 1, "prompt_seconds": 0.0, "order": ["x"], "trials": {"x": found}}
    read = case_of(json.loads(json.dumps(line, allow_nan=False))).trials["x"].steps
    assert [dict(step.spent) for step in read] == [dict(step.spent) for step in steps]
    assert [replace(step, spent=()) for step in read] == [replace(step, spent=()) for step in steps]


def test_what_a_policy_said_is_rounded_and_what_a_source_did_not_spend_is_none() -> None:
    step = Step(0, (1,), rows=1, spent=(("lookup", 0.123456789),), expected=(1.23456, 0.00123456789))
    assert step_json(step, SOURCES) == {
        "tokens": [1],
        "seconds": [0.0, 0.0, 0.0, 0.0],
        "spent": [None, 0.1234568],
        "expected": [1.235, 0.0012346],
    }


def test_a_plain_step_is_its_token_and_its_times() -> None:
    step = Step(3, (17,), rows=1, text="left out", seconds=Times(0.0, 0.123456789, 0.0, 0.0), spent=(("none", 1e-6),))
    assert "sources" not in trial_json(Arm(Completion(0, "", (17,), None, None, 0, (), (step,)), 1.0))
    assert step_json(step) == {"tokens": [17], "seconds": [0.0, 0.1234568, 0.0, 0.0]}


def test_a_chain_of_one_source_says_so_once() -> None:
    step = Step(0, (1, 2), accepted=1, tree=DraftTree.chain((1, 9), "lookup"), path=(0,), rows=3)
    assert step_json(step) | {"seconds": None} == {
        "tokens": [1, 2],
        "tree": {"tokens": [1, 9], "source": "lookup"},
        "accepted": 1,
        "path": [0],
        "seconds": None,
    }


def test_chunks_of_the_prompt_are_no_steps_of_the_text_but_their_faults_count() -> None:
    chunk = Step(0, (), rows=5, fault="DraftError: not open")
    first = Step(0, (4,), rows=1)
    last = Step(1, (2,), rows=1, finish="stop", fault="ValueError: late")
    completion = Completion(0, "", (4, 2), "stop", 2, 0, (), (chunk, first, last))
    found = json.loads(json.dumps(trial_json(Arm(completion, 1.5, 0.25))))
    case = case_of(
        {"id": "a", "task": "t", "prompt_tokens": 3, "prompt_seconds": 0.1, "order": ["x"], "trials": {"x": found}}
    )
    trial = case.trials["x"]
    assert (trial.seconds, trial.opening, trial.finish, trial.tokens) == (1.5, 0.25, "stop", (4, 2))
    assert trial.faults == ("DraftError: not open", "ValueError: late")
    assert trial.steps == (first, last)
    assert trial.stats.passes == 2


def test_rounding_is_to_a_tenth_of_a_microsecond() -> None:
    step = Step(0, (1,), rows=1, seconds=Times(verify=1 / 3))
    [read] = steps_of([step_json(step)])
    assert read == replace(step, seconds=Times(verify=0.3333333), wall=0.3333333)
