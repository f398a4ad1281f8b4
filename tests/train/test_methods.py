"""Recipes of Medusa, Hydra and multi-token heads: each learns on a tiny target, and drafts in the engine as trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from cut_short import learn_until  # noqa: E402
from foredraft import SamplingParams  # noqa: E402
from foredraft.cli.train_run import HeadRun  # noqa: E402
from foredraft.core.errors import UsageError  # noqa: E402
from foredraft.core.heads import Feed  # noqa: E402
from foredraft.draft import family  # noqa: E402
from foredraft.draft.family import Provided  # noqa: E402
from foredraft.engine.heads import plain_head  # noqa: E402
from foredraft.engine.llm import load  # noqa: E402
from foredraft.heads.files import read_head  # noqa: E402
from foredraft.train import joint, medusa, mtp  # noqa: E402
from foredraft.train.corpus import Text  # noqa: E402
from foredraft.train.recipe import chains  # noqa: E402
from foredraft.train.target import TorchTarget  # noqa: E402
from foredraft.train.trainer import Settings as Loop  # noqa: E402
from foredraft.train.trainer import Trainer  # noqa: E402
from random_heads import taps_of  # noqa: E402
from recipes import BEGUN, LAYER, RECIPES, SIZES, loss_of  # noqa: E402
from tiny import write_model  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", RECIPES)
def test_a_head_learns_and_drafts_in_the_engine(
    target: TorchTarget, texts: list[Text], tmp_path: Path, name: str
) -> None:
    made = RECIPES[name](target, texts)
    seen = [text for text in texts if not text.held_out][:30]  # a random target says nothing that carries over
    before, loss = made.accepted(seen), loss_of(made, seen)
    loop = Loop(steps=60, tokens=1024, rate=5e-3, warmup=5, evaluate=1e9)
    length = Trainer(made, texts, tmp_path, loop, lambda _: None).run()
    after = made.accepted(seen)
    assert loss_of(made, seen) < loss - 0.3
    assert after[0] / after[1] > before[0] / before[1] + 0.1
    config, tensors = read_head(tmp_path / "head.safetensors")
    assert config.provenance["acceptance_length"] == pytest.approx(length, abs=1e-4)
    if "accuracies" in tensors:
        assert 0 < tensors["accuracies"].sum() <= config.block
    ask, held = SamplingParams(temperature=0, max_tokens=12), [text for text in texts if text.held_out]
    trees = ["", ",tree=static"] if "accuracies" in tensors else [""]
    with load(str(target.source.path), "none", engine="hf") as llm:
        plain = [llm.generate(text.prompt, ask).token_ids for text in held]
    for tree in trees:
        drafter = f"{made.method}:{tmp_path / 'head.safetensors'}{tree}"
        with load(str(target.source.path), drafter, engine="hf") as llm:
            outputs = [llm.generate(text.prompt, ask) for text in held]
        assert [one.token_ids for one in outputs] == plain
        assert sum(one.stats.drafted for one in outputs) > 0
        assert all(one.stats.faults == () for one in outputs)


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_trained_is_what_drafts(target: TorchTarget, texts: list[Text], tmp_path: Path, name: str) -> None:
    """The laws of a recipe's columns are those of the head in its file on the same text, read by the engine's model."""
    made = RECIPES[name](target, texts)
    torch.manual_seed(1)
    for parameter in made.head.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    trainer = Trainer(made, texts, tmp_path, Loop(steps=1, tokens=64, evaluate=1e9), lambda _: None)
    made.settle(trainer.judged)
    made.write(tmp_path, {})
    config, tensors = read_head(tmp_path / "head.safetensors")
    text = texts[0]
    whole, root = (*text.prompt, *text.response), len(text.prompt) + 1
    reading = made.read([text])
    with torch.no_grad():
        steps = [made.head.logits(rows[0], step).numpy() for step, rows in enumerate(made.head(reading.batch))]
    with load(str(target.source.path), "none", engine="hf") as llm:
        model = llm.loaded.model
        taps, head = taps_of(model, whole, config.taps), plain_head(model, config, tensors)
        drafter: Any = family(config.method).build(family(config.method).options(), Provided(head=head))
        said = drafter.laws(Feed(head.open(), whole[1 : root + 1], taps[:root], 3), whole[root + 1 :])
    expected = np.stack([rows[root - reading.batch.start] for rows in steps])
    np.testing.assert_allclose(said, expected, atol=1e-4 * max(1.0, np.abs(expected).max()), rtol=0)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", BEGUN)
def test_every_method_learns_in_both_precisions(
    target: TorchTarget, texts: list[Text], tmp_path: Path, name: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, seen, plain = BEGUN[name](target, texts), set[bool](), BEGUN[name](target, texts).losses

    def losses(*given: Any) -> Iterator[Any]:
        seen.add(torch.is_autocast_enabled("cpu"))
        yield from type(made).losses(made, *given)

    monkeypatch.setattr(made, "losses", losses)
    loop = Loop(steps=2, tokens=512, precision=precision)
    trainer = Trainer(made, texts, tmp_path, loop, lambda _: None)
    batch = next(trainer._batches())
    with torch.no_grad():
        exact = sum(float(part) for part in plain(batch))
    assert trainer._learn(batch) == pytest.approx(exact, rel=1e-5 if precision == "float32" else 0.02)
    assert seen == {precision == "bfloat16"}
    with pytest.raises(UsageError, match="unknown precision"):
        Loop(precision="half")


def test_heads_that_are_apart_are_learnt_from_one_after_another(target: TorchTarget, texts: list[Text]) -> None:
    """The parts of a loss are those of its heads, and each leaves the others' weights alone."""
    made = RECIPES["mtp"](target, texts)
    parts = made.losses(texts[:4])
    for number in range(3):
        next(parts).backward()
        moved = [layer.gate.weight.grad is not None for layer in made.head.layers]
        assert moved == [at <= number for at in range(3)]
    assert next(parts, None) is None


