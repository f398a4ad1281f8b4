"""The header of a GGUF file: its metadata and where each tensor lies. Reads no weights.

Two readers find the same contents: the native one (`native/src/gguf.cpp`), which is used where it is built, and the one
below, its specification. Both check every count and length against what is left of the file before anything is
allocated. What the contents mean is judged once, in `_judged`. So a truncated, corrupt or hostile file is one sentence
(`WeightsError`) and never a crash. Source: the GGUF specification, versions 2 and 3.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeGuard

from foredraft.core.errors import WeightsError

MAGIC = b"GGUF"
VERSIONS = (2, 3)

KINDS: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}
"""Tensor type -> its name, and the values and bytes of one block. A test compares it with the gguf package."""

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Metadata value type -> its struct code."""

STRING, ARRAY = 8, 9
ALIGNMENT = 32
LONGEST_SHOWN = 60  # characters of a name in an error
DEEPEST = 4  # dimensions of a tensor
LARGEST_HEADER, MOST_ENTRIES = 1 << 26, 1 << 22
"""Bytes, and keys, tensors and items of arrays together: ten and three times what a vocabulary of 262,144 tokens takes.
No file, however large, makes its header take more than half a gigabyte of memory."""

Entry = tuple[str, tuple[int, ...], int, int]
"""A tensor as listed: name, shape, code of its type, offset from where the weights begin."""
Contents = tuple[list[tuple[str, Any]], list[Entry], int]
"""What a reader finds: keys with their values, tensors, and how many bytes all that takes. Nothing is judged yet."""
Reader = Callable[[int, int, int], Contents]
"""Of an open file's descriptor, the most bytes and the most entries. Raises ValueError with the end of a sentence."""


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
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class GGUFHeader:
    """metadata: key -> value (arrays as lists). tensors: in the file's order."""

    path: Path
    metadata: dict[str, Any]
    tensors: tuple[TensorInfo, ...]

    @property
    def architecture(self) -> str:
        """The model's family, as llama.cpp names it."""
        return str(self.metadata.get("general.architecture", "unknown"))

    def setting(self, key: str, default: Any = None) -> Any:
        """The value of `<architecture>.<key>`."""
        return self.metadata.get(f"{self.architecture}.{key}", default)


def read_header(path: Path) -> GGUFHeader:
    """Reads and checks the header. Raises WeightsError for anything that is not a whole GGUF file."""
    return _read(path, _native() or _contents)


def read_header_plain(path: Path) -> GGUFHeader:
    """The same without the native reader, and its specification: equal headers, equal sentences."""
    return _read(path, _contents)


def _native() -> Reader | None:
    """The native reader, None where it was not built."""
    try:
        reader: Reader = import_module("foredraft._native").gguf_contents
    except ImportError:
        return None
    return reader


def _read(path: Path, contents: Reader) -> GGUFHeader:
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            raise WeightsError(f"cannot read {path}: there is no such file; check the path")
        with path.open("rb") as file:
            found = contents(file.fileno(), LARGEST_HEADER, MOST_ENTRIES)
            return _judged(path, os.fstat(file.fileno()).st_size, *found)
    except ValueError as bad:
        raise WeightsError(f"{path} {bad}: it is damaged or not a GGUF file; fetch it again") from None
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}; check the path") from None


# --- what the contents mean -------------------------------------------------------------------------------------------


