"""The header of a GGUF file: its metadata and where each tensor lies. Reads no weights.

Every count and length is checked against what is left of the file before anything is allocated, so a truncated, corrupt
or hostile file is one sentence (`WeightsError`) and never a crash. Source: the GGUF specification, versions 2 and 3.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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
DEEPEST = 4  # dimensions of a tensor
U32, U64 = struct.Struct("<I"), struct.Struct("<Q")


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


class _Bad(Exception):
    """What is wrong with the file, as the end of a sentence."""


def read_header(path: Path) -> GGUFHeader:
    """Reads and checks the header. Raises WeightsError for anything that is not a whole GGUF file."""
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise _Bad("does not begin as a GGUF file does")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _header(path, _Cursor(data))
    except struct.error:
        raise WeightsError(f"{path} ends in the middle of its header: it is damaged; fetch it again") from None
    except _Bad as bad:
        raise WeightsError(f"{path} {bad}: it is damaged or not a GGUF file; fetch it again") from None
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}; check the path") from None


def _header(path: Path, at: _Cursor) -> GGUFHeader:
    version = at.u32()
    if version not in VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big") in VERSIONS
        raise _Bad("is big-endian" if swapped else f"is of version {version}, and only 2 and 3 are known")
    tensor_count, key_count = at.count(24), at.count(12)  # the fewest bytes that a tensor and a key can take
    metadata: dict[str, Any] = {}
    for _ in range(key_count):
        key = at.string()
        metadata[key] = at.value(at.u32())
    parts = metadata.get("split.count", 1)
    if isinstance(parts, int) and parts > 1:
        raise WeightsError(f"{path} is one of several parts: join them with llama-gguf-split --merge")
    alignment = metadata.get("general.alignment", ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1:
        raise _Bad(f"has an alignment of {alignment}")
    listed = [_tensor(at) for _ in range(tensor_count)]
    start = -(-at.at // alignment) * alignment
    placed = tuple(replace(tensor, offset=start + tensor.offset) for tensor in listed)
    for tensor in placed:
        if tensor.offset + tensor.nbytes > at.size:
            raise _Bad(f"ends before its tensor {tensor.name!r}")
    if len({tensor.name for tensor in placed}) != len(placed):
        raise _Bad("names a tensor twice")
    return GGUFHeader(path, metadata, placed)


def _tensor(at: _Cursor) -> TensorInfo:
    """One entry of the tensor list, its offset still relative to where the weights begin."""
    name, dimensions = at.string(), at.u32()
    if not 1 <= dimensions <= DEEPEST:
        raise _Bad(f"has a tensor {name!r} of {dimensions} dimensions")
    shape = tuple(at.u64() for _ in range(dimensions))
    code, offset = at.u32(), at.u64()
    if code not in KINDS:
        raise _Bad(f"has a tensor {name!r} of unknown type {code}")
    kind, block, size = KINDS[code]
    if 0 in shape or shape[0] % block:
        raise _Bad(f"has a tensor {name!r} of impossible shape {shape}")
    return TensorInfo(name, shape, kind, offset, math.prod(shape) // block * size)


class _Cursor:
    """Reads little-endian values one after another; running past the end is a struct.error."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.size, self.at = data, len(data), len(MAGIC)

    def u32(self) -> int:
        (value,) = U32.unpack_from(self.data, self.at)
        self.at += 4
        return int(value)

    def u64(self) -> int:
        (value,) = U64.unpack_from(self.data, self.at)
        self.at += 8
        return int(value)

    def count(self, least: int) -> int:
        """A number of items of at least `least` bytes each."""
        count = self.u64()
        if count * least > self.size - self.at:
            raise _Bad("claims more entries than it has bytes")
        return count

    def string(self) -> str:
        return self.strings(1)[0]

    def strings(self, count: int) -> list[str]:
        # Local names: a vocabulary is some 300,000 strings, and this loop is all the time a header takes.
        data, end, at, length_at = self.data, self.size, self.at, U64.unpack_from
        out = []
        for _ in range(count):
            (length,) = length_at(data, at)
            at += 8
            if length > end - at:
                raise _Bad("claims a string longer than itself")
            out.append(str(data[at : at + length], "utf-8", "replace"))
            at += length
        self.at = at
        return out

    def value(self, kind: int) -> Any:
        """One metadata value of the given type."""
        if kind == STRING:
            return self.string()
        if kind in SCALARS:
            return self.scalars(kind, 1)[0]
        if kind != ARRAY:
            raise _Bad(f"has a value of unknown type {kind}")
        item = self.u32()
        if item == STRING:
            return self.strings(self.count(8))
        if item not in SCALARS:
            raise _Bad(f"has an array of unsupported type {item}")
        return self.scalars(item, self.count(struct.calcsize("<" + SCALARS[item])))

    def scalars(self, kind: int, count: int) -> list[Any]:
        layout = struct.Struct(f"<{count}{SCALARS[kind]}")
        values = layout.unpack_from(self.data, self.at)
        self.at += layout.size
        return list(values)
