"""Parity of a trained head with its definition: a sound one passes, and one that the engine gets wrong does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foredraft.audit import parity as checked
from foredraft.audit.parity import Parity, heads_of, parity
from foredraft.bench.prompts import Prompt
from foredraft.core.heads import Head
from foredraft.engine.llm import LLM, load
from foredraft.heads.files import write_head
from gguf_cases import write_gguf
from random_heads import random_head

PROMPTS = (Prompt("a", "t", ("abcabcabd",)), Prompt("b", "t", ("xyzw xyz",)))


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> LLM:
    return load(
        str(write_gguf(tmp_path_factory.mktemp("target") / "tiny.gguf", "smollm", "Q8_0").path), "none", threads=2
    )


@pytest.fixture
def head(llm: LLM, tmp_path: Path) -> Path:
    config, tensors = random_head(llm.loaded.model.about, says=range(0, 459, 2), block=4, gain=0.1)
    write_head(tmp_path / "head.safetensors", config, tensors, int8=True)
    return tmp_path / "head.safetensors"


def test_a_head_drafts_what_its_definition_says(llm: LLM, head: Path) -> None:
    found = parity(llm, head, PROMPTS, 24, raw=True)
    assert found.laws >= 8
    assert found.tokens > 24
    assert found.floats is not None
    assert found.floats < 1e-4
    assert found.divergence < 0.01
    assert found.passed


@pytest.mark.parametrize(
    ("method", "sizes"), [("medusa", {}), ("hydra", {"prefix": 1}), ("mtp", {})], ids=["medusa", "hydra", "mtp"]
)
def test_heads_of_every_method_are_compared(llm: LLM, tmp_path: Path, method: str, sizes: dict[str, int]) -> None:
    about = llm.loaded.model.about
    config, tensors = random_head(about, method=method, says=range(0, 459, 2), block=3, **sizes)
    write_head(tmp_path / "head.safetensors", config, tensors, int8=True)
    found = parity(llm, tmp_path / "head.safetensors", PROMPTS, 24, raw=True)
    assert found.laws >= 8
    assert found.floats is not None
    assert found.floats < 1e-4
    assert found.divergence < 0.01
    assert found.passed


def test_a_head_that_the_engine_gets_wrong_fails(llm: LLM, head: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The known-bad twin: the same head with the rows of its block the other way round."""
    right = checked.load_head

    def wrong(path: str, *rest: object, **more: object) -> Head:
        made: Head = right(path, *rest, **more)  # type: ignore[arg-type]
        score = made.score
        made.score = lambda feeds: [np.ascontiguousarray(found[::-1]) for found in score(feeds)]  # type: ignore[method-assign]
        return made

    monkeypatch.setattr(checked, "load_head", wrong)
    assert not parity(llm, head, PROMPTS, 24, raw=True).passed


def test_a_head_whose_floats_are_no_numbers_fails(llm: LLM, head: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = checked.native_head

    def wrong(*rest: object, **more: object) -> Head:
        made: Head = right(*rest, **more)  # type: ignore[arg-type]
        score = made.score
        made.score = lambda feeds: [found * np.nan for found in score(feeds)]  # type: ignore[method-assign]
        return made

    monkeypatch.setattr(checked, "native_head", wrong)
    assert not parity(llm, head, PROMPTS, 24, raw=True).passed


def test_a_round_of_a_few_texts_is_chance() -> None:
    """Of 24 rounds one more or less is 4%; of 720 that is 30 rounds, and no chance."""
    few = Parity("head", laws=144, tokens=48, divergence=3e-4, floats=2e-5, defined=2.0, engine=48 / 25)
    assert few.passed
    assert not replace(few, engine=48 / 26).passed
    assert not replace(few, tokens=1440).passed
    assert not replace(few, engine=1.5).passed
    assert replace(few, tokens=1440, engine=1.97).passed


def test_whose_heads_take_part(llm: LLM) -> None:
    target = llm.loaded.model
    assert heads_of("suffix", target) == heads_of("auto", target) == []
    assert heads_of("auto+block:some/head.safetensors,depth=3", target) == [Path("some/head.safetensors")]
