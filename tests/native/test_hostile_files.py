"""GGUF files that lie: each is a valid header or one sentence, in little memory, and both readers say the same.

Files are made here, then damaged anywhere, and every number in them is replaced by those that break readers. The seeds
are fixed, so a case that fails, fails for everybody. tests/native/test_hostile_safetensors.py is the same for those.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from damage import EDGES, MEGABYTE, damaged, memory_for, rewrite, write_holes
from foredraft.core.errors import WeightsError
from foredraft.models.gguf_header import GGUFHeader, read_header, read_header_plain
from gguf_by_hand import ARRAY, BOOL, F32, I32, I64, STRING, U8, U32, U64, Key, Sheet, Tensor, sheet
from vocabularies import write_gguf

Read = Callable[[Path], GGUFHeader]


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    with memory_for(64 * MEGABYTE):
        yield


def test_the_bound_on_memory_bites() -> None:
    with pytest.raises(MemoryError):
        np.empty(1024 * MEGABYTE, np.uint8)  # far more: the process may hold memory that it does not use


def one_of_each() -> Sheet:
    keys: list[Key] = [
        (b"general.architecture", STRING, b"llama"),
        (b"general.alignment", U32, 64),
        (b"tokens", ARRAY, (STRING, [b"a", b"", "日本".encode(), b"\xff\xfe"])),
        (b"types", ARRAY, (U32, [1, 2, 3])),
        (b"scores", ARRAY, (F32, [0.5, -1.0])),
        (b"flags", ARRAY, (BOOL, [True, False])),
        (b"bytes", ARRAY, (U8, [9, 8])),
        (b"split.count", 2, 1),
        *((b"kind.%d" % kind, kind, 1) for kind in (0, 1, 3, 5, 6, 7, 10, 11, 12)),
    ]
    tensors = [(b"a", (32, 4), 0, 0), (b"b", (64, 2), 8, 512), (b"c", (7,), 0, 704), (b"d", (2, 2, 2, 2), 1, 768)]
    return sheet(keys, tensors, 800, alignment=64)


def no_keys() -> Sheet:
    return sheet([], [(b"t", (256, 2), 12, 0)], 288)


def says(path: Path) -> tuple[str, GGUFHeader | None]:
    """What both readers say of a file: the kind of sentence and the header, None for one that was refused."""

    def said(read: Read) -> tuple[str, GGUFHeader | None]:
        try:
            header = read(path)
        except WeightsError as error:
            return str(error), None
        return repr(header), header  # as text, in which two NaNs are equal

    (plain, _), (native, header) = said(read_header_plain), said(read_header)
    assert native == plain
    sentence = native.removeprefix(str(path)).split(":")[0]
    return re.sub(r"'.*?'|\".*?\"|\d+|\(.*\)", "_", sentence) if header is None else "a header", header


def check(header: GGUFHeader, size: int) -> None:
    """Every tensor has bytes of its own in the file, as many as its shape says."""
    taken = np.zeros(size + 1, np.int64)
    for tensor in header.tensors:
        assert tensor.offset + tensor.nbytes <= size
        assert tensor.count > 0 < tensor.nbytes
        taken[tensor.offset] += 1
        taken[tensor.offset + tensor.nbytes] -= 1
    assert np.cumsum(taken).max(initial=0) <= 1


def tried(path: Path, contents: Iterator[bytes]) -> Counter[str]:
    """How often each was said of the contents of a file, every header checked."""
    out: Counter[str] = Counter()
    for content in contents:
        rewrite(path, content)
        sentence, header = says(path)
        if header is not None:
            check(header, len(content))
        out[sentence] += 1
    return out


SENTENCES = {
    "a header",
    " does not begin as a GGUF file does",
    " is big-endian",
    " is of version _, and only _ and _ are known",
    " is one of several parts",
    " ends in the middle of its header",
    " claims more entries than it has bytes",
    " claims a string longer than itself",
    " has a value of unknown type _",
    " has an array of unsupported type _",
    " has a tensor of _ dimensions",
    " has a key twice",
    " does not say of how many parts it is one",
    " has an alignment that is not a power of two",
    " names a tensor twice",
    " has a tensor _ of unknown type _",
    " has a tensor _ of impossible shape _",
    " has a tensor _ that is not aligned to _ bytes",
    " ends before its tensor _",
    " has tensors _ and _ that overlap",
}


NOT_BY_A_NUMBER = {
    " does not begin as a GGUF file does",
    " is big-endian",
    " ends in the middle of its header",
    " has a key twice",
    " names a tensor twice",
    " does not say of how many parts it is one",
}


def replaced(whole: Sheet, which: int, value: int) -> bytes:
    """The file with another value for one of its numbers."""
    at, size = whole.numbers[which]
    return bytes(whole.content[:at] + (value % 256**size).to_bytes(size, "little") + whole.content[at + size :])


def test_every_number_of_a_file_replaced(tmp_path: Path) -> None:
    def contents() -> Iterator[bytes]:
        for whole in (one_of_each(), no_keys()):
            for which, (at, size) in enumerate(whole.numbers):
                before = int.from_bytes(whole.content[at : at + size], "little")
                for value in {*EDGES, *range(0, 41, 2), before - 1, before + 1, before + 32, before + 64}:
                    yield replaced(whole, which, value)

    found = tried(tmp_path / "m.gguf", contents())
    assert found["a header"] > 100
    assert set(found) == SENTENCES - NOT_BY_A_NUMBER


def test_every_cut_of_a_file(tmp_path: Path) -> None:
    whole = bytes(one_of_each().content)
    found = tried(tmp_path / "m.gguf", (whole[:length] for length in range(len(whole))))
    assert found["a header"] == 0
    assert set(found) <= SENTENCES


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    files = [bytes(one_of_each().content), bytes(no_keys().content)]
    if seed == 0:
        files.append(write_gguf(tmp_path / "real.gguf", "qwen2").read_bytes())
    found = tried(tmp_path / "m.gguf", (damaged(chance.choice(files), chance) for _ in range(1000)))
    assert found["a header"] > 50
    assert len(found) > 10
    assert set(found) <= SENTENCES


def aligned(kind: int, value: object, *tensors: Tensor) -> Sheet:
    return sheet([(b"general.alignment", kind, value)], list(tensors), 32)


HOSTILE = [
    (sheet([(b"k", U32, 1)] * 2, []), "has a key twice"),
    (sheet([(b"split.count", STRING, b"2")], []), "does not say of how many parts it is one"),
    (sheet([(b"split.count", I32, -2)], []), "does not say of how many parts it is one"),
    (aligned(U32, 48), "has an alignment that is not a power of two"),
    (aligned(BOOL, True), "has an alignment that is not a power of two"),
    (aligned(F32, 32.0), "has an alignment that is not a power of two"),
    (aligned(I64, -32), "has an alignment that is not a power of two"),
    (aligned(U64, 2**63, (b"t", (8,), 0, 0)), "ends before its tensor 't'"),
    (sheet([], [(b"a", (8,), 0, 0), (b"b", (8,), 0, 0)], 64), "has tensors 'a' and 'b' that overlap"),
    (sheet([], [(b"b", (16,), 0, 32), (b"a", (9,), 0, 0)], 96), "has tensors 'a' and 'b' that overlap"),
    (sheet([], [(b"a", (64,), 0, 0), (b"b", (8,), 0, 32)], 256), "has tensors 'a' and 'b' that overlap"),
    (sheet([], [(b"t", (8,), 0, 4)], 64), "has a tensor 't' that is not aligned to 32 bytes"),
    (sheet([], [(b"t", (8,), 0, 2**64 - 32)], 64), "ends before its tensor 't'"),
    (sheet([], [(b"t", (8,), 0, 32)], 63), "ends before its tensor 't'"),
    (sheet([], [(b"t", (2**32, 2**32), 0, 0)], 64), "ends before its tensor 't'"),  # 2**66 bytes: 0 in 64 bits
    (sheet([], [(b"t", (2**64 - 1, 2), 0, 0)], 64), "ends before its tensor 't'"),
    (sheet([], [(b"t", (2**63, 1), 0, 0)], 64), "ends before its tensor 't'"),
    (sheet([(b"k", ARRAY, (ARRAY, []))], []), "has an array of unsupported type 9"),
]


@pytest.mark.parametrize("read", [read_header, read_header_plain])
@pytest.mark.parametrize(("whole", "sentence"), HOSTILE)
def test_what_a_hostile_file_claims_is_named(tmp_path: Path, whole: Sheet, sentence: str, read: Read) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(whole.content)
    with pytest.raises(WeightsError) as caught:
        read(path)
    assert str(caught.value) == f"{path} {sentence}: it is damaged or not a GGUF file; fetch it again"


def test_tensors_in_any_order_with_room_between_them_are_fine(tmp_path: Path) -> None:
    whole = sheet([], [(b"b", (8,), 0, 128), (b"a", (8,), 0, 0), (b"c", (8,), 0, 32)], 160)
    assert tried(tmp_path / "m.gguf", iter([bytes(whole.content)])) == {"a header": 1}


EMPTY, BYTES, WORD = sheet([], []), sheet([(b"k", ARRAY, (U8, []))], []), sheet([(b"k", STRING, b"")], [])
TENSOR = sheet([], [(b"", (1,), 0, 0)])


@pytest.mark.parametrize(
    ("begins", "sentence"),
    [
        (replaced(EMPTY, 1, 2**30), " claims more entries than any model has"),
        (replaced(EMPTY, 2, 2**30), " claims more entries than any model has"),
        (replaced(BYTES, 6, 2**39), " claims more entries than any model has"),
        (replaced(BYTES, 3, 2**39), " has a header that is too large"),  # the name of a key
        (replaced(WORD, 5, 2**39), " has a header that is too large"),
        (replaced(TENSOR, 3, 2**39), " has a header that is too large"),
    ],
)
def test_claims_that_a_huge_file_could_hold_take_no_memory(tmp_path: Path, begins: bytes, sentence: str) -> None:
    """A terabyte of holes: every count fits, and none is believed."""
    path = write_holes(tmp_path / "m.gguf", begins, 1 << 40)
    with memory_for(160 * MEGABYTE):  # the plain reader takes the 64 MB that a header may have
        assert says(path) == (sentence, None)


def test_a_name_cannot_act_on_the_terminal_or_fill_it(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(sheet([], [(b"\x1b[2J\r\n" + b"x" * 10_000, (31,), 8, 0)], 64).content)
    with pytest.raises(WeightsError) as caught:
        read_header(path)
    sentence = str(caught.value).removeprefix(str(path))
    assert sentence.isprintable()
    assert len(sentence) < 250
