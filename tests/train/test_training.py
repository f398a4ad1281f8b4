"""Training end to end on a tiny target: it answers, a head learns, a run that was cut short goes on unchanged."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from foredraft.bench.memory import memory  # noqa: E402
from foredraft.core.errors import UsageError  # noqa: E402
from foredraft.engine.llm import load  # noqa: E402
from foredraft.heads.files import read_head, write_head  # noqa: E402
from foredraft.train import corpus, data  # noqa: E402
from foredraft.train.block import BlockRecipe, Settings  # noqa: E402
from foredraft.train.corpus import Text  # noqa: E402
from foredraft.train.eagle import EagleRecipe  # noqa: E402
from foredraft.train.eagle import Settings as EagleSettings  # noqa: E402
from foredraft.train.lock import alone  # noqa: E402
from foredraft.train.target import TorchTarget  # noqa: E402
from foredraft.train.trainer import Settings as Loop  # noqa: E402
from foredraft.train.trainer import Trainer  # noqa: E402
from tiny import write_model  # noqa: E402

SHAPE = Settings(taps=(1, 2, 4), hidden=64, block=3, rank=8, vocabulary=200, heads=(2, 1, 16))
PROMPTS = [{"id": n, "task": "t", "turns": [f"say {n} " + "x" * (n % 7)]} for n in range(160)]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> TorchTarget:
    return TorchTarget(str(write_model(tmp_path_factory.mktemp("target"), layers=5)), "cpu", "float32")


@pytest.fixture(scope="module")
def texts(target: TorchTarget, tmp_path_factory: pytest.TempPathFactory) -> list[Text]:
    folder = tmp_path_factory.mktemp("texts")
    made = data.make(target, plan(folder), lambda _: None)
    found = corpus.read(folder / "texts.jsonl")
    assert made == len(found) == 160
    return found


def plan(folder: Path, **changes: Any) -> data.Plan:
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps(one) + "\n" for one in PROMPTS))
    return dataclasses.replace(data.Plan(prompts, folder / "texts.jsonl", most=12, batch=40), **changes)


def recipe(target: TorchTarget, texts: list[Text]) -> BlockRecipe:
    torch.manual_seed(0)
    return BlockRecipe(target, texts, SHAPE)


def test_responses_are_what_the_model_says(target: TorchTarget, texts: list[Text]) -> None:
    with load(str(target.source.path), "none", engine="hf") as llm:
        from foredraft import SamplingParams

        for text in texts[:6]:
            said = llm.generate(text.prompt, SamplingParams(temperature=0, max_tokens=12)).token_ids
            ended = text.response[-1] in target.tokenizer.stop_ids
            assert said == (text.response[:-1] if ended and len(said) < len(text.response) else text.response)


def test_penalties_of_a_models_directory_are_not_what_it_says(tmp_path: Path) -> None:
    """The engine serves without them, so texts to learn from are said without them."""
    folder = write_model(tmp_path / "model", layers=3)
    plain = list(TorchTarget(str(folder), "cpu", "float32").answer([(5, 6, 7)], 24, 0.0, 0))
    path = folder / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "repetition_penalty": 50.0, "no_repeat_ngram_size": 1}))
    assert list(TorchTarget(str(folder), "cpu", "float32").answer([(5, 6, 7)], 24, 0.0, 0)) == plain
    assert len(set(plain[0])) < len(plain[0])  # else there was nothing to be punished for


def test_a_folder_for_texts_is_made_before_they_are(target: TorchTarget, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder" / "texts.jsonl"
    data.make(target, data.Plan(None, out, invented=40, most=2), lambda _: None)
    assert out.with_name("texts.jsonl.invented").exists()


def test_a_run_that_was_cut_short_answers_the_rest(target: TorchTarget, texts: list[Text], tmp_path: Path) -> None:
    short = plan(tmp_path)
    data.make(target, dataclasses.replace(short, minutes=0.0), lambda _: None)
    assert len(corpus.read(short.out)) == 40
    data.make(target, short, lambda _: None)
    assert sorted(corpus.read(short.out), key=lambda one: one.id) == sorted(texts, key=lambda one: one.id)


def test_texts_of_another_target_are_not_gone_on_with(target: TorchTarget, tmp_path: Path) -> None:
    from foredraft.cli import run

    out = tmp_path / "texts.jsonl"
    corpus.begin(out, corpus.Speaker("another", "00"))
    corpus.append(out, [Text(str(n), "t", (n, 2, 3), (4, 5, 6)) for n in range(100)])
    with pytest.raises(UsageError, match="are what another said, not "):
        data.make(target, plan(tmp_path), lambda _: None)
    asked = ["train", "medusa", "-m", str(target.source.path), "--data", str(out), "--out", str(tmp_path / "run")]
    assert run([*asked, "--device", "cpu", "--steps", "1"]) == 2
    assert not (tmp_path / "run").exists()


def test_heads_have_the_epsilon_of_their_target(target: TorchTarget, texts: list[Text], tmp_path: Path) -> None:
    """Else what they call the target's final norm would be another."""
    folder = write_model(tmp_path / "model", layers=2)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "rms_norm_eps": 0.05}))
    made = EagleRecipe(TorchTarget(str(folder), "cpu", "float32"), texts, EagleSettings(block=2, noise=0.0))
    assert made.config.epsilon == 0.05
    reading = made.read(texts[:3])
    torch.testing.assert_close(made.head.context(reading.batch.hidden), reading.columns.last)