def test_a_layer_begins_as_the_targets_last(target: TorchTarget, texts: list[Text]) -> None:
    same = mtp.MTPRecipe(target, texts, mtp.Settings(**SIZES, **LAYER))
    last = target.model.model.layers[-1]
    assert torch.equal(same.head.layers[1].attention.key.weight, last.self_attn.k_proj.weight)
    other = mtp.MTPRecipe(target, texts, mtp.Settings(**SIZES, hidden=32))
    assert not other.head.layers[1].down.weight.any()


def test_accuracies_are_shares_of_all_places(target: TorchTarget, texts: list[Text]) -> None:
    """Counted one place at a time; what the head cannot say counts as wrong."""
    made = RECIPES["medusa"](target, texts)
    some = texts[:5]
    made.settle([some[:3], some[3:]])
    hits, places = np.zeros((3, 10)), np.zeros(3)
    for text in some:
        reading = made.read([text])
        for step, rows in enumerate(made.head(reading.batch)):
            wanted = reading.places[0, reading.batch.start + 1 + step :].tolist()
            for row, place in zip(rows[0], wanted, strict=False):
                best = made.head.logits(row[None], step)[0].topk(10).indices.tolist()
                places[step] += 1
                if place in best:
                    hits[step, best.index(place)] += 1
    np.testing.assert_allclose(made.head.accuracies.numpy(), hits / places[:, None], atol=1e-6)


def test_chains_go_on_while_steps_agree() -> None:
    agree = np.zeros((2, 1, 8), dtype=bool)
    agree[0, 0, [2, 4]] = agree[1, 0, 2] = True
    real = np.ones((1, 8), dtype=bool)
    tokens, passes, by_position = chains(agree, real, 1)
    assert (tokens, passes, by_position.tolist()) == (5, 3, [1, 1])


def test_every_token_may_be_said(target: TorchTarget, texts: list[Text]) -> None:
    made = medusa.MedusaRecipe(target, texts, medusa.Settings(**(SIZES | {"vocabulary": 0})))
    assert made.says == list(range(target.about.vocab_size))


def test_one_layer_of_the_target_is_read(target: TorchTarget, texts: list[Text]) -> None:
    with pytest.raises(UsageError, match="reads more than one layer of its target: leave --taps"):
        medusa.MedusaRecipe(target, texts, medusa.Settings(taps=(1, 2)))


@pytest.mark.parametrize("changes", [{"layers": 0}, {"block": 0}, {"hard": -0.1}, {"vocabulary": -1}], ids=str)
def test_settings_that_cannot_be(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(changes))):
        dataclasses.replace(medusa.Settings(), **changes)


# --- Medusa-2 ---------------------------------------------------------------------------------------------------------


