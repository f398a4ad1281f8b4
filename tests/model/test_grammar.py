"""Guided text of the default model: valid, and the same whatever was drafted, for random schemas and expressions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import numpy as np
import pytest

from foredraft import LLM, SamplingParams, StructuredOutputsParams, load
from foredraft.engine.outputs import Completion

pytestmark = pytest.mark.model

DRAFTERS = ("forced", "lookup:n=2,branches=3,k=8", "forced+lookup", "early layers")
PROMPT = "Extract the data as JSON. Text: Maria Keller, 42, a nurse in Basel, paid 19.50 francs on 3 May 2024 at 07:30."


@pytest.fixture(scope="module")
def plain() -> Iterator[LLM]:
    with load("smollm2", "none") as llm:
        yield llm


@pytest.fixture(scope="module")
def arms(plain: LLM) -> dict[str, LLM]:
    from foredraft.draft.model import ModelDrafter

    weak = ModelDrafter(plain.loaded.model.view(tuple(range(6))), (2, 1))  # a poor draft model: many rejections
    made = {name: LLM(plain.loaded, name) for name in DRAFTERS if name != "early layers"}
    made["early layers"] = LLM(plain.loaded, weak, num_speculative_tokens=4)
    for llm in made.values():
        llm.grammars = plain.grammars
    return made


def random_schema(generator: np.random.Generator, depth: int = 0) -> dict[str, Any]:
    kind = int(generator.integers(0, 7 if depth < 2 else 5))
    if kind == 5:
        return {"type": "array", "items": random_schema(generator, depth + 1), "maxItems": 2}
    if kind == 6 or depth == 0:
        keys = [str(key) for key in generator.choice(["name", "age", "city", "paid", "at", "é"], 3, replace=False)]
        parts = {key: random_schema(generator, depth + 1) for key in keys}
        needed = keys[: int(generator.integers(1, 4))]
        return {"type": "object", "properties": parts, "required": needed, "additionalProperties": False}
    return [
        {"type": "string", "maxLength": 12},
        {"type": "integer", "minimum": -5, "maximum": 120},
        {"enum": ["low", "medium", "high", None, 7]},
        {"type": "boolean"},
        {"type": "string", "pattern": r"^\d{2}:\d{2}$"},
    ][kind]


def cases() -> list[StructuredOutputsParams]:
    generator = np.random.default_rng(11)
    schemas = [StructuredOutputsParams(json=random_schema(generator)) for _ in range(6)]
    regexes = (r"[A-Z][a-z]{1,8} is \d{1,3} years old\.", r"(yes|no|maybe)(, (yes|no|maybe)){3}", r"(ab|cd){2,5}e?")
    return [*schemas, *(StructuredOutputsParams(regex=one) for one in regexes)]


def holds(wanted: StructuredOutputsParams, text: str) -> bool:
    if wanted.regex is not None:
        return re.fullmatch(wanted.regex, text) is not None
    jsonschema.validate(json.loads(text), json.loads(str(wanted.json)))
    return True


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_the_text_is_valid_and_does_not_depend_on_the_drafter(
    plain: LLM, arms: dict[str, LLM], temperature: float
) -> None:
    accepted, rejected = dict.fromkeys(arms, 0), dict.fromkeys(arms, 0)
    ended = 0
    prompt = plain.encode_chat([{"role": "user", "content": PROMPT}])
    for seed, wanted in enumerate(cases()):
        params = SamplingParams(max_tokens=120, temperature=temperature, seed=seed, structured_outputs=wanted)
        expected = plain.generate(prompt, params).outputs[0]
        if expected.finish_reason == "stop":
            assert holds(wanted, expected.text), expected.text
            ended += 1
        for name, llm in arms.items():
            output = llm.generate(prompt, params).outputs[0]
            assert not output.stats.faults
            assert output.token_ids == expected.token_ids, f"{name}: {output.text!r}, not {expected.text!r}"
            assert (output.text, output.finish_reason) == (expected.text, expected.finish_reason)
            accepted[name] += output.stats.accepted
            rejected[name] += output.stats.drafted - output.stats.accepted
    assert ended >= len(cases()) - 1
    assert all(accepted.values()), accepted
    assert all(count for name, count in rejected.items() if name != "forced"), rejected


def test_choices_of_one_prompt_and_prompts_of_one_pass_follow_the_grammar(plain: LLM, arms: dict[str, LLM]) -> None:
    wanted = StructuredOutputsParams(regex=r"[a-z]{3,6}-\d{2}")
    params = SamplingParams(n=3, max_tokens=30, temperature=1.0, seed=5, structured_outputs=wanted)
    prompts = ["a name and a number:", "another:"]
    for ours, theirs in zip(arms["forced"].generate(prompts, params), plain.generate(prompts, params), strict=True):
        assert [one.token_ids for one in ours.outputs] == [one.token_ids for one in theirs.outputs]
        assert all(holds(wanted, one.text) for one in ours.outputs)


def test_where_the_rules_leave_nothing_the_text_ends_with_an_error(plain: LLM, arms: dict[str, LLM]) -> None:
    """Twenty tokens at least, of a grammar that ends after one or two."""
    params = SamplingParams(
        min_tokens=20, max_tokens=40, structured_outputs=StructuredOutputsParams(choice=("yes", "no"))
    )
    ends: list[Completion] = [llm.generate("x", params).outputs[0] for llm in (plain, *arms.values())]
    assert {one.finish_reason for one in ends} == {"error"}
    assert "no token that may follow" in str(ends[0].stop_reason)
    assert len({(one.token_ids, one.text) for one in ends}) == 1


def test_a_conversation_keeps_to_it_turn_after_turn(plain: LLM) -> None:
    from foredraft import Conversation

    conversation = Conversation(LLM(plain.loaded, "forced"))
    params = SamplingParams(max_tokens=8, structured_outputs=StructuredOutputsParams(choice=("yes", "no")))
    for question in ("Is water wet?", "Is fire cold?"):
        assert "".join(chunk.text for chunk in conversation.reply(question, params)) in ("yes", "no")
    conversation.close()
