"""GGUF headers written by hand, right or wrong, with a note of where every number in them lies."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Value type -> struct code, of the specification."""
U8, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64 = 0, 4, 5, 6, 7, 8, 9, 10, 11

Key = tuple[bytes, int, Any]
"""Name, type, value; of an array the value is (type of the items, items)."""
Tensor = tuple[bytes, tuple[int, ...], int, int]
"""Name, shape, code of the type, offset from where the weights begin."""


@dataclass
class Sheet:
    """What has been written. numbers: (where, how many bytes) of all counts, lengths, types, sizes and offsets,
    and of unsigned values."""

    content: bytearray = field(default_factory=bytearray)
    numbers: list[tuple[int, int]] = field(default_factory=list)

    def number(self, code: str, value: int) -> None:
        self.numbers.append((len(self.content), struct.calcsize("<" + code)))
        self.content += struct.pack("<" + code, value)

    def string(self, text: bytes) -> None:
        self.number("Q", len(text))
        self.content += text

    def item(self, kind: int, value: Any) -> None:
        if kind == STRING:
            self.string(value)
        elif CODES[kind] in "BHIQ":
            self.number(CODES[kind], value)
        else:
            self.content += struct.pack("<" + CODES[kind], value)

    def key(self, name: bytes, kind: int, value: Any) -> None:
        self.string(name)
        self.number("I", kind)
        if kind != ARRAY:
            return self.item(kind, value)
        item, values = value
        self.number("I", item)
        self.number("Q", len(values))
        for one in values:
            self.item(item, one)

    def tensor(self, name: bytes, shape: tuple[int, ...], code: int, offset: int) -> None:
        self.string(name)
        self.number("I", len(shape))
        for size in shape:
            self.number("Q", size)
        self.number("I", code)
        self.number("Q", offset)


def sheet(keys: list[Key], tensors: list[Tensor], weights: int = 0, version: int = 3, alignment: int = 32) -> Sheet:
    """A file with these keys and tensors and `weights` bytes of zeros behind the padding."""
    out = Sheet(bytearray(b"GGUF"))
    out.number("I", version)
    out.number("Q", len(tensors))
    out.number("Q", len(keys))
    for key in keys:
        out.key(*key)
    for tensor in tensors:
        out.tensor(*tensor)
    out.content += bytes(-len(out.content) % alignment + weights)
    return out