def test_prompts_of_a_benchmark_are_left_out(target: TorchTarget, tmp_path: Path) -> None:
    words = "one two three four five six seven eight nine ten eleven"
    (tmp_path / "mine.jsonl").write_text(
        json.dumps({"id": 1, "task": "t", "turns": [f"Say {words}!"]}) + "\n"
        + json.dumps({"id": 2, "task": "t", "turns": ["something else"]}) + "\n"
    )  # fmt: skip
    (tmp_path / "bench.jsonl").write_text(json.dumps({"id": 1, "task": "t", "turns": [words.upper()]}) + "\n")
    data.make(
        target,
        data.Plan(tmp_path / "mine.jsonl", tmp_path / "out.jsonl", (tmp_path / "bench.jsonl",), most=2),
        lambda _: None,
    )
    assert [one.id for one in corpus.read(tmp_path / "out.jsonl")] == ["2"]


def test_invented_prompts_stand_where_a_user_speaks(target: TorchTarget, tmp_path: Path) -> None:
    before, after = data.frame(target.tokenizer)
    from foredraft.models.templates import chat_ids

    whole = chat_ids(target.tokenizer, [{"role": "user", "content": "hello"}])
    assert whole == [*before, *target.tokenizer.encode("hello", add_bos=False), *after]
    made = data.make(target, data.Plan(None, tmp_path / "out.jsonl", invented=200, most=3), lambda _: None)
    assert made > 0
    whole_plan = data.Plan(None, tmp_path / "out.jsonl", invented=200, most=3)
    assert data.make(target, whole_plan, lambda _: None) == made  # nothing is invented twice
    for text in corpus.read(tmp_path / "out.jsonl"):
        assert text.task == "invented"
        assert text.prompt[: len(before)] == before
        assert text.prompt[-len(after) :] == after
    assert made == len(corpus.read(tmp_path / "out.jsonl"))


def test_what_would_be_accepted_is_counted_as_a_loop_would(target: TorchTarget, texts: list[Text]) -> None:
    made = recipe(target, texts)
    for parameter in made.head.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    made.head.offsets.data *= 5
    passes = tokens = 0
    for text in texts[:20]:
        whole = [*text.prompt, *text.response]
        at = len(text.prompt)
        while at < len(whole) - 1:
            run = 0
            reading = made.read([text])
            batch, places = reading.batch, reading.places
            rows = made.head(dataclasses.replace(batch, start=0))
            while run < SHAPE.block and at + run < len(whole) - 1:
                logits = made.head.logits(rows[run][0, at], run, batch.previous[0, at + run])
                if int(logits.argmax()) != int(places[0, at + 1 + run]):
                    break
                run += 1
            more = min(run + 1, len(whole) - 1 - at)
            tokens, passes, at = tokens + more, passes + 1, at + more
    found = [made.accepted(list(texts[first : first + 5])) for first in range(0, 20, 5)]
    assert (sum(one[0] for one in found), sum(one[1] for one in found)) == (tokens, passes)


def test_a_head_learns_and_drafts_in_the_engine(target: TorchTarget, texts: list[Text], tmp_path: Path) -> None:
    made = recipe(target, texts)
    seen = [text for text in texts if not text.held_out][:40]  # a random target says nothing that carries over
    before = made.accepted(seen)
    length = Trainer(made, texts, tmp_path, Loop(steps=160, tokens=1024, rate=5e-3, warmup=5), lambda _: None).run()
    after = made.accepted(seen)
    assert after[0] / after[1] > before[0] / before[1] + 0.25
    config, tensors = read_head(tmp_path / "head.safetensors")
    assert config.provenance["acceptance_length"] == pytest.approx(length, abs=1e-4)
    write_head(tmp_path / "small.safetensors", config, tensors, int8=True)
    from foredraft import SamplingParams

    held = [text for text in texts if text.held_out and text.temperature == 0]
    ask = SamplingParams(temperature=0, max_tokens=12)
    with load(str(target.source.path), f"block:{tmp_path / 'small.safetensors'}", engine="hf") as llm:
        drafted = [llm.generate(text.prompt, ask) for text in held]
    with load(str(target.source.path), "none", engine="hf") as llm:
        plain = [llm.generate(text.prompt, ask) for text in held]
    assert [one.token_ids for one in drafted] == [one.token_ids for one in plain]


def test_two_runs_do_not_share_a_place(target: TorchTarget, texts: list[Text], tmp_path: Path) -> None:
    made = Trainer(recipe(target, texts), texts, tmp_path / "run", Loop(steps=1, tokens=512), lambda _: None)
    with alone(tmp_path / "run", folder=True), pytest.raises(UsageError, match="another run is writing"):
        made.run()
    assert made.run() >= 1