def fresh(folder: Path) -> TorchTarget:
    return TorchTarget(str(write_model(folder, layers=2)), "cpu", "float32")


def own_loss(made: joint.JointRecipe, texts: list[Text]) -> float:
    """Of the target's next token."""
    with torch.no_grad():
        return float(made._own(made.read(texts)))


def test_a_target_that_is_trained_too_is_written_as_another(texts: list[Text], tmp_path: Path) -> None:
    old, out = tmp_path / "old", tmp_path / "run"
    made = joint.JointRecipe(fresh(old), texts, medusa.Settings(**SIZES), out=out / "target")
    before = own_loss(made, texts[:20])
    loop = Loop(steps=joint.WARMUP + 30, tokens=1024, rate=2e-3, warmup=5, evaluate=1e9)
    Trainer(made, texts, out, loop, lambda _: None).run()
    assert own_loss(made, texts[:20]) < before - 0.1
    ask, prompt = SamplingParams(temperature=0, max_tokens=24), texts[0].prompt
    with load(str(out / "target"), "none", engine="hf") as llm:
        plain = llm.generate(prompt, ask).token_ids
    with load(str(out / "target"), f"medusa:{out / 'head.safetensors'}", engine="hf") as llm:
        drafted = llm.generate(prompt, ask)
    assert drafted.token_ids == plain
    assert drafted.stats.drafted > 0  # on a random target few are right
    with pytest.raises(UsageError, match="was trained for another target"):
        load(str(old), f"medusa:{out / 'head.safetensors'}", engine="hf")


def test_the_target_is_left_alone_while_heads_begin(texts: list[Text], tmp_path: Path) -> None:
    made = joint.JointRecipe(fresh(tmp_path / "old"), texts, medusa.Settings(**SIZES), out=tmp_path / "run" / "target")
    before = {name: value.clone() for name, value in made.target.model.state_dict().items()}
    run = Trainer(made, texts, tmp_path / "run", Loop(steps=joint.WARMUP + 2, tokens=512), lambda _: None)
    for batch in run._batches():
        run._learn(batch)
        if run.step == joint.WARMUP:
            break
    assert all(torch.equal(value, before[name]) for name, value in made.target.model.state_dict().items())
    run._learn(batch)
    assert any(not torch.equal(value, before[name]) for name, value in made.target.model.state_dict().items())


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("length", [1, 2, 3])
def test_short_responses_are_learnt(target: TorchTarget, texts: list[Text], name: str, length: int) -> None:
    made = RECIPES[name](target, texts)
    short = [dataclasses.replace(text, response=text.response[:length]) for text in texts[:3]]
    assert np.isfinite(loss_of(made, short))
    tokens, passes, _ = made.accepted(short)
    assert tokens == 3 * (length - 1) >= passes


def test_a_joint_run_cut_short_goes_on_to_the_same_losses(
    texts: list[Text], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joint, "WARMUP", 2)
    old = tmp_path / "old"
    fresh(old)

    def losses(out: Path, stops: list[int]) -> list[float]:
        found: list[float] = []
        for stop in stops:
            target = TorchTarget(str(old), "cpu", "float32")
            made = joint.JointRecipe(target, texts, medusa.Settings(**SIZES), out=out / "target")
            run = Trainer(made, texts, out, Loop(steps=6, tokens=512), lambda _: None)
            found += learn_until(stop, run, out, lambda kept: kept._evaluate([]))
        return found

    whole, pieces = losses(tmp_path / "whole", [6]), losses(tmp_path / "pieces", [3, 6])
    np.testing.assert_allclose(pieces, whole, rtol=1e-5)


def test_targets_that_cannot_be_trained_too(texts: list[Text], tmp_path: Path) -> None:
    half = TorchTarget(str(write_model(tmp_path / "old", layers=2)), "cpu", "bfloat16")
    with pytest.raises(UsageError, match="write --dtype float32"):
        joint.JointRecipe(half, texts, medusa.Settings(**SIZES), out=tmp_path / "target")


def test_a_head_says_eight_thousand_tokens_or_as_many_as_asked() -> None:
    assert HeadRun(Path("texts.jsonl"), Path("out")).common["vocabulary"] == 8192
    assert HeadRun(Path("texts.jsonl"), Path("out"), vocabulary=0).common["vocabulary"] == 0
