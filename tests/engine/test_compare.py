"""The comparison: what is on the clock, and what it refuses."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import foredraft
from foredraft import LLM, SamplingParams
from foredraft.core.errors import UsageError
from foredraft.core.events import Step
from foredraft.core.protocols import News
from foredraft.draft.none import Nothing
from foredraft.engine.compare import compare, race, timed
from tiny import write_model


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    folder: Path = write_model(tmp_path_factory.mktemp("tiny") / "model", seed=3)
    with foredraft.load(str(folder), threads=1) as loaded:
        yield loaded


class Studious(Nothing):
    """Works half a second on the prompt."""

    def update(self, news: Sequence[News[Any]]) -> None:
        if not news[0].tokens:
            time.sleep(0.5)


def test_the_drafters_work_on_the_prompt_is_on_the_clock(llm: LLM) -> None:
    prompt, params = llm.encode("hello there"), SamplingParams(max_tokens=4, ignore_eos=True)
    assert timed(LLM(llm.loaded, Studious()), prompt, params).seconds > 0.5


def test_showing_is_not(llm: LLM) -> None:
    shown = 0.0

    def slowly(step: Step) -> None:
        nonlocal shown
        begun = time.perf_counter()
        time.sleep(0.1)
        shown += time.perf_counter() - begun

    prompt, params = llm.encode("hello there"), SamplingParams(max_tokens=10, ignore_eos=True)
    begun = time.perf_counter()
    arm = timed(LLM(llm.loaded, "none"), prompt, params, slowly)
    assert arm.seconds <= time.perf_counter() - begun - shown  # whatever the machine's speed


def test_identity_is_not_claimed_where_it_is_not_promised(llm: LLM) -> None:
    ratio = LLM(llm.loaded, "lookup", verifier="recursive")
    with pytest.raises(UsageError, match="compare at temperature 0"):
        compare(ratio, llm.encode("hello"), SamplingParams(temperature=1.0))
    assert compare(ratio, llm.encode("ababab"), SamplingParams(max_tokens=12)).identical
    with pytest.raises(UsageError, match="n must be 1"):
        compare(llm, llm.encode("hello"), SamplingParams(temperature=1.0, n=2))


def test_a_race_is_run_whatever_is_promised(llm: LLM) -> None:
    """Plain decoding says the text of its seed, whatever verifier draws the other one."""
    prompt = llm.encode("abcabcabc")
    params = SamplingParams(max_tokens=8, temperature=1.5, seed=1, ignore_eos=True)
    found = race(LLM(llm.loaded, "lookup", verifier="recursive"), prompt, params)
    assert len(found.speculative.completion.token_ids) == 8
    assert found.plain.completion.token_ids == LLM(llm.loaded, "none").generate(prompt, params).token_ids
