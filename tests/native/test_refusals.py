"""Sound headers around a model that cannot be: refused in one sentence, before it costs memory, and nothing is kept."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from foredraft import _native


@pytest.fixture(scope="module")
def pool() -> Any:
    return _native.Pool(1)


def matrix(outputs: int, inputs: int, pool: Any) -> Any:
    return _native.Packed.of("F32", outputs, inputs, np.zeros(4 * outputs * inputs, np.uint8), pool)


def test_what_is_refused_is_let_go_of(pool: Any) -> None:
    """A model is hundreds of megabytes: a program that tries one file after another must not keep each."""
    table, config = matrix(32, 64, pool), _native.Config()
    before = sys.getrefcount(table)
    for _ in range(3):
        with pytest.raises(ValueError, match="a size of the model is impossible"):
            _native.Weights(config, [], [], table, table)
    assert sys.getrefcount(table) == before
