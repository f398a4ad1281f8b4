"""Packing loses nothing: what the packed form expands to is what `gguf.quants` makes of the file, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from numpy.typing import NDArray

from foredraft import _native
from foredraft.models.gguf_header import read_header
from native_blocks import CODES, KINDS, random_tensor

MODELS = Path.home() / ".cache/foredraft/models"
# What a panel may add to the bytes that a pass reads.
INFLATION = 1.05


@pytest.fixture(scope="module")
def pool() -> Any:
    return _native.Pool(2)


def stored_bytes(tensor: NDArray[np.generic]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(tensor).view(np.uint8).reshape(-1)


def expected(kind: str, stored: NDArray[np.uint8], rows: int) -> NDArray[np.float32]:
    plain = {"F32": np.float32, "F16": np.float16}.get(kind)
    shaped = stored.view(plain).reshape(rows, -1) if plain else stored.reshape(rows, -1)
    weights: NDArray[np.float32] = dequantize(shaped, GGMLQuantizationType[kind])
    return weights


def same_bits(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Equal but for the sign of zero, which no sum can tell."""
    return np.array_equal(one + np.float32(0), other + np.float32(0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rows", "columns"), [(16, 256), (1, 512), (37, 768)])
def test_random_tensors_expand_to_what_the_format_says(kind: str, rows: int, columns: int, pool: Any) -> None:
    """With zero, negative and subnormal scales, and 8-bit codes of -128."""
    stored = stored_bytes(random_tensor(kind, rows, columns, 0.1, np.random.default_rng(rows)))
    packed = _native.Packed.of(kind, rows, columns, stored, pool)
    assert same_bits(packed.expand(), expected(kind, stored, rows))


@pytest.mark.parametrize("kind", CODES)
def test_any_bytes_expand_to_what_the_format_says(kind: str, pool: Any) -> None:
    """Every byte random but for scales, which must be finite."""
    block, size = GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    rows, columns = 32, 512
    stored = np.random.default_rng(7).integers(0, 256, rows * columns // block * size).astype(np.uint8)
    blocks = stored.reshape(-1, size)
    places = {"Q6_K": (208,), "Q4_0": (0,), "Q5_0": (0,), "Q8_0": (0,)}.get(kind, (0, 2))
    for place in places:
        blocks[:, place + 1] &= 0xBB  # the highest exponent is that of infinity
    packed = _native.Packed.of(kind, rows, columns, stored, pool)
    assert same_bits(packed.expand(), expected(kind, stored, rows))


@pytest.mark.parametrize("kind", KINDS)
def test_packing_reads_few_bytes_more_than_the_file(kind: str, pool: Any) -> None:
    stored = stored_bytes(random_tensor(kind, 64, 1024, 0.1, np.random.default_rng(0)))
    assert _native.Packed.of(kind, 64, 1024, stored, pool).nbytes <= INFLATION * stored.nbytes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_scale_that_is_no_number_is_refused(kind: str, value: float, pool: Any) -> None:
    stored = stored_bytes(random_tensor(kind, 16, 256, 0.1, np.random.default_rng(0))).copy()
    size = GGML_QUANT_SIZES[GGMLQuantizationType[kind]][1]
    if kind == "F32":
        stored[:4] = np.array([value], np.float32).view(np.uint8)
    elif kind == "BF16":
        stored[:2] = np.array([value], np.float32).view(np.uint8)[2:]
        stored[0] |= np.isnan(value)
    else:
        place = 208 if kind == "Q6_K" else 0
        stored.reshape(-1, size)[3, place : place + 2] = np.array([value], np.float16).view(np.uint8)
    with pytest.raises(ArithmeticError, match="finite"):
        _native.Packed.of(kind, 16, 256, stored, pool)


@pytest.mark.parametrize(
    ("kind", "rows", "columns", "nbytes"),
    [
        ("Q8_0", 16, 32, 16 * 34 - 1),
        ("Q8_0", 16, 32, 16 * 34 + 34),
        ("Q8_0", 16, 33, 16 * 34),
        ("Q4_K", 16, 32, 16 * 144),
        ("Q8_0", 0, 32, 0),
        ("Q8_0", 2**40, 32, 34),
        ("IQ2_XS", 16, 256, 16),
    ],
)
def test_sizes_that_do_not_fit_are_refused(kind: str, rows: int, columns: int, nbytes: int, pool: Any) -> None:
    with pytest.raises(ValueError, match="."):
        _native.Packed.of(kind, rows, columns, np.zeros(nbytes, np.uint8), pool)


@pytest.mark.model
@pytest.mark.parametrize("path", sorted(MODELS.glob("*.gguf")), ids=lambda path: path.stem[:12])
def test_real_tensors_expand_to_what_the_format_says(path: Path, pool: Any) -> None:
    """The smallest tensor of every type that a file holds."""
    smallest = {}
    for info in sorted(read_header(path).tensors, key=lambda info: -info.nbytes):
        if len(info.shape) == 2:
            smallest[info.kind] = info
    data = np.memmap(path, dtype=np.uint8, mode="r")
    assert smallest
    for kind, info in smallest.items():
        stored = data[info.offset : info.offset + info.nbytes]
        packed = _native.Packed.of(kind, info.shape[1], info.shape[0], stored, pool)
        assert same_bits(packed.expand(), expected(kind, np.asarray(stored), info.shape[1])), info.name
