"""What the tests of the hf backend share. Without torch they are skipped."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Models this small lose by threads, and tests run beside each other."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def pairs() -> Any:
    """(name, dtype) -> (stock model, ours), built once."""
    torch = pytest.importorskip("torch")
    from foredraft.models.hf import HFModel
    from hf_cases import build

    known: dict[Any, Any] = {}

    def pair(name: str, dtype: Any = torch.float64) -> Any:
        if (name, dtype) not in known:
            stock = build(name, dtype)
            known[name, dtype] = stock, HFModel(copy.deepcopy(stock), name=name)
        return known[name, dtype]

    return pair
