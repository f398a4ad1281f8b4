"""Hidden states that are kept: those that drafters read, whatever happens while they are written, and as good to learn
from as a target that is asked."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from foredraft import SamplingParams  # noqa: E402
from foredraft.core.errors import UsageError  # noqa: E402
from foredraft.core.protocols import Ask, Needs, News, Request, Vectors  # noqa: E402
from foredraft.core.tree import EMPTY, DraftTree  # noqa: E402
from foredraft.engine.llm import load  # noqa: E402
from foredraft.models.native import NativeModel  # noqa: E402
from foredraft.train import block, corpus, distill, eagle, eagle3, hydra, joint, medusa, mtp, taps  # noqa: E402
from foredraft.train.corpus import Text  # noqa: E402
from foredraft.train.processes import share  # noqa: E402
from foredraft.train.taps import Keeping, Taps, digest, folder_of, halves  # noqa: E402
from foredraft.train.target import TorchTarget  # noqa: E402
from recipes import drawn_texts  # noqa: E402
from tiny import write_model  # noqa: E402

SMALL: dict[str, Any] = {"hidden": 64, "block": 3, "vocabulary": 200, "heads": (2, 1, 16)}
RECIPES: dict[str, tuple[Any, Any]] = {
    "block": (block.BlockRecipe, block.Settings(rank=8, **SMALL)),
    "eagle": (eagle.EagleRecipe, eagle.Settings(noise=0.0, **SMALL)),
    "eagle3": (eagle3.Eagle3Recipe, eagle3.Settings(**SMALL)),
    "hydra++": (hydra.HydraRecipe, hydra.Settings(**SMALL, **hydra.PLUS)),
    "mtp": (mtp.MTPRecipe, mtp.Settings(**SMALL)),
    "distill": (distill.distilled, distill.Settings("2x32")),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("target"), layers=5, width=64)


@pytest.fixture(scope="module")
def floats(folder: Path) -> Iterator[NativeModel]:
    """The engine's path of floats."""
    model = NativeModel.load(folder, activations="f32", kv="f32")
    yield model
    model.close()


@pytest.fixture(scope="module")
def texts() -> list[Text]:
    return drawn_texts()


class Noting:
    """Drafts nothing, and keeps what it is told of the target's states."""

    def __init__(self, layers: tuple[int, ...]) -> None:
        self.needs = Needs(taps=layers)
        self.seen: dict[int, Vectors] = {}

    def open(self, request: Request, parent: int | None = None) -> int:
        return 0

    def propose(self, asks: Sequence[Ask[int]]) -> list[DraftTree]:
        return [EMPTY] * len(asks)

    def update(self, news: Sequence[News[int]]) -> None:
        for told in news:
            states = np.stack([told.taps(layer) for layer in self.needs.taps], axis=1)
            self.seen |= dict(enumerate(states, told.start))

    def close(self, state: int) -> None:
        """Nothing is held."""


def test_what_is_kept_is_what_a_drafter_reads(folder: Path) -> None:
    """Bit for bit, from the int8 pass, though one came token by token and the other in one pass."""
    noting = Noting((0, 2, 5))
    prompt = tuple(range(5, 60))
    with load(str(folder), noting, engine="native", quantize="int8") as llm:
        said = llm.generate(prompt, SamplingParams(temperature=0, max_tokens=24)).token_ids
        assert dict(llm.loaded.model.about.details)["activations"] == "int8"
        kept = halves(llm.loaded.model, (*prompt, *said), noting.needs.taps)
    assert len(noting.seen) > len(prompt) + 10  # one that drafts nothing is not told to the end
    for position, states in noting.seen.items():
        assert np.array_equal(states.astype(np.float16).view(np.uint16), kept[position].view(np.uint16)), position


@pytest.mark.parametrize("method", RECIPES)
def test_kept_states_teach_what_the_target_does(
    folder: Path, floats: NativeModel, texts: list[Text], tmp_path: Path, method: str
) -> None:
    """Where the engine computes floats: the losses, and how far drafts would be accepted."""
    Keeping(floats, tmp_path / "taps").keep(texts, lambda _: None)
    recipe, settings = RECIPES[method]
    asked, read = (
        recipe(TorchTarget(str(folder), "cpu", "float32", kept), texts, settings)
        for kept in (None, Taps(tmp_path / "taps"))
    )
    for batch in (texts[:9], texts[9:30]):
        losses = [[float(part.detach()) for part in one.losses(batch)] for one in (asked, read)]
        np.testing.assert_allclose(losses[1], losses[0], atol=1e-3, rtol=0)
    lengths = [np.divide(*one.accepted(texts)[:2]) for one in (asked, read)]
    assert lengths[1] == pytest.approx(lengths[0], abs=0.02)
    nobodys = share(texts[:1], 1, 2)  # the share of a process for which no text was left
    assert float(next(read.losses(nobodys)).detach()) == 0.0


