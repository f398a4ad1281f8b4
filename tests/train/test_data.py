"""Which prompts are answered: none that a benchmark has, none twice, and after a stop as without one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from foredraft.models.tokenizer import Tokenizer
from foredraft.train import corpus, data
from foredraft.train.corpus import Speaker, Text
from foredraft.train.target import TorchTarget

LONG = "one two three four five six seven eight nine ten eleven"


class Parrot:
    """Answers by prompt and seed alone, each prompt with the next seed, as the engine does; invents what it is told."""

    def __init__(self, tokenizer: Tokenizer, invents: Sequence[str] = ()) -> None:
        self.tokenizer, self.speaker, self.said = tokenizer, Speaker("parrot", "ab"), 0
        self._stop = min(tokenizer.stop_ids)
        self._invents = [tuple(tokenizer.encode(text, add_bos=False)) for text in invents]

    def answer(
        self, prompts: Sequence[tuple[int, ...]], most: int, temperature: float, seed: int
    ) -> Iterator[tuple[int, ...]]:
        before, _ = data.frame(self.tokenizer)
        for own, prompt in enumerate(prompts, seed):
            self.said += 1
            yield (*self._invents[own], self._stop) if prompt == before else (len(prompt), own if temperature else 0)

    def close(self) -> None:
        """Nothing is held."""


def written(path: Path, *turns: str, ids: Sequence[int | str] = ()) -> Path:
    lines = ({"id": name, "task": "t", "turns": [turn]} for name, turn in zip(ids or range(len(turns)), turns))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def made(parrot: Parrot, plan: data.Plan) -> list[Text]:
    data.make(parrot, plan, lambda _: None)
    return corpus.read(plan.out)


@pytest.mark.parametrize(
    ("prompt", "theirs", "met"),
    [
        ("Who wrote Hamlet in 1600?", "who wrote hamlet, in 1600", True),
        ("Who wrote Hamlet?", "Who wrote Hamlet in 1600?", False),
        ("Who wrote Hamlet in 1600?", f"Who wrote Hamlet in 1600? {LONG}", False),
        ('Say "' + LONG.replace(" ", ", ") + '".', LONG, True),
        (f"{LONG}?", "ten eleven", False),
        ("?!", "!", False),
        ("¿Qué?", "qué", True),
    ],
)
def test_prompts_of_a_benchmark_are_met_whatever_their_length(
    target: TorchTarget, tmp_path: Path, prompt: str, theirs: str, met: bool
) -> None:
    against = written(tmp_path / "bench.jsonl", "another prompt", theirs)
    plan = data.Plan(written(tmp_path / "mine.jsonl", "is kept", prompt), tmp_path / "out.jsonl", (against,))
    assert len(made(Parrot(target.tokenizer), plan)) == (1 if met else 2)


def test_invented_prompts_are_held_against_the_benchmark_of_the_run(target: TorchTarget, tmp_path: Path) -> None:
    """Also those that were invented when another one was named."""
    parrot = Parrot(target.tokenizer, ["Who wrote Hamlet?", "Say one.", f"Say {LONG}", "Say two."])
    none = data.Plan(None, tmp_path / "out.jsonl", invented=4)
    assert sorted(text.id for text in made(parrot, none)) == [f"invented-{n}" for n in range(4)]
    none.out.unlink()
    against = written(tmp_path / "bench.jsonl", "who wrote HAMLET", LONG)
    left = made(parrot, replace(none, against=(against,)))
    assert sorted(text.id for text in left) == ["invented-1", "invented-3"]


def test_texts_that_a_benchmark_met_later_are_told_of(target: TorchTarget, tmp_path: Path) -> None:
    parrot, told = Parrot(target.tokenizer), list[str]()
    plan = data.Plan(written(tmp_path / "mine.jsonl", "Who wrote Hamlet?", "Say one."), tmp_path / "out.jsonl")
    made(parrot, plan)
    data.make(parrot, replace(plan, against=(written(tmp_path / "bench.jsonl", "who wrote hamlet"),)), told.append)
    assert [line for line in told if "--against" in line] == [
        f"1 of the texts in {plan.out} answer prompts of --against: give another --out to be without them"
    ]


def test_a_prompt_is_answered_once_at_each_temperature(target: TorchTarget, tmp_path: Path) -> None:
    """Equal means every token: numbers and signs make another prompt of the same words."""
    prompts = written(tmp_path / "mine.jsonl", "Say 2 + 2", "Say 2 - 2", "Say 2 + 2", "say 2 + 2")
    plan = data.Plan(prompts, tmp_path / "out.jsonl", temperatures=(0.0, 0.7))
    found = made(Parrot(target.tokenizer), plan)
    assert sorted((text.temperature, text.id) for text in found) == [(t, n) for t in (0.0, 0.7) for n in "013"]


@pytest.mark.parametrize("minutes", [None, 0.0])
def test_two_prompts_of_one_id_are_both_answered(target: TorchTarget, tmp_path: Path, minutes: float | None) -> None:
    """Whether the run is stopped between them or not."""
    prompts = written(tmp_path / "mine.jsonl", "Say one.", "Say number two.", ids=["same", "same"])
    plan, parrot = data.Plan(prompts, tmp_path / "out.jsonl", batch=1, minutes=minutes), Parrot(target.tokenizer)
    for _ in range(3):
        made(parrot, plan)
    assert [text.id for text in corpus.read(plan.out)] == ["same", "same"]
    assert parrot.said == 2


@pytest.mark.parametrize("lines", range(1, 22))
def test_a_run_that_was_stopped_says_what_it_would_have(target: TorchTarget, tmp_path: Path, lines: int) -> None:
    """Wherever it was stopped, between batches or while one was written, by words of temperature 0.7 too."""
    prompts = written(tmp_path / "mine.jsonl", *(f"Say {'x' * n}" for n in range(10)))
    plan = data.Plan(prompts, tmp_path / "out.jsonl", temperatures=(0.0, 0.7), batch=4)
    whole = made(Parrot(target.tokenizer), plan)
    content = plan.out.read_text(encoding="utf-8").splitlines(keepends=True)
    plan.out.write_text("".join(content[:lines]), encoding="utf-8")
    parrot = Parrot(target.tokenizer)
    again = made(parrot, plan)
    assert {(one.id, one.temperature): one.response for one in again} == {
        (one.id, one.temperature): one.response for one in whole
    }
    assert parrot.said == len(content) - lines
