"""A head does not care which engine runs its target: the same fingerprint, rows and drafts on both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from foredraft.core.params import SamplingParams
from foredraft.engine.backends import load_model
from foredraft.engine.llm import LLM
from foredraft.heads.files import write_head
from gguf_cases import write_gguf
from random_heads import random_head

SAYS = tuple(range(0, 459, 2))


@pytest.mark.parametrize("name", ["smollm", "llama", "qwen2", "qwen3", "gemma3"])
def test_both_engines_know_the_same_model(name: str, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", name, "Q8_0").path
    native, hf = (load_model(str(path), engine=engine, threads=1).model for engine in ("native", "hf"))
    assert dict(native.about.details)["fingerprint"] == dict(hf.about.details)["fingerprint"]
    np.testing.assert_array_equal(native.head_rows(SAYS), hf.head_rows(SAYS))
    hidden = np.random.default_rng(0).normal(size=(1, native.about.width)).astype(np.float32)
    assert native.head_rows([3]).shape == hidden.shape


def test_a_head_drafts_for_a_target_on_torch(tmp_path: Path) -> None:
    loaded = load_model(str(write_gguf(tmp_path / "tiny.gguf", "smollm", "Q8_0").path), engine="hf", threads=1)
    path = tmp_path / "head.safetensors"
    write_head(path, *random_head(loaded.model.about, says=SAYS, block=4), int8=True)
    output = LLM(loaded, f"block:{path},k=12").generate(
        list(range(5, 40)), SamplingParams(max_tokens=20, temperature=0.7, seed=0, ignore_eos=True)
    )
    assert output.stats.drafted > 0
    assert output.stats.faults == ()