def test_the_log_is_drawn(target: TorchTarget, texts: list[Text], tmp_path: Path) -> None:
    Trainer(recipe(target, texts), texts, tmp_path, Loop(steps=3, tokens=512, evaluate=0.0), lambda _: None).run()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 3]
    if memory().peak is not None:
        assert 0.01 < lines[0]["memory"] <= lines[-1]["memory"] < 64  # a peak, in GB
    drawn = (tmp_path / "log.html").read_text()
    for line in lines[:3]:
        assert f"step {line['step']}: {line['loss']}<" in drawn
        assert f"step {line['step']}: {line['acceptance_length']}<" in drawn


def test_a_run_cut_short_goes_on_to_the_same_losses(target: TorchTarget, texts: list[Text], tmp_path: Path) -> None:
    def losses(out: Path, stops: list[int]) -> list[float]:
        found: list[float] = []
        for stop in stops:
            run = Trainer(recipe(target, texts), texts, out, Loop(steps=12, tokens=512), lambda _: None)
            run._resume()
            out.mkdir(exist_ok=True)
            for batch in run._batches():
                if run.step >= stop:
                    break
                found.append(run._learn(batch))
                if run.step == stop:
                    run._save()
                    break
        return found

    whole = losses(tmp_path / "whole", [12])
    pieces = losses(tmp_path / "pieces", [5, 9, 12])
    np.testing.assert_allclose(pieces, whole, rtol=1e-6)


def test_another_run_does_not_go_on(target: TorchTarget, texts: list[Text], tmp_path: Path) -> None:
    """Another shape, other layers read, other texts, a damaged file: never silently another head."""

    def run(made: BlockRecipe, on: list[Text]) -> None:
        Trainer(made, on, tmp_path, Loop(steps=2, tokens=256), lambda _: None).run()

    run(recipe(target, texts), texts)
    others = [Text("new", "t", (1, 2, 3), (4, 5, 6, 7)), *texts]
    for made, on in (
        (BlockRecipe(target, texts, dataclasses.replace(SHAPE, hidden=96)), texts),
        (BlockRecipe(target, texts, dataclasses.replace(SHAPE, taps=(0, 2, 4))), texts),
        (BlockRecipe(target, others, SHAPE), others),
    ):
        with pytest.raises(UsageError, match="other settings or texts"):
            run(made, on)
    (tmp_path / "state.pt").write_bytes(b"PK not a checkpoint")
    with pytest.raises(UsageError, match="is damaged"):
        run(recipe(target, texts), texts)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_short_responses_are_learnt_and_counted(target: TorchTarget, texts: list[Text], length: int) -> None:
    """Later steps have nothing to predict there, and must not make the loss no number."""
    short = [dataclasses.replace(text, response=text.response[:length]) for text in texts[:4]]
    made = recipe(target, texts)
    loss = sum(made.losses(short))
    assert bool(torch.isfinite(loss))
    loss.backward()
    tokens, passes, _ = made.accepted(short)
    assert tokens == 4 * (length - 1)
    assert passes <= tokens


def test_responses_that_the_head_cannot_say_teach_nothing(target: TorchTarget, texts: list[Text]) -> None:
    made = BlockRecipe(target, texts, dataclasses.replace(SHAPE, vocabulary=1))
    strange = next(token for token in range(100, 250) if token not in made.says)
    (loss,) = made.losses([Text("s", "t", (1, 2, 3), (strange,) * 6)])
    loss.backward()
    assert float(loss.detach()) == 0.0


def test_a_seed_repeats_where_a_head_begins(target: TorchTarget, texts: list[Text]) -> None:
    one, same, other = (BlockRecipe(target, texts, SHAPE, seed).head.fuse.weight for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_the_fingerprint_is_of_the_norm_as_stored(target: TorchTarget) -> None:
    """Not of one rounded to the type that training computes in: the engine would refuse the head."""
    with load(str(target.source.path), "none", engine="hf") as llm:
        stored = dict(llm.loaded.model.about.details)["fingerprint"]
    assert target.about.fingerprint == stored
    assert TorchTarget(str(target.source.path), "cpu", "bfloat16").about.fingerprint == stored


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"layers": 0}, "layers"), ({"block": 1}, "block"), ({"hidden": 100}, "hidden"), ({"hard": 2.0}, "hard")],
)
def test_shapes_that_cannot_be(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        dataclasses.replace(SHAPE, **changes)


@pytest.mark.parametrize("changes", [{"steps": 0}, {"minutes": 0.0}, {"tokens": 0}])
def test_runs_that_cannot_be(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="more than 0"):
        Loop(**changes)


@pytest.mark.parametrize("taps", [(6,), (-1, 2)])
def test_layers_that_cannot_be_read(target: TorchTarget, texts: list[Text], taps: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="after 0 to 5"):
        BlockRecipe(target, texts, dataclasses.replace(SHAPE, taps=taps))
