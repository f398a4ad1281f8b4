"""Several processes train as one with the same batches does, however they hold what is trained, and go on for it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from foredraft.core.errors import UsageError  # noqa: E402
from foredraft.heads.files import read_head  # noqa: E402
from foredraft.train import corpus, joint  # noqa: E402
from foredraft.train.corpus import Text  # noqa: E402
from foredraft.train.processes import share, started  # noqa: E402
from foredraft.train.target import TorchTarget  # noqa: E402
from tiny import write_model  # noqa: E402
from two_processes import DRAWN, RECIPES, losses  # noqa: E402

WAYS = [f"{name}{how}" for name in RECIPES for how in ("", " sharded")]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a target and texts."""
    folder = tmp_path_factory.mktemp("several")
    target = TorchTarget(str(write_model(folder / "target", layers=3)), "cpu", "float32")
    chance = np.random.default_rng(0)
    prompts = [tuple(chance.integers(3, 259, 4 + n % 5).tolist()) for n in range(80)]
    said = target.answer(prompts, 12, 0.0, 0)
    corpus.append(folder / "texts.jsonl", [Text(str(n), "t", *one) for n, one in enumerate(zip(prompts, said))])
    return folder


@pytest.fixture(scope="module")
def alone(texts: Path) -> dict[str, list[float]]:
    """What one process loses; where it stood at step 2 is kept."""
    before, found = torch.get_num_threads(), {}
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joint, "WARMUP", 2)
        for name in RECIPES:
            losses(texts, name, texts / f"{name} one", [2])
            shutil.copytree(texts / f"{name} one", texts / f"{name} one at 2")
            shutil.rmtree(texts / f"{name} one")
            found[name] = losses(texts, name, texts / f"{name} one", [4])
    torch.set_num_threads(before)
    return found


@pytest.fixture(scope="module")
def together(texts: Path, alone: dict[str, list[float]]) -> dict[str, list[float]]:
    """What two processes lose, in every way."""
    script = Path(__file__).parents[1] / "two_processes.py"
    command = [sys.executable, "-W", "error", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*command, script, texts], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[float]] = json.loads((texts / "losses.json").read_text())
    return found


@pytest.mark.parametrize("way", WAYS)
def test_two_lose_what_one_does(together: dict[str, list[float]], alone: dict[str, list[float]], way: str) -> None:
    """Cut short between, and at last on a batch with a text for one of them only."""
    np.testing.assert_allclose(together[way], alone[way.removesuffix(" sharded")], rtol=2e-4)


@pytest.mark.parametrize("way", WAYS)
def test_two_go_on_where_one_stood(together: dict[str, list[float]], alone: dict[str, list[float]], way: str) -> None:
    np.testing.assert_allclose(together[f"{way} from one"], alone[way.removesuffix(" sharded")][2:], rtol=2e-4)


@pytest.mark.parametrize("way", [f"{name}{how}" for name in DRAWN for how in ("", " sharded")])
def test_each_may_draw_texts_of_its_own(together: dict[str, list[float]], way: str) -> None:
    """Or none, while the other does: nobody waits for another's draw. At last only one of them has a text."""
    assert np.isfinite(together[way]).all()


@pytest.mark.parametrize("way", ["block", "block sharded", "distill sharded"])
def test_one_goes_on_where_two_stood(texts: Path, together: dict[str, list[float]], tmp_path: Path, way: str) -> None:
    name = way.removesuffix(" sharded")
    shutil.copytree(texts / way, tmp_path / "two")
    shutil.copytree(texts / f"{name} one", tmp_path / "one")
    own, more = (losses(texts, name, tmp_path / which, [5]) for which in ("two", "one"))
    np.testing.assert_allclose(own, more, rtol=2e-4)


@pytest.mark.parametrize("way", ["mtp", "mtp sharded"])
def test_the_first_alone_writes(texts: Path, together: dict[str, list[float]], way: str) -> None:
    lines = [json.loads(line) for line in (texts / way / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    config, tensors = read_head(texts / way / "head.safetensors")
    assert config.provenance["processes"] == 2
    assert tensors["accuracies"].sum() > 0
    alone = read_head(texts / "mtp one" / "head.safetensors")[1]
    for name, values in tensors.items():
        np.testing.assert_allclose(values, alone[name], atol=2e-3, err_msg=name)


def test_each_draws_noise_of_its_own(texts: Path, together: dict[str, list[float]]) -> None:
    first, second = torch.load(texts / "block" / "state.pt", weights_only=True)["chance"]
    assert not torch.equal(first[0], second[0])


@pytest.mark.slow  # failed once in some twenty runs, for a reason not found yet: what it said is shown since
def test_a_process_that_is_killed_ends_the_others(texts: Path, tmp_path: Path) -> None:
    """With one sentence; and what was written by then is taken up."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    asked = ["train", "block", "-m", "target", "--data", "texts.jsonl", "--out", str(tmp_path), "--device", "cpu"]
    asked += ["--steps", "100000", "--tokens", "256", "--evaluate", "0.5", "--dtype", "float32"]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    begun = [
        subprocess.Popen(
            [sys.executable, "-m", "foredraft", *asked],
            cwd=texts, env={**os.environ, **place, "RANK": str(rank)}, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        while not (tmp_path / "state.pt").exists() and begun[0].poll() is None:
            time.sleep(0.05)
        begun[1].kill()
        said = begun[0].communicate(timeout=60)[1]
    finally:
        for process in begun:
            process.kill()
            process.wait()
            if process.stderr is not None:
                process.stderr.close()
    assert begun[0].returncode == 1, said
    assert "another process of this run has ended" in said
    assert "Traceback" not in said
    assert torch.load(tmp_path / "state.pt", weights_only=True)["counts"][0] > 0


def test_shares_are_all_texts_once() -> None:
    texts = [Text(str(n), "t", (n + 1, 2), (3,)) for n in range(5)]
    shares = [share(texts, rank, 2) for rank in range(2)]
    assert sorted(one.id for own in shares for one in own) == list("01234")
    assert [one.response for one in share(texts[:1], 1, 2)] == [()]


def test_one_process_has_nothing_to_share_out() -> None:
    with pytest.raises(UsageError, match="start several by torchrun"):
        started("cpu", sharded=True)
