"""From named tensors to the native engine's weights: what GGUF files and directories of safetensors share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from foredraft import _native
from foredraft.core.errors import UsageError, WeightsError
from foredraft.models.quantise import Reduced

LARGEST_HEAD = 512  # components; checked before a rotation for each pair of them is computed
LARGEST_COUNT = 2**31 - 1  # that the engine's settings hold
PANEL, LONGEST_THIN = 16, 1 << 20  # rows that are packed together, and numbers in each where there are fewer


class Unsupported(WeightsError):
    """Sound weights that the native engine does not compute; another engine may."""


@dataclass(frozen=True)
class Shape:
    """A model's settings. windows, frequencies: of each layer; a window of 0 sees everything."""

    config: Any
    layers: int
    windows: tuple[int, ...]
    frequencies: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Names:
    """Where a model's tensors are. matrices, vectors: the engine's part of a layer -> its tensor, {} for the layer."""

    matrices: dict[str, str]
    vectors: dict[str, str]
    embedding: str
    norm: str
    head: str


class Tensors(Protocol):
    """The tensors of a model by name, packed when asked for. Raise WeightsError for one that is not there."""

    name: str  # of the model, for messages
    pool: Any  # the threads that pack

    def __contains__(self, name: str) -> bool: ...
    def matrix(self, name: str, *, rows: Sequence[int] | None = None) -> Any:
        """Whole, or only these rows of it, ascending. ValueError for a row that does not exist."""

    def table(self, name: str) -> Any:
        """A matrix that is looked up row by row, not multiplied with."""

    def vector(self, name: str) -> list[float]: ...


def assemble(shape: Shape, tensors: Tensors, names: Names, reduced: Reduced | None = None) -> Any:
    """Packs all tensors, one after another. Vectors that are not there are parts the model does not have."""
    says = reduced.says if reduced is not None else None
    if says is not None and not (says and min(says) >= 0 and max(says) < shape.config.vocabulary):
        raise UsageError(f"a draft head of {tensors.name} needs tokens from 0 to {shape.config.vocabulary - 1}")
    layers = []
    for number in range(shape.layers):
        layer = _native.Layer()
        for part, name in names.matrices.items():
            setattr(layer, part, tensors.matrix(name.format(number)))
        layer.pair(tensors.pool)
        for part, name in names.vectors.items():
            if name.format(number) in tensors:
                setattr(layer, part, tensors.vector(name.format(number)))
        window = shape.windows[number]
        layer.window = window if window < shape.config.context else 0
        layer.frequencies = list(shape.frequencies[number])
        layers.append(layer)
    embedding = tensors.table(names.embedding)
    tied = names.head not in tensors
    own = names.embedding if tied else names.head
    head = embedding if tied and reduced is None else tensors.matrix(own, rows=says)
    with sentences(tensors.name):
        norm = tensors.vector(names.norm)
        return _native.Weights(shape.config, layers, norm, embedding, head, tensors.pool, list(says or ()))


@contextmanager
def sentences(where: str) -> Iterator[None]:
    """Turns what packing finds wrong into an error for the user: damage, or what the engine does not compute."""
    try:
        yield
    except ArithmeticError as error:
        raise WeightsError(f"{where}: {error}: fetch it again") from error
    except ValueError as error:
        raise Unsupported(f"{where}: {error}; choose --engine hf") from error


def pack(kind: str, outputs: int, inputs: int, stored: Any, pool: Any) -> Any:
    """A packed tensor. Raises as `_native.Packed.of`, and ValueError where filling up rows would take all memory."""
    if outputs < PANEL and inputs > LONGEST_THIN:
        raise ValueError(f"rows of {inputs} numbers, and {outputs} of them, are of no model")
    return _native.Packed.of(kind, outputs, inputs, stored, pool)


def rotations(base: float, rotated: int, divisors: Sequence[float]) -> tuple[float, ...]:
    """Radians a position, for each pair of components (2104.09864, section 3.4.2; rounded to f32), divided.

    Raises ValueError for divisors that are too few, too many or too small.
    """
    if len(divisors) != rotated // 2:
        raise ValueError(f"{len(divisors)} factors for {rotated // 2} rotations")
    with np.errstate(all="ignore"):
        plain = np.array([1.0 / base ** (2 * pair / rotated) for pair in range(rotated // 2)], dtype=np.float32)
        found = plain / np.asarray(divisors, dtype=np.float32)
    if not np.isfinite(found).all():
        raise ValueError("rotations that are not numbers")
    return tuple(found.tolist())


def count(value: Any, key: str, *, least: int = 1, most: float = LARGEST_COUNT) -> int:
    """A setting that is a whole number. Raises KeyError with its key for anything else; True is no number."""
    if type(value) is not int or not least <= value <= most:
        raise KeyError(key)
    return value


def number(value: Any, key: str) -> float:
    """A setting that is a positive number. Raises KeyError with its key for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise KeyError(key)
    return float(value)
