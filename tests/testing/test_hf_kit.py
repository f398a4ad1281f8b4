"""The caches of the Hugging Face backend pass the state machine, on tiny random models in float64."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from foredraft.core.protocols import Model
from foredraft.testing.caches import cache_machine

pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("one_thread")

# A few hundred roundings of float64: rows are summed in another order, nothing more.
TOLERANCE = 1e-9


@functools.cache
def tiny(name: str) -> Model:
    from foredraft.models.hf import HFModel
    from hf_cases import build

    return HFModel(build(name), name=name)


@pytest.fixture
def one_thread() -> Any:
    """Models this small lose by threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


TestLlamaCaches = cache_machine(lambda: tiny("llama"), TOLERANCE, examples=6, steps=12)
TestWindowCaches = cache_machine(lambda: tiny("mistral-window"), TOLERANCE, examples=6, steps=12)
