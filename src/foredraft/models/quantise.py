"""Float weights as integer codes with a scale for every 32 inputs, in the blocks of GGUF files.

Q8_0: w ~ d q, |q| <= 127, with the smallest d that clips nothing. Q4_1: w ~ d q + m, 0 <= q <= 15, at first between the
smallest and the largest, then twice by Lloyd's algorithm: the best line through (q, w), and the nearest codes on it.
Scales are rounded to float16 before codes are chosen. Groups stand alone: threads do not change a bit.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Quantize = Literal["int8", "int4"]
QUANTIZATIONS: tuple[Quantize, ...] = get_args(Quantize)
"""What may be asked for when a model is loaded."""


@dataclass(frozen=True)
class Reduced:
    """How a model that only drafts is made cheaper: what it then says is near what its file says, not the same.

    quantize: the form of the matrices, from the file's own; those as small already stay. says: the tokens whose rows of
    the head are kept (FR-Spec, 2502.14856), ascending and not empty; all others become impossible.
    """

    quantize: Quantize | None = None
    says: tuple[int, ...] | None = None


GROUP = 32
CHUNK = 4096  # groups at a time: few enough for a cache, many enough to hide Python
REFINEMENTS = 2
LARGEST = 127  # code of Q8_0
TOP = 15  # code of Q4_1


def quantise(kind: str, weights: NDArray[np.float32 | np.float16 | np.uint16], threads: int = 1) -> Bytes:
    """Blocks of `kind`, Q8_0 or Q4_1, one after another.

    weights: float32, float16 or the bits of bfloat16 (uint16), any shape whose last axis is a multiple of 32.
    Raises ArithmeticError for a weight that is no number, or too large for a scale.
    """
    blocks_of, size = BLOCKS[kind]
    groups = weights.reshape(-1, GROUP)
    found = np.empty((len(groups), size), dtype=np.uint8)

    def work(start: int) -> None:
        part = slice(start, start + CHUNK)
        # A group is a column, so that numpy's inner loops are long. What overflows is found by looking at the scales.
        with np.errstate(all="ignore"):
            found[part] = blocks_of(np.ascontiguousarray(widened(groups[part]).T))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(0, len(groups), CHUNK)))
    return found.reshape(-1)


def widened(weights: NDArray[np.float32 | np.float16 | np.uint16]) -> Floats:
    """float32 of the same values; uint16 are the bits of bfloat16."""
    if weights.dtype == np.uint16:
        return (weights.astype(np.uint32) << 16).view(np.float32)
    return weights.astype(np.float32)


def q8_0(x: Floats) -> Bytes:
    """[32, groups] -> [groups, 34]: d, then codes."""
    largest = np.abs(x).max(axis=0)
    scale = _half(largest / LARGEST)
    # Rounded down among the smallest numbers of float16, a scale would clip.
    scale = np.where(_floats(scale) * (LARGEST + 0.5) < largest, np.nextafter(scale, np.float16(np.inf)), scale)
    codes = np.rint(x / _divisor(_floats(scale))).clip(-LARGEST, LARGEST).astype(np.int8)
    return _side_by_side(scale, codes.T)


def q4_1(x: Floats) -> Bytes:
    """[32, groups] -> [groups, 20]: d, m, then codes i and i + 16 in a byte, the first one low."""
    low, high = x.min(axis=0), x.max(axis=0)
    scale = _half((high - low) / TOP)
    minimum = _half((high + low) / 2 - _floats(scale) * (TOP / 2))
    codes = _codes(x, scale, minimum)
    mean = x.mean(axis=0)
    for _ in range(REFINEMENTS):
        middle = codes.mean(axis=0)
        apart = codes - middle
        slope = (apart * x).sum(axis=0) / _divisor((apart * apart).sum(axis=0))
        scale = _half(slope)
        minimum = _half(mean - _floats(scale) * middle)
        codes = _codes(x, scale, minimum)
    nibbles = codes.astype(np.uint8)
    return _side_by_side(scale, minimum, (nibbles[:16] | nibbles[16:] << 4).T)


def _codes(x: Floats, scale: NDArray[np.float16], minimum: NDArray[np.float16]) -> Floats:
    nearest: Floats = np.rint((x - _floats(minimum)) / _divisor(_floats(scale))).clip(0, TOP)
    return nearest


def _half(values: Floats) -> NDArray[np.float16]:
    """Raises ArithmeticError for what has no finite float16."""
    half = values.astype(np.float16)
    if not np.isfinite(half).all():
        raise ArithmeticError("a weight is not a number, or too large a one")
    return half


def _floats(half: NDArray[np.float16]) -> Floats:
    return half.astype(np.float32)


def _divisor(scale: Floats) -> Floats:
    """Where all weights of a group are the same, a scale of zero: any other gives the same codes."""
    return np.where(scale == 0, np.float32(1), scale)


def _side_by_side(*parts: NDArray[np.generic]) -> Bytes:
    """The fields of each block, one block a row."""
    return np.concatenate([np.ascontiguousarray(p.reshape(len(p), -1)).view(np.uint8) for p in parts], axis=1)


BLOCKS: dict[str, tuple[Callable[[Floats], Bytes], int]] = {"Q8_0": (q8_0, 34), "Q4_1": (q4_1, 20)}
"""Kind -> what makes its blocks, and the bytes of one."""
FORMS: dict[Quantize | None, str] = {"int8": "Q8_0", "int4": "Q4_1"}
"""What is asked for -> the kind that matrices become."""


def quantised_size(kind: str, weights: int) -> int:
    """Bytes of so many weights as blocks of `kind`."""
    return weights // GROUP * BLOCKS[kind][1]
