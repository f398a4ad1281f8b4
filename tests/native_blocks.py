"""Random tensors in ggml's storage types, written block by block: what `gguf.quants` expands them to are the weights.

Quantising random numbers would only ever make tidy blocks. Here codes are random bits, and scales take every form that
a file may hold: mostly of the size asked for, of either sign, but also zero and the smallest numbers of float16.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize, quantize
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Maker = Callable[[int, float, np.random.Generator], Bytes]
FLOATS = ("F32", "F16", "BF16")
CODES = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K")
KINDS = FLOATS + CODES
"""Every storage type of the design."""

# Standard deviation of a block's weights at scale 1; its middle code, which the minimum takes away at its own scale.
SPREAD = {
    "Q4_0": 4.6,
    "Q4_1": 5.8,
    "Q5_0": 9.2,
    "Q5_1": 11.6,
    "Q8_0": 74.0,
    "Q4_K": 257.0,
    "Q5_K": 530.0,
    "Q6_K": 1370.0,
}
MIDDLE = {"Q4_1": 7.5, "Q5_1": 15.5, "Q4_K": 7.5, "Q5_K": 15.5}

# llama.cpp's replacement for a type whose blocks do not fit into a row.
FALLBACK = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}


def fitting(kind: str, columns: int) -> str:
    """The type that a tensor with rows of `columns` numbers gets where `kind` was asked for."""
    while columns % GGML_QUANT_SIZES[GGMLQuantizationType[kind]][0]:
        kind = FALLBACK.get(kind, "F16")
    return kind


def random_tensor(kind: str, rows: int, columns: int, spread: float, rng: np.random.Generator) -> NDArray[np.generic]:
    """[rows, columns] random weights of standard deviation `spread` as stored: bytes, or floats for F32 and F16."""
    if kind in FLOATS:
        weights = rng.normal(scale=spread, size=(rows, columns)).astype(np.float32)
        weights[rng.random(weights.shape) < 1 / 32] *= np.float32(2e-6)  # below the normal numbers of float16
        weights[rng.random(weights.shape) < 1 / 64] *= np.float32(-0.0)
        return quantize(weights, GGMLQuantizationType[kind])
    size = columns // GGML_QUANT_SIZES[GGMLQuantizationType[kind]][0]
    blocks = BLOCKS[kind](rows * size, spread / SPREAD[kind], rng)
    return blocks.reshape(rows, -1)


def expanded(kind: str, stored: NDArray[np.generic]) -> Floats:
    """The weights that a stored tensor stands for, [rows, columns]."""
    weights: Floats = dequantize(stored, GGMLQuantizationType[kind])
    return weights


def scales(count: int, size: float, rng: np.random.Generator) -> NDArray[np.float16]:
    """[count] float16 scales about `size`: an eighth negative, an eighth subnormal or zero."""
    found = (size * rng.uniform(0.6, 1.4, count)).astype(np.float16)
    odd = rng.random(count) < 1 / 8
    found[odd] = rng.integers(0, 0x400, count, dtype=np.uint16).view(np.float16)[odd]
    found[rng.random(count) < 1 / 64] = 0
    found[rng.random(count) < 1 / 8] *= np.float16(-1)
    return found


def _parts(*columns: NDArray[np.generic]) -> Bytes:
    """Fields side by side, one block a row."""
    return np.concatenate([np.ascontiguousarray(c.reshape(len(c), -1)).view(np.uint8) for c in columns], axis=1)


def _bits(count: int, size: int, rng: np.random.Generator) -> Bytes:
    return rng.integers(0, 256, (count, size), dtype=np.uint8)


def _plain(code_bytes: int) -> Maker:
    """A scale, then codes (Q4_0, Q5_0, Q8_0): their highest bits, if apart, are random like the others."""

    def make(count: int, size: float, rng: np.random.Generator) -> Bytes:
        return _parts(scales(count, size, rng), _bits(count, code_bytes, rng))

    return make


def _minimum(kind: str, scale: NDArray[np.float16], rng: np.random.Generator) -> NDArray[np.float16]:
    """About what puts the middle code at zero, for most blocks; the K types take it away, the others add it."""
    sign = np.float32(1 if kind.endswith("K") else -1)
    minimum = (sign * MIDDLE[kind] * scale.astype(np.float32) * rng.uniform(0.9, 1.1, len(scale))).astype(np.float16)
    odd = rng.random(len(scale)) < 1 / 8
    minimum[odd] = scales(len(scale), float(np.abs(minimum).mean()), rng)[odd]
    return minimum


def _with_minimum(kind: str, code_bytes: int) -> Maker:
    """A scale and a minimum, then codes (Q4_1, Q5_1)."""

    def make(count: int, size: float, rng: np.random.Generator) -> Bytes:
        scale = scales(count, size, rng)
        return _parts(scale, _minimum(kind, scale, rng), _bits(count, code_bytes, rng))

    return make


def _two_levels(kind: str, code_bytes: int) -> Maker:
    """A scale and a minimum of all, eight small ones of six bits for each in twelve bytes, then codes (Q4_K, Q5_K).

    In three blocks of four the small minimum equals the small scale, which keeps the weights about zero.
    """

    def make(count: int, size: float, rng: np.random.Generator) -> Bytes:
        scale, small = scales(count, size, rng), _bits(count, 12, rng)
        even = rng.random(count) < 3 / 4
        small[even, 4:8] = small[even, :4]
        small[even, 8:] = (small[even, 8:] & 15) * 17
        return _parts(scale, _minimum(kind, scale, rng), small, _bits(count, code_bytes, rng))

    return make


def _six_bits(count: int, size: float, rng: np.random.Generator) -> Bytes:
    """Codes, sixteen signed small scales, and at last the scale of all (Q6_K)."""
    return _parts(_bits(count, 128 + 64 + 16, rng), scales(count, size, rng))


BLOCKS: dict[str, Maker] = {
    "Q4_0": _plain(16),
    "Q5_0": _plain(4 + 16),
    "Q8_0": _plain(32),
    "Q4_1": _with_minimum("Q4_1", 16),
    "Q5_1": _with_minimum("Q5_1", 4 + 16),
    "Q4_K": _two_levels("Q4_K", 128),
    "Q5_K": _two_levels("Q5_K", 32 + 128),
    "Q6_K": _six_bits,
}
