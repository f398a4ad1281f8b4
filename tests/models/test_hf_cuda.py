"""The hf backend on a CUDA device: rows equal the stock model's on the CPU, and speculation keeps plain tokens.

Skipped where there is no such device, as in continuous integration: LOG.md says when it was last run on one.
"""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
if not torch.cuda.is_available():
    pytest.skip("no CUDA device", allow_module_level=True)

from foredraft import SamplingParams, load  # noqa: E402
from foredraft.core.protocols import Model  # noqa: E402
from foredraft.engine.llm import LLM  # noqa: E402
from foredraft.models.hf import HFModel  # noqa: E402
from foredraft.testing.caches import cache_machine  # noqa: E402
from hf_cases import CONFIGS, Run, build, tolerance  # noqa: E402
from tiny import write_model  # noqa: E402

# Whatever the model's type, transformers computes the angles of rotations in float32, and a device rounds their cosines
# otherwise than a CPU.
ROTATIONS = 1e-4


def on_device(stock: Any, name: str) -> HFModel:
    model = HFModel(copy.deepcopy(stock).to("cuda"), name=name)
    assert ("device", "cuda:0") in model.about.details
    return model


@pytest.mark.parametrize("name", CONFIGS)
def test_rows_equal_a_recompute_of_their_paths(name: str) -> None:
    stock = build(name)
    run = Run(stock, on_device(stock, name), seed=1, tolerance=max(tolerance(name), ROTATIONS))
    for _ in range(12):
        run.step()


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2"])
def test_float32(name: str) -> None:
    # Logits are of size 10, the tolerance is the rounding of some hundred float32 sums; TF32 would be far outside.
    stock = build(name, torch.float32)
    run = Run(stock, on_device(stock, name), seed=2, tolerance=2e-4)
    for _ in range(10):
        run.step()


@functools.cache
def tiny() -> Model:
    return on_device(build("mistral-window"), "mistral-window")


TestWindowCaches = cache_machine(tiny, 1e-9, examples=6, steps=12)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("drafter", ["lookup:n=1", "lookup:n=2,branches=2"])
def test_speculation_says_what_plain_decoding_says(tmp_path: Path, drafter: str, temperature: float) -> None:
    params = SamplingParams(max_tokens=60, temperature=temperature, seed=5)
    with load(str(write_model(tmp_path / "tiny")), "none", engine="hf") as plain:
        assert ("device", "cuda:0") in plain.loaded.model.about.details
        expected = plain.generate("to and fro, to and fro, to and fro", params).outputs[0]
        found = LLM(plain.loaded, drafter).generate("to and fro, to and fro, to and fro", params).outputs[0]
    assert found.token_ids == expected.token_ids
    assert found.stats.drafted
    assert not found.stats.faults
