"""Texts to train on: files that grow, are cut short and are read again; batches; the tokens a head may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from foredraft.core.errors import UsageError
from foredraft.train import corpus
from foredraft.train.corpus import Text


def text(number: int, prompt: int = 3, response: int = 4) -> Text:
    return Text(f"t{number}", "task", tuple(range(number, number + prompt)), tuple(range(response)), 0.0)


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    path, texts = tmp_path / "new" / "texts.jsonl", [text(n) for n in range(5)]
    corpus.append(path, texts[:2])
    corpus.append(path, texts[2:])
    assert corpus.read(path) == texts


def test_a_killed_run_loses_its_last_line_alone(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    corpus.append(path, [text(0), text(1)])
    path.write_text(path.read_text()[:-20])
    assert corpus.read(path) == [text(0)]
    corpus.repair(path)
    corpus.append(path, [text(2)])
    assert corpus.read(path) == [text(0), text(2)]


@pytest.mark.parametrize("speaker", [None, corpus.Speaker("smollm2", "ab" * 32)])
def test_a_last_line_may_be_cut_anywhere(tmp_path: Path, speaker: corpus.Speaker | None) -> None:
    """After every one of its bytes; where its end of line alone is missing, it is whole."""
    path = tmp_path / "texts.jsonl"
    if speaker is not None:
        corpus.begin(path, speaker)
    corpus.append(path, [text(0)])
    before = path.stat().st_size
    corpus.append(path, [text(1)])
    content = path.read_bytes()
    for end in range(before, len(content)):
        path.write_bytes(content[:end])
        kept = [text(0), text(1)] if end == len(content) - 1 else [text(0)]
        assert corpus.read(path) == kept, content[before:end]
        corpus.repair(path)
        assert corpus.read(path) == kept
        corpus.append(path, [text(2)])
        assert corpus.read(path) == [*kept, text(2)]


def test_a_file_says_who_spoke(tmp_path: Path) -> None:
    path, speaker = tmp_path / "new" / "texts.jsonl", corpus.Speaker("smollm2", "ab" * 32)
    corpus.begin(path, speaker)
    assert corpus.read(path) == []
    corpus.append(path, [text(0), text(1)])
    path.write_text(path.read_text()[:-20])
    corpus.repair(path)
    assert corpus.speaker_of(path) == speaker
    assert corpus.read(path) == [text(0)]
    corpus.append(tmp_path / "old.jsonl", [text(0)])
    assert corpus.speaker_of(tmp_path / "old.jsonl") is None


@pytest.mark.parametrize("line", ["{", "[]", '{"id": 1}', '{"id": "a", "task": "b", "prompt": 3, "response": []}'])
def test_a_line_that_is_no_text_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "texts.jsonl"
    corpus.append(path, [text(0)])
    path.write_text(path.read_text() + line + "\n")
    corpus.append(path, [text(1)])
    with pytest.raises(UsageError, match="line 2 of"):
        corpus.read(path)


def test_a_file_of_another_kind_is_not_taken_for_one_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "prompts.json"
    path.write_text('{"prompts": ["precious"]}')
    with pytest.raises(UsageError, match="line 1 of"):
        corpus.read(path)
    assert path.read_text() == '{"prompts": ["precious"]}'


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="train data"):
        corpus.read(tmp_path / "none.jsonl")


def test_batches_hold_every_text_once_within_their_size() -> None:
    texts = [text(n, 1 + n % 50, 1 + n % 17) for n in range(200)]
    found = list(corpus.batches(texts, 256, seed=3))
    assert sorted(one.id for batch in found for one in batch) == sorted(one.id for one in texts)
    for batch in found:
        wide = max(len(one.prompt) for one in batch) + max(len(one.response) for one in batch)
        assert len(batch) == 1 or wide * len(batch) <= 256
    assert found == list(corpus.batches(texts, 256, seed=3))
    assert found != list(corpus.batches(texts, 256, seed=4))


def test_answers_to_one_prompt_are_held_out_together() -> None:
    texts = [text(n) for n in range(2000)]
    warm = [Text("other", "x", one.prompt, (9,), 0.7) for one in texts]
    assert [one.held_out for one in texts] == [one.held_out for one in warm]
    assert 0.01 < sum(one.held_out for one in texts) / len(texts) < 0.05


def test_a_head_says_what_responses_say_most_and_then_what_prompts_hold() -> None:
    texts = [Text("a", "", (7, 7, 7, 8), (3, 3, 5)), Text("b", "", (9,), (3, 5, 1))]
    assert corpus.common(texts, 2) == [3, 5]
    assert corpus.common(texts, 4) == [1, 3, 5, 7]
    assert corpus.coverage(texts, [3, 5]) == pytest.approx(5 / 6)
