"""Training that is killed, that finds no room on the disk or in memory, or that is taken up with other settings."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from foredraft.core.errors import ForedraftError, UsageError  # noqa: E402
from foredraft.heads.files import read_head  # noqa: E402
from foredraft.train import block, corpus, eagle  # noqa: E402
from foredraft.train.corpus import Text  # noqa: E402
from foredraft.train.target import TorchTarget  # noqa: E402
from foredraft.train.trainer import Settings as Loop  # noqa: E402
from foredraft.train.trainer import Trainer  # noqa: E402
from recipes import LAYER, SIZES  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
LOOP = Loop(steps=1, tokens=512)


@pytest.fixture(scope="module")
def failed(target: TorchTarget, texts: list[Text], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A folder of runs, and what they said."""
    folder = tmp_path_factory.mktemp("failing")
    shutil.copytree(target.source.path, folder / "target")
    corpus.append(folder / "texts.jsonl", texts)
    script = Path(__file__).parents[1] / "failing_runs.py"
    done = subprocess.run([sys.executable, script, folder], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout.splitlines()[-1])


def log_of(out: Path) -> list[tuple[int, float, float]]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"] or 0.0, line["acceptance_length"]) for line in lines]


def test_a_run_that_is_killed_between_its_files_ends_as_one_that_is_not(failed: tuple[Path, Any]) -> None:
    """The same losses, no evaluation twice, and the best head."""
    folder, said = failed
    assert said["killed"] == ["SIGKILL"] * len(said["killed"])
    np.testing.assert_allclose(log_of(folder / "killed"), log_of(folder / "whole"), atol=2e-4)
    one, other = (read_head(folder / name / "head.safetensors") for name in ("killed", "whole"))
    assert one[0].provenance["step"] == other[0].provenance["step"]
    for name, values in other[1].items():
        np.testing.assert_allclose(one[1][name], values, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("what", ["full", "head", "student"])
def test_a_full_disk_is_a_sentence_and_leaves_nothing(failed: tuple[Path, Any], what: str) -> None:
    """What was there is whole: a checkpoint, a head, a student."""
    _, said = failed
    assert "cannot be written" in said[what]
    assert said[what].endswith("make room, and run it again to go on")
    assert said[f"beside {what}"] == []


def test_more_than_the_disk_has_is_said_before(
    target: TorchTarget, texts: list[Text], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = list[str]()
    made = block.BlockRecipe(target, texts, block.Settings(rank=8, **SIZES, **LAYER))
    Trainer(made, texts, tmp_path / "run", LOOP, told.append).run()
    said = next(one for one in told if one.startswith("checkpoints take up to"))
    most = float(said.split()[4]) * 1e6
    assert (tmp_path / "run" / "state.pt").stat().st_size * 2 < most * 1.1  # the file has names too
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1))
    with pytest.raises(UsageError, match="are free in .*: make room, or give an --out on another disk"):
        Trainer(made, texts, tmp_path / "other", LOOP, told.append).run()


@pytest.mark.parametrize("ask", [lambda: torch.empty(1 << 50), lambda: bytearray(1 << 60)])
def test_memory_that_ends_is_a_sentence(
    target: TorchTarget, texts: list[Text], tmp_path: Path, ask: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = block.BlockRecipe(target, texts, block.Settings(rank=8, **SIZES, **LAYER))

    def losses(*_: Any) -> Iterator[Any]:
        yield ask()

    monkeypatch.setattr(made, "losses", losses)
    with pytest.raises(ForedraftError, match="batches of 512 tokens: begin with a lower --tokens"):
        Trainer(made, texts, tmp_path, LOOP, lambda _: None).run()


@pytest.mark.parametrize(
    ("recipe", "loop", "named"),
    [
        ({"noise": 0.2}, {}, "noise was 0.1, not 0.2"),
        ({"law": 0.5}, {}, "law was 0.1, not 0.5"),
        ({"hard": 0.5}, {}, "hard was 1.0, not 0.5"),
        ({"decay": 0.5}, {}, "decay was 0.8, not 0.5"),
        ({}, {"rate": 0.5}, "rate was 0.001, not 0.5"),
        ({}, {"tokens": 256}, "tokens was 512, not 256"),
        ({}, {"seed": 1}, "seed was 0, not 1"),
        ({}, {"precision": "bfloat16"}, 'precision was "float32", not "bfloat16"'),
    ],
)
def test_a_run_with_other_settings_does_not_go_on(
    target: TorchTarget,
    texts: list[Text],
    tmp_path: Path,
    recipe: dict[str, Any],
    loop: dict[str, Any],
    named: str,
) -> None:
    """What it was is said. Only when it ends, and when it is judged, may be others."""
    own = eagle.Settings(**SIZES, **LAYER)

    def run(settings: eagle.Settings, **changes: Any) -> Trainer:
        made = eagle.EagleRecipe(target, texts, settings)
        return Trainer(made, texts, tmp_path, dataclasses.replace(LOOP, **changes), lambda _: None)

    run(own)._save()
    with pytest.raises(UsageError, match=rf"other settings or texts \({named}\): give another --out, or those"):
        run(dataclasses.replace(own, **recipe), **loop)._resume()
    run(own, steps=2, minutes=5.0, evaluate=1.0)._resume()