def _judged(path: Path, size: int, keys: list[tuple[str, Any]], listed: list[Entry], end: int) -> GGUFHeader:
    """size: of the whole file. Raises ValueError, and WeightsError for one part of several."""
    metadata = dict(keys)
    if len(metadata) != len(keys):
        raise ValueError("has a key twice")
    if not _is_count(parts := metadata.get("split.count", 1)):
        raise ValueError("does not say of how many parts it is one")
    if parts > 1:
        raise WeightsError(f"{path} is one of several parts: join them with llama-gguf-split --merge")
    alignment = metadata.get("general.alignment", ALIGNMENT)
    if not _is_count(alignment) or alignment.bit_count() != 1:
        raise ValueError("has an alignment that is not a power of two")
    begin = -(-end // alignment) * alignment
    tensors = tuple(_tensor(begin, *entry) for entry in listed)
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise ValueError("names a tensor twice")
    _check_places(tensors, alignment, size)
    return GGUFHeader(path, metadata, tensors)


def _is_count(value: Any) -> TypeGuard[int]:
    return type(value) is int and value >= 0  # True is an int too


def _tensor(begin: int, name: str, shape: tuple[int, ...], code: int, offset: int) -> TensorInfo:
    """begin: where the weights begin."""
    if code not in KINDS:
        raise ValueError(f"has a tensor {shown(name)} of unknown type {code}")
    kind, block, size = KINDS[code]
    if 0 in shape or shape[0] % block:
        raise ValueError(f"has a tensor {shown(name)} of impossible shape {shape}")
    return TensorInfo(name, shape, kind, begin + offset, math.prod(shape) // block * size)


def _check_places(tensors: tuple[TensorInfo, ...], alignment: int, size: int) -> None:
    """Raises ValueError unless each lies in the file where a tensor may begin, and no two share a byte."""
    before: TensorInfo | None = None
    for tensor in sorted(tensors, key=lambda tensor: tensor.offset):
        if tensor.offset % alignment:
            raise ValueError(f"has a tensor {shown(tensor.name)} that is not aligned to {alignment} bytes")
        if tensor.offset + tensor.nbytes > size:
            raise ValueError(f"ends before its tensor {shown(tensor.name)}")
        if before is not None and before.offset + before.nbytes > tensor.offset:
            raise ValueError(f"has tensors {shown(before.name)} and {shown(tensor.name)} that overlap")
        before = tensor


def shown(name: str) -> str:
    """A name from a file as it may stand in a sentence: short, and nothing in it acts on a terminal."""
    return repr(name if len(name) <= LONGEST_SHOWN else name[:LONGEST_SHOWN] + "...")


# --- the plain reader -------------------------------------------------------------------------------------------------


def _contents(file: int, largest: int, most: int) -> Contents:
    size = os.fstat(file).st_size
    at = _Cursor(os.pread(file, min(size, largest), 0), size, most)
    if size < len(MAGIC) or at.data[at.take(len(MAGIC)) : at.at] != MAGIC:
        raise ValueError("does not begin as a GGUF file does")
    version = at.u32()
    if version not in VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big") in VERSIONS
        raise ValueError("is big-endian" if swapped else f"is of version {version}, and only 2 and 3 are known")
    tensors, keys = at.count(24), at.count(12)  # the fewest bytes that a tensor and a key can take
    metadata = [(at.string(), at.value()) for _ in range(keys)]
    return metadata, [at.tensor() for _ in range(tensors)], at.at


class _Cursor:
    """Reads little-endian values one after another. data: the beginning of a file of `size` bytes."""

    def __init__(self, data: bytes, size: int, most: int) -> None:
        self.data, self.size, self.most, self.at = data, size, most, 0

    def take(self, count: int) -> int:
        """Moves on by `count` bytes that are there; returns where they begin."""
        begin = self.at
        if count > self.size - begin:
            raise ValueError("ends in the middle of its header")
        if count > len(self.data) - begin:
            raise ValueError("has a header that is too large")
        self.at += count
        return begin

    def scalars(self, code: str, count: int) -> list[Any]:
        layout = struct.Struct(f"<{count}{code}")
        return list(layout.unpack_from(self.data, self.take(layout.size)))

    def u32(self) -> int:
        return int(self.scalars("I", 1)[0])

    def u64(self) -> int:
        return int(self.scalars("Q", 1)[0])

    def count(self, least: int) -> int:
        """A number of items of at least `least` bytes each."""
        count = self.u64()
        if count * least > self.size - self.at:
            raise ValueError("claims more entries than it has bytes")
        if count > self.most:
            raise ValueError("claims more entries than any model has")
        self.most -= count
        return count

    def string(self) -> str:
        length = self.u64()
        if length > self.size - self.at:
            raise ValueError("claims a string longer than itself")
        begin = self.take(length)
        return str(self.data[begin : self.at], "utf-8", "replace")

    def value(self) -> Any:
        """One metadata value: its type, and what is of that type."""
        kind = self.u32()
        if kind == ARRAY:
            return self.array()
        if kind == STRING:
            return self.string()
        if kind not in SCALARS:
            raise ValueError(f"has a value of unknown type {kind}")
        return self.scalars(SCALARS[kind], 1)[0]

    def array(self) -> list[Any]:
        """Arrays of arrays are in the specification and in no model: refused."""
        kind = self.u32()
        if kind == STRING:
            return [self.string() for _ in range(self.count(8))]
        if kind not in SCALARS:
            raise ValueError(f"has an array of unsupported type {kind}")
        return self.scalars(SCALARS[kind], self.count(struct.calcsize("<" + SCALARS[kind])))

    def tensor(self) -> Entry:
        name, dimensions = self.string(), self.u32()
        if not 1 <= dimensions <= DEEPEST:
            raise ValueError(f"has a tensor of {dimensions} dimensions")
        return name, tuple(self.scalars("Q", dimensions)), self.u32(), self.u64()
