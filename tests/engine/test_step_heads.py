"""Heads that draft token by token, by their files: built for their target, and the text stays the target's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from foredraft.audit.parity import parity
from foredraft.bench.suites import Prompt
from foredraft.core.errors import WeightsError
from foredraft.core.params import SamplingParams
from foredraft.draft.plain_steps import PlainRows
from foredraft.draft.steps import StepHead
from foredraft.engine import heads
from foredraft.engine.backends import Loaded, load_model
from foredraft.engine.heads import load_head
from foredraft.engine.llm import LLM
from foredraft.engine.stats import stats
from foredraft.heads.files import read_head, write_head
from gguf_cases import write_gguf
from random_heads import random_head
from random_steps import METHODS, NAMES

TEXT = tuple(range(5, 40))
SAYS = tuple(range(0, 459, 2))
every_method = pytest.mark.parametrize(("method", "made"), METHODS, ids=NAMES)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    path = tmp_path_factory.mktemp("target") / "tiny.gguf"
    return load_model(str(write_gguf(path, "smollm", "Q8_0").path), threads=2)


def written(loaded: Loaded, folder: Path, method: str, made: dict[str, Any]) -> Path:
    config, tensors = random_head(loaded.model.about, method=method, says=SAYS, **({"block": 4} | made))
    write_head(folder / "head.safetensors", config, tensors, int8=True)
    return folder / "head.safetensors"


@every_method
@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("verifier", ["match", "recursive"])
def test_the_text_is_that_of_plain_decoding(
    loaded: Loaded, tmp_path: Path, method: str, made: dict[str, Any], temperature: float, verifier: str
) -> None:
    """Bit for bit with `match`, though drafts were accepted and rejected; several texts share every pass."""
    path = written(loaded, tmp_path, method, made)
    params = SamplingParams(max_tokens=40, temperature=temperature, seed=5, n=2 if temperature else 1)
    prompts = [list(TEXT), [7, 8, 9] * 30, [11]]
    plain = LLM(loaded, "none").generate(prompts, params)
    drafted = LLM(loaded, f"{method}:{path},k=12", verifier=verifier).generate(prompts, params)
    if verifier == "match" or not temperature:
        assert [[one.token_ids for one in each.outputs] for each in drafted] == [
            [one.token_ids for one in each.outputs] for each in plain
        ]
    totals = stats([step for each in drafted for one in each.outputs for step in one.steps])
    assert totals.faults == ()
    assert totals.drafted > 0


@every_method
def test_the_engine_drafts_what_the_definition_says(
    loaded: Loaded, tmp_path: Path, method: str, made: dict[str, Any]
) -> None:
    path = written(loaded, tmp_path, method, made)
    prompts = (Prompt("a", "t", ("abcabcabd",)), Prompt("b", "t", ("xyzw xyz",)))
    found = parity(LLM(loaded, "none"), path, prompts, 24, raw=True)
    assert found.laws >= 8
    assert found.floats is not None
    assert found.floats < 1e-4
    assert found.divergence < 0.01
    assert found.passed


def test_without_the_native_engine_numpy_computes_it(
    loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(loaded, tmp_path, *METHODS[1])
    monkeypatch.setattr(heads, "module", lambda wanted: None)
    head = load_head(str(path), loaded.model, method="eagle3")
    assert isinstance(head, StepHead)
    assert isinstance(head.rows, PlainRows)


def test_modules_that_do_not_fit_the_block_are_refused(loaded: Loaded, tmp_path: Path) -> None:
    method, made = METHODS[3]
    path = written(loaded, tmp_path, method, made)
    config, tensors = read_head(path)
    write_head(path, replace(config, block=3), tensors)
    with pytest.raises(WeightsError, match="its 4 modules are neither one nor as many as the 3 tokens"):
        read_head(path)
