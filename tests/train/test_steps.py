"""The recipes of heads that draft token by token: what their losses are, and that they learn to draft."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from cut_short import learn_until  # noqa: E402
from foredraft import SamplingParams  # noqa: E402
from foredraft.core.errors import UsageError  # noqa: E402
from foredraft.engine.llm import load  # noqa: E402
from foredraft.engine.stats import stats  # noqa: E402
from foredraft.heads.files import read_head, write_head  # noqa: E402
from foredraft.train import eagle, eagle3, mtp_sequential  # noqa: E402
from foredraft.train.corpus import Text  # noqa: E402
from foredraft.train.recipe import HeadRecipe  # noqa: E402
from foredraft.train.target import TorchTarget  # noqa: E402
from foredraft.train.trainer import Settings as Loop  # noqa: E402
from foredraft.train.trainer import Trainer  # noqa: E402
from tiny import write_model  # noqa: E402

SMALL: dict[str, Any] = {"hidden": 64, "block": 3, "vocabulary": 200, "heads": (2, 1, 16)}
RECIPES: dict[str, tuple[Any, Any]] = {
    "eagle": (eagle.EagleRecipe, eagle.Settings(**SMALL)),
    "eagle3": (eagle3.Eagle3Recipe, eagle3.Settings(**SMALL)),
    "mtp": (mtp_sequential.SequentialRecipe, mtp_sequential.Settings(**SMALL)),
    "modules": (mtp_sequential.SequentialRecipe, mtp_sequential.Settings(**SMALL, modules=3)),
}
every = pytest.mark.parametrize("method", RECIPES)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> TorchTarget:
    return TorchTarget(str(write_model(tmp_path_factory.mktemp("target"), layers=5)), "cpu", "float32")


@pytest.fixture(scope="module")
def texts(target: TorchTarget) -> list[Text]:
    chance = np.random.default_rng(0)
    prompts = [tuple(chance.integers(3, 259, 4 + n % 5).tolist()) for n in range(100)]
    said = target.answer(prompts, 12, 0.0, 0)
    return [Text(str(n), "t", prompt, own) for n, (prompt, own) in enumerate(zip(prompts, said, strict=True))]


def made(target: TorchTarget, texts: list[Text], method: str, **changes: Any) -> HeadRecipe:
    recipe, settings = RECIPES[method]
    found: HeadRecipe = recipe(target, texts, dataclasses.replace(settings, **changes))
    return found


def learnt(recipe: HeadRecipe, texts: list[Text], out: Path) -> list[Text]:
    """Trains on some of the texts, for a random target says nothing that carries over; those."""
    seen = [text for text in texts if not text.held_out][:16]
    held = [text for text in texts if text.held_out][:1]
    Trainer(recipe, [*seen, *held], out, Loop(steps=150, tokens=512, rate=5e-3, warmup=5), lambda _: None).run()
    return seen


@every
def test_a_head_learns_what_it_will_draft(target: TorchTarget, texts: list[Text], tmp_path: Path, method: str) -> None:
    recipe = made(target, texts, method)
    before = recipe.accepted(texts)
    seen = learnt(recipe, texts, tmp_path)
    after = recipe.accepted(seen)
    assert after[0] / after[1] > before[0] / before[1] + 0.25
    config, tensors = read_head(tmp_path / "head.safetensors")
    assert config.method == recipe.method
    if recipe.method != "eagle3":
        assert np.array_equal(tensors["feature_norm.weight"], target.final_norm.numpy())


def test_a_trained_head_drafts_in_the_engine(target: TorchTarget, texts: list[Text], tmp_path: Path) -> None:
    recipe = made(target, texts, "modules")
    seen = learnt(recipe, texts, tmp_path)[:6]
    write_head(tmp_path / "small.safetensors", *read_head(tmp_path / "head.safetensors"), int8=True)
    ask = SamplingParams(temperature=0, max_tokens=12)
    drafter = f"mtp_sequential:{tmp_path / 'small.safetensors'},k=4"
    with load(str(target.source.path), drafter, engine="hf", threads=1) as llm:
        drafted = [llm.generate(text.prompt, ask) for text in seen]
    for one, text in zip(drafted, seen, strict=True):
        assert one.token_ids == text.response[: len(one.token_ids)]
    totals = stats([step for each in drafted for step in each.outputs[0].steps])
    assert totals.faults == ()
    assert totals.accepted > totals.passes / 4


@every
@pytest.mark.parametrize("length", [1, 2, 3])
def test_short_responses_are_learnt_and_counted(
    target: TorchTarget, texts: list[Text], method: str, length: int
) -> None:
    """Later steps have nothing to predict there, and must not make the loss no number."""
    short = [dataclasses.replace(text, response=text.response[:length]) for text in texts[:4]]
    recipe = made(target, texts, method)
    for loss in recipe.losses(short):
        assert bool(torch.isfinite(loss))
        loss.backward()
    tokens, passes, _ = recipe.accepted(short)
    assert tokens == 4 * (length - 1)
    assert passes <= tokens


def test_eagle_regresses_features_and_what_the_head_says_of_them(target: TorchTarget, texts: list[Text]) -> None:
    recipe = made(target, texts, "eagle", noise=0.0, vocabulary=40)
    text = texts[3]
    (loss,) = recipe.losses([text])
    reading = recipe.read([text])
    ends, last = next(recipe.head(reading.batch))[0], reading.columns.last[0]
    first, regressed, entropies = len(text.prompt) - 1, [], []
    for column in range(first, first + len(text.response)):
        off = (ends[column - first] - last[column]).abs()
        regressed.append(torch.where(off < 1, 0.5 * off**2, off - 0.5).mean())
        if text.response[column - first] in recipe.says:
            rows = target.head[recipe.says]
            law = (rows @ last[column]).softmax(-1)
            entropies.append(-(law * (rows @ ends[column - first]).log_softmax(-1)).sum())
    assert 0 < len(entropies) < len(regressed)
    wanted = torch.stack(regressed).mean() + 0.1 * torch.stack(entropies).mean()
    assert float(loss.detach()) == pytest.approx(float(wanted.detach()), rel=1e-4)


def test_noise_is_of_training_alone(target: TorchTarget, texts: list[Text]) -> None:
    recipe = made(target, texts, "eagle", noise=0.1)
    hidden = recipe.read(texts[:2]).batch.hidden
    quiet = recipe.head.eval().context(hidden)
    assert torch.equal(quiet, recipe.head.context(hidden))
    off = (recipe.head.train().context(hidden) - quiet).abs()
    assert 0 < float(off.max()) <= 0.1 * 512 / hidden.shape[1]


def test_eagle3_counts_what_the_target_finds_likeliest(target: TorchTarget, texts: list[Text]) -> None:
    """Not what was drawn: in texts by chance the next token may be another."""
    recipe = made(target, texts, "eagle3", vocabulary=120)
    chance = Text("w", "t", texts[0].prompt, tuple(range(100, 112)), 0.7)
    reading = recipe.read([chance])
    counted = recipe.counted(reading).places[0].tolist()
    likeliest = (reading.columns.last[0] @ target.head.T).argmax(-1).tolist()
    says = recipe.says
    assert counted[1:] == [says.index(token) if token in says else -1 for token in likeliest[:-1]]
    greedy = recipe.read([texts[1]])
    begin = len(texts[1].prompt)
    assert recipe.counted(greedy).places[0, begin:].tolist() == greedy.places[0, begin:].tolist()


def test_what_a_token_weighs() -> None:
    settings = mtp_sequential.Settings
    assert settings().weighed.decay == 0.6
    assert settings(modules=4).weighed.decay == 1.0
    assert settings(modules=4, decay=0.9).weighed.decay == 0.9
    with pytest.raises(UsageError, match="modules of a head are 1, for all tokens, or 4, one for each, not 2"):
        settings(modules=2)


def test_a_run_cut_short_goes_on_with_the_same_noise(target: TorchTarget, texts: list[Text], tmp_path: Path) -> None:
    def losses(out: Path, stops: list[int]) -> list[float]:
        found: list[float] = []
        for stop in stops:
            run = Trainer(
                made(target, texts, "eagle", noise=0.5), texts, out, Loop(steps=9, tokens=256), lambda _: None
            )
            torch.manual_seed(len(found))  # whatever a process did before
            found += learn_until(stop, run, out, Trainer._save)
        return found

    whole, pieces = losses(tmp_path / "whole", [6]), losses(tmp_path / "pieces", [3, 6])
    np.testing.assert_allclose(pieces, whole, rtol=1e-6)
