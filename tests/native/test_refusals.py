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


def tiny(pool: Any, **changes: Any) -> tuple[Any, ...]:
    """What the weights of a model of one layer and one head of 512 are made of; changes: settings."""
    config = _native.Config()
    sizes = {"width": 64, "heads": 1, "kv_heads": 1, "head_size": 512, "hidden": 64, "vocabulary": 16, "context": 8}
    for name, value in (sizes | changes).items():
        setattr(config, name, value)
    layer = _native.Layer()
    for part, outputs, inputs in (
        *((part, 512, 64) for part in ("query", "key", "value")),
        *((part, 64, 64) for part in ("gate", "up", "down")),
        ("out", 64, 512),
    ):
        setattr(layer, part, matrix(outputs, inputs, pool))
    layer.attention_norm = layer.hidden_norm = [1.0] * 64
    table = matrix(16, 64, pool)
    return config, [layer], [1.0] * 64, table, table


def test_what_fits_is_taken(pool: Any) -> None:
    _native.Weights(*tiny(pool))


@pytest.mark.parametrize("changes", [{"heads": 2**23 + 1}, {"heads": 2**23 + 1, "kv_heads": 2**23 + 1}], ids=str)
def test_sizes_whose_product_is_small_again_are_refused(pool: Any, changes: dict[str, Any]) -> None:
    """(2^23 + 1) * 512 is 512 in 32 bits: such a model fits its matrices, and a row of it takes gigabytes."""
    with pytest.raises(ValueError, match="impossible"):
        _native.Weights(*tiny(pool, **changes))


@pytest.mark.parametrize("name", ["epsilon", "embedding_scale", "score_scale"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 0.0])
def test_settings_that_are_no_positive_numbers_are_refused(pool: Any, name: str, value: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        _native.Weights(*tiny(pool, **{name: value}))