def test_kept_states_are_read_and_the_layers_are_not_run(
    folder: Path, floats: NativeModel, texts: list[Text], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Keeping(floats, tmp_path / "taps").keep(texts, lambda _: None)
    target = TorchTarget(str(folder), "cpu", "float32", Taps(tmp_path / "taps"))
    monkeypatch.setattr(target, "_pass", None)
    made = medusa.MedusaRecipe(target, texts, medusa.Settings(block=2, vocabulary=100))
    (loss,) = list(made.losses(texts[:4]))[:1]
    assert torch.isfinite(loss)
    student = distill.distilled(target, texts, distill.Settings("2x32"))
    assert torch.isfinite(next(student.losses(texts[:4])))
    assert student.overlap(texts[:4])[1] == sum(len(text.response) for text in texts[:4])
    own = distill.distilled(target, texts, distill.Settings("2x32", on_policy=1.0))
    with pytest.raises(TypeError):  # what the student said itself the target has to read
        next(own.losses(texts[:4]))


def test_a_run_that_was_killed_goes_on(
    floats: NativeModel, texts: list[Text], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had written of a text without its line is written anew, a half line is dropped; shards are many."""
    monkeypatch.setattr(taps, "SHARD", 6000)
    whole, pieces = Keeping(floats, tmp_path / "whole"), Keeping(floats, tmp_path / "pieces")
    assert whole.keep(texts, lambda _: None) == len(texts)
    pieces.keep(texts[:13], lambda _: None)
    last = max(int(path.stem) for path in (tmp_path / "pieces").glob("*.f16"))
    with (tmp_path / "pieces" / f"{last}.f16").open("ab") as file:
        file.write(b"half a row")
    with (tmp_path / "pieces" / "rows.jsonl").open("a") as file:
        file.write('{"text": "ab')
    assert pieces.keep(texts, lambda _: None) == len(texts)
    one, other = Taps(tmp_path / "whole"), Taps(tmp_path / "pieces")
    assert max(place.shard for place in one.places.values()) > 2
    for text in texts:
        assert np.array_equal(one.of(text, (5, 2)), other.of(text, (5, 2)))
        assert one.of(text, (5,)).shape == (len(text.prompt) + len(text.response), 1, 64)
    assert pieces.keep(texts, lambda _: None) == len(texts)  # nothing is written twice
    for path in (tmp_path / "whole").glob("*.f16"):
        assert path.read_bytes() == (tmp_path / "pieces" / path.name).read_bytes()


def test_the_disk_is_stated_first_and_capped(floats: NativeModel, texts: list[Text], tmp_path: Path) -> None:
    keeping, said = Keeping(floats, tmp_path / "taps", layers=(1,)), list[str]()
    tokens = sum(len(text.prompt) + len(text.response) for text in texts)
    keeping.expect(tokens, said.append)
    need = tokens * 2 * 2 * 64  # two layers of 64 halves
    assert f"of {tokens} tokens after 1, 5 layers take {need / 1e6:.2f} MB" in said[0]
    keeping.keep(texts, lambda _: None)
    assert sum(path.stat().st_size for path in (tmp_path / "taps").glob("*.f16")) == need
    with pytest.raises(UsageError, match="are allowed: name fewer layers"):
        dataclasses.replace(keeping, most=need - 1, folder=tmp_path / "none").keep(texts, lambda _: None)
    assert not (tmp_path / "none").exists()
    with pytest.raises(UsageError, match="are free: name fewer layers"):
        dataclasses.replace(keeping, most=1e30).expect(1 << 60, lambda _: None)


def test_other_states_than_were_asked_for(folder: Path, floats: NativeModel, texts: list[Text], tmp_path: Path) -> None:
    Keeping(floats, tmp_path / "taps", layers=(1,)).keep(texts[:3], lambda _: None)
    with pytest.raises(UsageError, match="after 1, 5 layers: ask for the same"):
        Keeping(floats, tmp_path / "taps", layers=(2,)).keep(texts, lambda _: None)
    with pytest.raises(UsageError, match="states after 0 to 5 layers, not after 6"):
        Keeping(floats, tmp_path / "more", layers=(6,)).keep(texts, lambda _: None)
    kept = Taps(tmp_path / "taps")
    with pytest.raises(UsageError, match="layer 3 is not among those in .*, 1, 5: keep it too"):
        kept.of(texts[0], (3,))
    with pytest.raises(UsageError, match="nothing of text '3': run"):
        kept.check(texts)
    other = write_model(tmp_path / "other", layers=5, width=64)
    norm = torch.nn.Parameter(torch.full((64,), 1.5))
    rewritten(other, norm)
    with pytest.raises(UsageError, match="states of another target"):
        TorchTarget(str(other), "cpu", "float32", kept)
    with pytest.raises(UsageError, match="no states that could be kept"):
        joint.JointRecipe(
            TorchTarget(str(folder), "cpu", "float32", kept), texts, joint.Settings(), out=tmp_path / "out"
        )
    with pytest.raises(UsageError, match="cannot be read"):
        Taps(tmp_path)


def test_states_of_another_path_are_not_gone_on_with(
    folder: Path, floats: NativeModel, texts: list[Text], tmp_path: Path
) -> None:
    """The engine's int8 pass leaves others than its path of floats; of how many threads is all the same."""
    Keeping(floats, tmp_path / "taps").keep(texts[:3], lambda _: None)
    model = NativeModel.load(folder, activations="int8", kv="f32", quantize="int8")
    with pytest.raises(UsageError, match="has states of activations f32, not int8: ask for the same, or give"):
        Keeping(model, tmp_path / "taps").keep(texts, lambda _: None)
    model.close()
    path = tmp_path / "taps" / "about.json"
    raw = json.loads(path.read_text())
    path.write_text(json.dumps({**raw, "engine": {"threads": "99"}}))
    assert Keeping(floats, tmp_path / "taps").keep(texts[:5], lambda _: None) == 5


def rewritten(folder: Path, norm: Any) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    model.model.norm.weight = norm
    model.save_pretrained(folder)


def test_a_shard_that_lost_its_end_is_told_of(floats: NativeModel, texts: list[Text], tmp_path: Path) -> None:
    keeping = Keeping(floats, tmp_path / "taps")
    keeping.keep(texts, lambda _: None)
    shard = tmp_path / "taps" / "0.f16"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(UsageError, match="is damaged"):
        Taps(tmp_path / "taps").of(texts[-1], (5,))
    with pytest.raises(Exception, match="is shorter than it was"):
        keeping.keep([*texts, Text("new", "t", (3, 4), (5,))], lambda _: None)


def test_states_that_float16_cannot_hold(folder: Path, texts: list[Text], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    big = shutil.copytree(folder, tmp_path / "big")
    model = AutoModelForCausalLM.from_pretrained(big)
    model.model.embed_tokens.weight.data *= 1e6
    model.save_pretrained(big)
    loaded = NativeModel.load(big, activations="f32")
    with pytest.raises(UsageError, match="float16 cannot hold what big has after 0 layers"):
        halves(loaded, texts[0].prompt, (0,))
    loaded.close()


def test_the_commands_keep_states_and_train_on_them(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from foredraft.cli import run

    prompts = [{"id": n, "task": "t", "turns": [f"say {n}"]} for n in range(60)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(one) + "\n" for one in prompts))
    out = tmp_path / "texts.jsonl"
    asked = ["train", "data", "-m", str(folder), "--device", "cpu", "--max-tokens", "6", "--out", str(out)]
    asked += ["--prompts", str(tmp_path / "prompts.jsonl")]
    assert run([*asked, "--taps", "--disk", "0.00001"]) == 2
    assert corpus.read(out) == []  # refused before the first answer
    assert run([*asked, "--taps"]) == 0
    assert "hidden states of 60 texts" in capsys.readouterr().out
    texts = corpus.read(out)
    assert set(Taps(folder_of(out)).places) == set(map(digest, texts))
    train = ["train", "eagle3", "-m", str(folder), "--data", str(out), "--out", str(tmp_path / "run"), "--kept"]
    train += ["--device", "cpu", "--dtype", "float32", "--steps", "2", "--block", "2", "--vocabulary", "100"]
    assert run(train) == 0
    assert (tmp_path / "run" / "head.safetensors").exists()
    assert run([*asked, "--layers", "1"]) == 2
