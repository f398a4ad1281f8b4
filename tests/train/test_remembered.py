"""States that stay in memory: a text goes through the target once, and teaches what it always did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from foredraft.cli import run  # noqa: E402
from foredraft.core.errors import UsageError  # noqa: E402
from foredraft.train import block, corpus, distill, eagle, eagle3, joint  # noqa: E402
from foredraft.train.corpus import Text  # noqa: E402
from foredraft.train.processes import share  # noqa: E402
from foredraft.train.remembered import Remembered  # noqa: E402
from foredraft.train.target import TorchTarget  # noqa: E402
from recipes import drawn_texts  # noqa: E402
from tiny import write_model  # noqa: E402

SMALL: dict[str, Any] = {"hidden": 64, "block": 3, "vocabulary": 200, "heads": (2, 1, 16)}
RECIPES: dict[str, tuple[Any, Any, int]] = {
    "block": (block.BlockRecipe, block.Settings(rank=8, **SMALL), 2),
    "eagle": (eagle.EagleRecipe, eagle.Settings(noise=0.0, **SMALL), 1),
    "eagle3": (eagle3.Eagle3Recipe, eagle3.Settings(**SMALL), 2),
    "distill": (distill.distilled, distill.Settings("2x32"), 1),
}
"""And of how many layers states are kept, the last one's counted: of five, the three that are read are one."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("target"), layers=5, width=64)


@pytest.fixture(scope="module")
def texts() -> list[Text]:
    return drawn_texts()


class Counted(TorchTarget):
    """How many texts went through its layers."""

    passed = 0

    def _pass(self, rows: Any, hidden: bool) -> Any:
        self.passed += len(rows.ids)
        return super()._pass(rows, hidden)


@pytest.mark.parametrize("method", RECIPES)
@pytest.mark.parametrize("most", [1e9, 30_000])
def test_what_is_remembered_teaches_the_same(folder: Path, texts: list[Text], method: str, most: float) -> None:
    """Also where there is room for some of the texts alone, and in batches of both."""
    kind, settings, layers = RECIPES[method]
    memory = Remembered(most)
    target = Counted(str(folder), "cpu", "float32", memory)
    own, plain = (kind(one, texts, settings) for one in (target, TorchTarget(str(folder), "cpu", "float32")))
    for batch in (texts[:9], texts[5:30], texts, texts[::-1]):
        losses = [[float(part.detach()) for part in one.losses(batch)] for one in (own, plain)]
        np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    sizes = [(len(text.prompt) + len(text.response)) * layers * 64 * 4 for text in texts]
    if most == 1e9:
        assert (memory.bytes, target.passed) == (sum(sizes), len(texts))
    else:
        assert most - max(sizes) < memory.bytes <= most
        assert len(texts) < target.passed < 9 + 25 + 40 + 40
    nobodys = share(texts[:1], 1, 2)  # the share of a process for which no text was left
    assert float(next(own.losses(nobodys)).detach()) == 0.0


def test_states_of_other_layers_are_not_taken_for_those(folder: Path, texts: list[Text]) -> None:
    target = TorchTarget(str(folder), "cpu", "float32", Remembered(1e9))
    target.columns(texts[:3], (1, 2))
    with pytest.raises(ValueError, match=r"after layers \(1, 2, 5\) are remembered, not after \(5,\)"):
        target.last(target.rows(texts[:3]), texts[:3])


def test_what_a_student_says_itself_is_not_remembered(folder: Path, texts: list[Text]) -> None:
    memory = Remembered(1e9)
    target = TorchTarget(str(folder), "cpu", "float32", memory)
    own = distill.distilled(target, texts, distill.Settings("2x32", on_policy=1.0))
    next(own.losses(texts[:4]))
    assert not memory.bytes


def test_what_cannot_be_remembered_is_refused(folder: Path, texts: list[Text], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="leave --remember out for none"):
        Remembered(0)
    target = TorchTarget(str(folder), "cpu", "float32", Remembered(1e9))
    with pytest.raises(UsageError, match="leave --kept and --remember out"):
        joint.JointRecipe(target, texts, joint.Settings(), out=tmp_path / "out")


def test_a_run_from_the_command_line(
    folder: Path, texts: list[Text], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same losses, to rounding, as one that asks the target anew, of which less is asked; and not both memories."""
    passed, whole = list[int](), TorchTarget._pass

    def counted(self: TorchTarget, rows: Any, hidden: bool) -> Any:
        passed[-1] += len(rows.ids)
        return whole(self, rows, hidden)

    monkeypatch.setattr(TorchTarget, "_pass", counted)
    data = tmp_path / "texts.jsonl"
    corpus.append(data, [*texts, *(Text(f"h{n}", "t", (n, 9), (5, 6, 7, 8)) for n in range(3, 259))])
    asked = ["train", "block", "-m", str(folder), "--data", str(data), "--steps", "20", "--tokens", "256"]
    asked += ["--device", "cpu", "--precision", "float32", "--vocabulary", "200"]
    found = list[list[float]]()
    for name, more in (("plain", []), ("own", ["--remember", "1"])):
        passed.append(0)
        assert run([*asked, "--out", str(tmp_path / name), *more]) == 0
        lines = (tmp_path / name / "log.jsonl").read_text().splitlines()
        found.append([float(line.split('"loss": ')[1].split(",")[0]) for line in lines])
    assert found[0] == pytest.approx(found[1], abs=1e-3)
    assert passed[1] == len(corpus.read(data)) < passed[0]  # every text once
    capsys.readouterr()
    assert run([*asked, "--out", str(tmp_path / "both"), "--remember", "1", "--kept"]) == 2
    assert "leave --kept or --remember out" in capsys.readouterr().err
