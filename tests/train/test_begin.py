"""Heads that go on from one that is there: with its tokens or others, judged first, as a run of their own."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from cut_short import learn_until  # noqa: E402
from foredraft.core.errors import UsageError, WeightsError  # noqa: E402
from foredraft.heads.files import read_head, write_head  # noqa: E402
from foredraft.train import corpus, medusa  # noqa: E402
from foredraft.train.corpus import Text  # noqa: E402
from foredraft.train.target import TorchTarget  # noqa: E402
from foredraft.train.trainer import Settings as Loop  # noqa: E402
from foredraft.train.trainer import Trainer  # noqa: E402
from recipes import BEGUN, RECIPES, SIZES, head_of, loss_of  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", BEGUN)
def test_a_head_goes_on_from_one_that_is_there(
    target: TorchTarget, texts: list[Text], tmp_path: Path, name: str
) -> None:
    """Packed or not, with its own tokens though other texts would choose others."""
    made, seen = BEGUN[name](target, texts), [text for text in texts if not text.held_out]
    Trainer(made, texts, tmp_path / "one", Loop(steps=12, tokens=512, rate=5e-3, warmup=2), lambda _: None).run()
    fresh, begun = BEGUN[name](target, texts), BEGUN[name](target, texts[:30])
    assert begun.says != made.says
    write_head(tmp_path / "packed.safetensors", made.describe({"step": 12}), head_of(made), int8=True)
    for path, near in ((tmp_path / "one" / "head.safetensors", 1e-6), (tmp_path / "packed.safetensors", 0.02)):
        begun.begin_with(path)
        assert begun.says == made.says
        assert loss_of(begun, seen[:8]) == pytest.approx(loss_of(made, seen[:8]), rel=near)
    assert loss_of(begun, seen[:8]) < loss_of(fresh, seen[:8])
    begun.write(tmp_path, {"step": 1})
    sha256 = hashlib.sha256((tmp_path / "packed.safetensors").read_bytes()).hexdigest()
    expected = {"step": 1, "begun_with": {"step": 12}, "begun_with_sha256": sha256}
    assert read_head(tmp_path / "head.safetensors")[0].provenance == expected


@pytest.mark.parametrize("name", BEGUN)
def test_a_head_may_go_on_with_other_tokens(target: TorchTarget, texts: list[Text], tmp_path: Path, name: str) -> None:
    """What is of a token goes with it, and is new for a token that the head before did not have."""
    made, begun = BEGUN[name](target, texts[:30]), BEGUN[name](target, texts[30:])
    with torch.no_grad():  # or both would begin alike
        for parameter in made.head.parameters():
            parameter += torch.randn_like(parameter)
    made.write(tmp_path, {"step": 1})
    theirs, fresh, says = head_of(made), head_of(begun), begun.says
    begun.begin_with(tmp_path / "head.safetensors", own_tokens=True)
    found = head_of(begun)
    assert begun.says == says
    assert set(says) - set(made.says)
    assert set(says) & set(made.says)
    assert found.keys() == theirs.keys()
    for tensor, values in found.items():
        if tensor == "vocabulary":
            continue
        if len(values) != len(says):  # is of no token
            assert np.array_equal(values, theirs[tensor]), tensor
            continue
        for at, (token, both) in enumerate(zip(says, np.isin(says, made.says))):
            expected = theirs[tensor][made.says.index(token)] if both else fresh[tensor][at]
            assert np.array_equal(values[at], expected), (tensor, token)
    assert begun.drafts


def test_heads_that_cannot_be_begun_with(target: TorchTarget, texts: list[Text], tmp_path: Path) -> None:
    RECIPES["medusa"](target, texts).write(tmp_path, {"step": 1})
    path = tmp_path / "head.safetensors"
    deeper = medusa.MedusaRecipe(target, texts, medusa.Settings(layers=2, **SIZES))
    with pytest.raises(UsageError, match="has layers 1, not 2"):
        deeper.begin_with(path)
    with pytest.raises(UsageError, match="has method medusa, not mtp"):
        RECIPES["mtp"](target, texts).begin_with(path)
    with pytest.raises(WeightsError, match="cannot be read"):
        deeper.begin_with(tmp_path / "nothing")
    config, tensors = read_head(path)
    write_head(path, dataclasses.replace(config, target=dataclasses.replace(config.target, fingerprint="0")), tensors)
    with pytest.raises(UsageError, match="give that model by -m"):
        RECIPES["medusa"](target, texts).begin_with(path)


def test_a_begun_run_is_judged_first_and_is_another_run(target: TorchTarget, texts: list[Text], tmp_path: Path) -> None:
    """What only gets worse stays as it was; a folder of a run that began otherwise is refused."""
    made = RECIPES["medusa"](target, texts)
    Trainer(made, texts, tmp_path / "one", Loop(steps=40, tokens=512, rate=5e-3, warmup=2), lambda _: None).run()
    head = tmp_path / "one" / "head.safetensors"

    def run(out: Path, *, begin: bool, steps: int = 3) -> Trainer:
        begun = RECIPES["medusa"](target, texts)
        if begin:
            begun.begin_with(head)
        return Trainer(begun, texts, out, Loop(steps=steps, tokens=512, rate=50.0, warmup=1), lambda _: None)

    best = run(tmp_path / "two", begin=True).run()
    lines = [json.loads(line) for line in (tmp_path / "two" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 3]
    assert round(best, 4) == lines[0]["acceptance_length"] > lines[1]["acceptance_length"]
    assert read_head(tmp_path / "two" / "head.safetensors")[0].provenance["step"] == 0
    with pytest.raises(UsageError, match="other settings or texts"):
        run(tmp_path / "two", begin=False).run()
    with pytest.raises(UsageError, match="other settings or texts"):
        run(tmp_path / "one", begin=True).run()
    learnt = learn_until(3, run(tmp_path / "whole", begin=True), tmp_path / "whole", Trainer._save)
    pieces = learn_until(1, run(tmp_path / "three", begin=True), tmp_path / "three", Trainer._save)
    pieces += learn_until(3, run(tmp_path / "three", begin=True), tmp_path / "three", Trainer._save)
    np.testing.assert_allclose(pieces, learnt, rtol=1e-5)  # its own weights go on, not those it began with


def test_a_run_begins_with_a_head(target: TorchTarget, texts: list[Text], tmp_path: Path) -> None:
    from foredraft.cli import run

    corpus.append(tmp_path / "texts.jsonl", texts)
    asked = ["train", "medusa", "-m", str(target.source.path), "--data", str(tmp_path / "texts.jsonl"), "--heads", "2"]
    asked += ["--device", "cpu", "--dtype", "float32", "--steps", "2"]
    some = ["--vocabulary", "200"]
    assert run([*asked, *some, "--out", str(tmp_path / "one")]) == 0
    head = str(tmp_path / "one" / "head.safetensors")
    assert run([*asked, "--out", str(tmp_path / "two"), "--begin", head, "--precision", "bfloat16"]) == 0
    provenance = read_head(tmp_path / "two" / "head.safetensors")[0].provenance
    assert "step" in provenance["begun_with"]
    said = [read_head(tmp_path / out / "head.safetensors")[1]["vocabulary"].tolist() for out in ("one", "two")]
    assert said[0] == said[1]
    assert provenance["settings"]["precision"] == "bfloat16"
    assert provenance["recipe"]["block"] == 2
    assert provenance["states"] == {"from": "torch", "dtype": "float32"}
    for name, path in (("texts_sha256", tmp_path / "texts.jsonl"), ("begun_with_sha256", Path(head))):
        assert provenance[name] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert run([*asked, "--out", str(tmp_path / "three"), "--begin", head, "--precision", "half"]) == 2
    assert run([*asked, "--vocabulary", "100", "--out", str(tmp_path / "four"), "--begin", head]) == 0
    assert len(read_head(tmp_path / "four" / "head.safetensors")[1]["vocabulary"]) == 100
