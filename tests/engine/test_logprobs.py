"""Every drafter with every verifier reports the log probabilities that plain decoding has for the same text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")

from foredraft import LLM, SamplingParams
from foredraft.core.events import TokenLogprob
from foredraft.core.native import TWINS
from foredraft.core.protocols import Query
from foredraft.draft import DRAFTERS, line_up
from foredraft.engine.backends import Loaded, load_model
from foredraft.engine.outputs import Completion
from foredraft.heads.files import write_head
from foredraft.heads.shapes import SHAPES
from foredraft.verify import VERIFIERS
from random_heads import random_head
from tiny import write_model

PROMPT = "abcabcabc xyz abcabc"
COUNT = 3
ROUNDING = 1e-4  # of an engine whose rows depend on their company

HEADS = tuple(SHAPES)
# Drafters that need something beside their name; what stands in braces is filled in.
GIVEN = {
    "ahead": "ahead:{model}",
    "corpus": "corpus:{file}",
    "model": "model:{model}",
    **{method: method + ":{heads}/" + method + ".safetensors" for method in HEADS},
    "staged": "staged:lookup,model={model}",
    "translate": "translate:{model}",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("tiny")
    (found / "texts.txt").write_text("abcabcabcabc xyz abcabcabc xyz xyz\n" * 3, encoding="utf-8")
    write_model(found / "draft", seed=3)
    return write_model(found / "model", seed=3)


@pytest.fixture(scope="module")
def loaded(folder: Path) -> Iterator[Loaded]:
    found = load_model(str(folder), threads=1)
    for method in HEADS:
        write_head(folder.parent / f"{method}.safetensors", *random_head(found.model.about, method=method))
    yield found
    found.model.close()


def text_of(drafter: str, folder: Path) -> str:
    given = {"model": folder.parent / "draft", "file": folder.parent / "texts.txt"}
    return GIVEN.get(drafter, drafter).format(**given, heads=folder.parent)


def params(verifier: str | None, temperature: float) -> SamplingParams:
    return SamplingParams(max_tokens=10, temperature=temperature, seed=4, logprobs=COUNT, verifier=verifier)


def fresh(loaded: Loaded, ids: tuple[int, ...], output: tuple[int, ...]) -> list[TokenLogprob]:
    """One pass over the text: what plain decoding would have reported of each of its tokens."""
    text, cache, found = (*ids, *output), loaded.model.open(), []
    rows = tuple(range(len(ids) - 1, len(text) - 1))
    (scores,) = loaded.model.score([Query(cache, text, tuple(range(-1, len(text) - 1)), rows)])
    for row, token in zip(rows, output, strict=True):
        logprobs = TWINS.log_softmax(scores.logits(row))
        best = TWINS.top(scores.logits(row), COUNT)
        top = tuple((int(other), float(logprobs[other])) for other in best)
        found.append(TokenLogprob(token, float(logprobs[token]), top))
    cache.close()
    return found


def assert_same(reported: Completion, due: list[TokenLogprob]) -> None:
    assert len(reported.logprobs) == len(due)
    for own, other in zip(reported.logprobs, due, strict=True):
        assert own.token == other.token
        assert own.logprob == pytest.approx(other.logprob, abs=ROUNDING)
        assert [token for token, _ in own.top] == [token for token, _ in other.top]
        assert [prob for _, prob in own.top] == pytest.approx([prob for _, prob in other.top], abs=ROUNDING)


@pytest.mark.parametrize("drafter", DRAFTERS)
def test_with_every_verifier(loaded: Loaded, folder: Path, drafter: str) -> None:
    plain = LLM(loaded, "none")
    text = text_of(drafter, folder)
    length = 3 if line_up(text).fixed is None else None
    llm = LLM(loaded, text, num_speculative_tokens=length, allow_lossy=True)
    try:
        ids = llm.encode(PROMPT)
        for temperature in (0.0, 0.9):
            right = plain.generate(ids, params(None, temperature)).outputs[0]
            assert_same(right, fresh(loaded, ids, right.token_ids))
            for verifier in VERIFIERS:
                found = llm.generate(ids, params(verifier, temperature)).outputs[0]
                assert not found.stats.faults, (verifier, found.stats.faults)
                assert_same(found, fresh(loaded, ids, found.token_ids))
                if verifier == "match":
                    assert_same(found, list(right.logprobs))
    finally:
        llm.drafting.close()


def test_a_token_is_reported_with_the_row_that_judged_it(loaded: Loaded, folder: Path) -> None:
    """The known-bad twin: with the rows moved by one the comparison fails."""
    llm = LLM(loaded, "lookup", num_speculative_tokens=3)
    found = llm.generate(PROMPT, params("match", 0.9)).outputs[0]
    due = fresh(loaded, llm.encode(PROMPT), found.token_ids)
    with pytest.raises(AssertionError):
        assert_same(found, [due[-1], *due[:-1]])
