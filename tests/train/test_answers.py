"""A target that answers on the engine: the texts of one prompt alone, however many share a pass."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from foredraft import SamplingParams
from foredraft.core.errors import UsageError
from foredraft.engine.llm import load
from foredraft.train import corpus, data
from foredraft.train.answers import EngineAnswers
from tiny import write_model


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineAnswers]:
    folder = write_model(tmp_path_factory.mktemp("target"), layers=3)
    found = EngineAnswers(str(folder), engine="hf", at_once=3)
    yield found
    found.close()


def test_texts_that_share_a_pass_are_those_of_one_alone(answers: EngineAnswers, tmp_path: Path) -> None:
    folder = write_model(tmp_path, layers=3)
    prompts = [tuple(range(5, 6 + count)) for count in range(8)]
    with load(str(folder), "none", engine="hf") as llm:
        for temperature in (0.0, 1.0):
            found = list(answers.answer(prompts, 9, temperature, 40))
            for own, (prompt, response) in enumerate(zip(prompts, found, strict=True), 40):
                params = SamplingParams(temperature=temperature, max_tokens=9, seed=own)
                assert response == llm.generate(prompt, params).token_ids


def test_equal_prompts_are_answered_differently(answers: EngineAnswers) -> None:
    said = list(answers.answer([(7, 8, 9)] * 5, 8, 1.0, 0))
    assert len(set(said)) == 5
    assert said == list(answers.answer([(7, 8, 9)] * 5, 8, 1.0, 0))


def test_invented_prompts_begin_with_the_openings_in_turn(answers: EngineAnswers, tmp_path: Path) -> None:
    (tmp_path / "openings.txt").write_text("Sum up:\\n\n\nTell me \n", encoding="utf-8")
    openings = data.read_openings(tmp_path / "openings.txt")
    assert openings == ("Sum up:\n", "Tell me ")
    plan = data.Plan(
        None, tmp_path / "out.jsonl", invented=160, most=2, batch=40, openings=openings, longest_invented=60
    )
    data.make(answers, plan, lambda _: None)
    before, after = data.frame(answers.tokenizer)
    texts = corpus.read(plan.out)
    said = [answers.tokenizer.decode(text.prompt[len(before) : -len(after)]) for text in texts]
    counts = [sum(one.startswith(opening) for one in said) for opening in openings]
    assert sum(counts) == len(said) == len(texts)
    assert min(counts) > 0


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe\xff"])
def test_openings_that_are_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "openings.txt").write_bytes(content)
    with pytest.raises(UsageError, match="openings"):
        data.read_openings(tmp_path / "openings.txt")


def test_the_command_answers_on_the_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from foredraft.cli import run

    folder = write_model(tmp_path / "target", layers=2)
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"id": 1, "task": "t", "turns": ["hello"]}) + "\n")
    asked = ["train", "data", "-m", str(folder), "--device", "cpu", "--max-tokens", "5"]
    assert run([*asked, "--prompts", str(tmp_path / "prompts.jsonl"), "--out", str(tmp_path / "out.jsonl")]) == 0
    assert "1 texts in" in capsys.readouterr().out
    (text,) = corpus.read(tmp_path / "out.jsonl")
    with load(str(folder), "none") as llm:
        assert llm.generate(text.prompt, SamplingParams(temperature=0, max_tokens=5)).token_ids == text.response
