"""The header of a GGUF file: metadata and where each tensor lies. Nothing is believed before it is checked.

Written for speed (a vocabulary is 150,000 strings) and for hostile files: every count is capped by the bytes that are
left before anything is allocated, and every tensor must lie inside the file. Format: ggml's gguf.md, versions 2 and 3.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from foredraft.core.errors import WeightsError

MAGIC = b"GGUF"
DEEPEST = 4  # dimensions of a tensor
ALIGNMENT = 32

# Value types of metadata; 8 is a string, 9 an array.
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9


@dataclass(frozen=True)
class TensorInfo:
    """shape: as stored, the fastest dimension first. kind: ggml's name of the type. offset: from the file's start."""

    name: str
    shape: tuple[int, ...]
    kind: str
    offset: int
    nbytes: int

    @property
    def count(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class GGUFHeader:
    """metadata: key -> value (arrays as lists). tensors: in the file's order."""

    path: Path
    metadata: dict[str, Any]
    tensors: tuple[TensorInfo, ...]

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", "unknown"))

    def setting(self, key: str, default: Any = None) -> Any:
        """The value of `<architecture>.<key>`."""
        return self.metadata.get(f"{self.architecture}.{key}", default)


class _Cursor:
    """Reads onwards through a buffer; whatever does not fit is a WeightsError."""

    def __init__(self, data: mmap.mmap, fail: Callable[[str], NoReturn]) -> None:
        self.data, self.at, self.size, self.fail = data, 0, len(data), fail

    def take(self, layout: str) -> Any:
        size = struct.calcsize("<" + layout)
        if self.at + size > self.size:
            self.fail("ends in the middle of its header")
        (value,) = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += size
        return value

    def count(self, least: int) -> int:
        """A count of items that take at least `least` bytes each."""
        number = int(self.take("Q"))
        if number * least > self.size - self.at:
            self.fail("claims more entries than it has bytes")
        return number

    def string(self) -> str:
        length = self.count(1)
        text = self.data[self.at : self.at + length]
        self.at += length
        return text.decode("utf-8", errors="replace")

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            return self.array()
        if kind not in SCALARS:
            self.fail(f"has a value of unknown type {kind}")
        return self.take(SCALARS[kind])

    def array(self) -> list[Any]:
        kind = self.take("I")
        if kind == STRING:
            return [self.string() for _ in range(self.count(8))]
        if kind not in SCALARS:
            self.fail(f"has an array of unsupported type {kind}")
        width = struct.calcsize("<" + SCALARS[kind])
        number = self.count(width)
        values = struct.unpack_from(f"<{number}{SCALARS[kind]}", self.data, self.at)
        self.at += number * width
        return list(values)


def read_header(path: Path) -> GGUFHeader:
    """Reads and checks the header. Raises WeightsError for anything that is not a whole GGUF file."""

    def fail(what: str) -> NoReturn:
        raise WeightsError(f"{path} {what}: it is damaged or not a GGUF file; fetch it again")

    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if size < 24 or file.read(4) != MAGIC:
                fail("does not begin as a GGUF file does")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _read(path, _Cursor(data, fail))
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}; check the path") from None


def _read(path: Path, cursor: _Cursor) -> GGUFHeader:
    cursor.at = 4
    version = cursor.take("I")
    if version not in (2, 3):
        cursor.fail(f"is of version {version}, and only 2 and 3 are known")
    tensors, entries = cursor.count(1), cursor.count(1)
    metadata: dict[str, Any] = {}
    for _ in range(entries):
        key = cursor.string()
        metadata[key] = cursor.value(cursor.take("I"))
    found = [_tensor(cursor) for _ in range(tensors)]
    alignment = metadata.get("general.alignment", ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1:
        cursor.fail(f"has an alignment of {alignment}")
    start = -(-cursor.at // alignment) * alignment
    placed = []
    for name, shape, kind, offset in found:
        nbytes = _nbytes(cursor, name, shape, kind)
        if start + offset + nbytes > cursor.size:
            cursor.fail(f"ends before its tensor {name!r}")
        placed.append(TensorInfo(name, shape, _kind_name(kind), start + offset, nbytes))
    return GGUFHeader(path, metadata, tuple(placed))


def _tensor(cursor: _Cursor) -> tuple[str, tuple[int, ...], int, int]:
    name = cursor.string()
    dimensions = cursor.take("I")
    if not 1 <= dimensions <= DEEPEST:
        cursor.fail(f"has a tensor {name!r} of {dimensions} dimensions")
    shape = tuple(int(cursor.take("Q")) for _ in range(dimensions))
    kind, offset = cursor.take("I"), cursor.take("Q")
    return name, shape, kind, offset


def _nbytes(cursor: _Cursor, name: str, shape: tuple[int, ...], kind: int) -> int:
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    except (ValueError, KeyError):
        cursor.fail(f"has a tensor {name!r} of unknown type {kind}")
    if any(side < 1 for side in shape) or shape[0] % block:
        cursor.fail(f"has a tensor {name!r} of impossible shape {shape}")
    return math.prod(shape) // int(block) * int(size)


def _kind_name(kind: int) -> str:
    from gguf.constants import GGMLQuantizationType

    return str(GGMLQuantizationType(kind).name)
