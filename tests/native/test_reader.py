"""The native reader of GGUF headers and the plain one find the same, and what was written."""

from __future__ import annotations

import os
import random
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damage import rewrite
from foredraft import _native
from foredraft.core.errors import WeightsError
from foredraft.models import gguf_header
from foredraft.models.gguf_header import LARGEST_HEADER, MOST_ENTRIES, Contents, read_header, read_header_plain
from foredraft.models.sources import models_folder
from gguf_by_hand import ARRAY, CODES, F32, STRING, U8, U32, Key, Tensor, sheet
from vocabularies import write_gguf

PLAIN, NATIVE = gguf_header._contents, _native.gguf_contents
PRESENT = sorted(models_folder().glob("*.gguf"))


def found(reader: gguf_header.Reader, path: Path, largest: int = LARGEST_HEADER, most: int = MOST_ENTRIES) -> Any:
    """What a reader finds in a file, as text (in which two NaNs are equal), or the end of its sentence."""
    file = os.open(path, os.O_RDONLY)
    try:
        return repr(reader(file, largest, most))
    except ValueError as error:
        return error
    finally:
        os.close(file)


def same(path: Path, **limits: int) -> str:
    """What both readers find."""
    plain, native = found(PLAIN, path, **limits), found(NATIVE, path, **limits)
    assert (type(native), str(native)) == (type(plain), str(plain))
    return str(native)


def test_the_native_reader_is_the_one_that_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gguf_header._native() is NATIVE
    monkeypatch.setitem(sys.modules, "foredraft._native", None)  # what an import finds where it was not built
    assert gguf_header._native() is None


def test_without_it_the_plain_reader_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_gguf(tmp_path / "m.gguf", "qwen2")
    native = read_header(path)
    monkeypatch.setitem(sys.modules, "foredraft._native", None)
    assert read_header(path) == read_header_plain(path) == native


@pytest.mark.parametrize("path", PRESENT, ids=lambda path: path.name)
def test_real_files_read_the_same(path: Path) -> None:
    native = read_header(path)
    assert native == read_header_plain(path)
    assert native.metadata
    assert native.tensors


@pytest.mark.parametrize("family", ["gpt-2", "smollm", "qwen2", "llama-bpe"])
def test_files_of_the_formats_own_writer_read_the_same(tmp_path: Path, family: str) -> None:
    path = write_gguf(tmp_path / "m.gguf", family, padding=3)
    assert read_header(path) == read_header_plain(path)


# --- what was written is what is read ---------------------------------------------------------------------------------

LIMITS = {code: struct.calcsize("<" + code) * 8 for code in "BHIQbhiq"}


def items(kind: int) -> st.SearchStrategy[Any]:
    code = CODES.get(kind, "s")
    match code:
        case "s":
            return st.binary(max_size=20) | st.text(max_size=8).map(str.encode)
        case "?":
            return st.booleans()
        case "f" | "d":
            return st.floats(width=32 if code == "f" else 64)
        case "B" | "H" | "I" | "Q":
            return st.integers(0, 2 ** LIMITS[code] - 1)
    return st.integers(-(2 ** (LIMITS[code] - 1)), 2 ** (LIMITS[code] - 1) - 1)


KINDS = st.sampled_from([*CODES, STRING])
VALUES = KINDS.flatmap(lambda kind: st.tuples(st.just(kind), items(kind)))
ARRAYS = KINDS.flatmap(lambda kind: st.tuples(st.just(kind), st.lists(items(kind), max_size=9)))
KEYS = st.tuples(st.binary(max_size=12), VALUES | ARRAYS.map(lambda array: (ARRAY, array))).map(
    lambda key: (key[0], *key[1])
)
U64S = st.integers(0, 2**64 - 1)
SHAPES = st.lists(U64S, min_size=1, max_size=4).map(tuple)
TENSORS = st.tuples(st.binary(max_size=12), SHAPES, st.integers(0, 2**32 - 1), U64S)


def text(value: Any) -> Any:
    """As Python has it: bytes are text, whatever they are."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def expected(keys: list[Key], tensors: list[Tensor], end: int) -> Contents:
    values = [value if kind != ARRAY else list(map(text, value[1])) for _, kind, value in keys]
    named = [(text(name), text(value)) for (name, _, _), value in zip(keys, values)]
    return named, [(text(name), shape, code, offset) for name, shape, code, offset in tensors], end


@given(st.lists(KEYS, max_size=6), st.lists(TENSORS, max_size=4), st.sampled_from([2, 3]), st.integers(0, 40))
def test_both_find_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, keys: list[Key], tensors: list[Tensor], version: int, behind: int
) -> None:
    content = sheet(keys, tensors, version=version, alignment=1).content
    path = tmp_path_factory.getbasetemp() / "written.gguf"
    rewrite(path, content + bytes(behind))
    assert same(path) == repr(expected(keys, tensors, len(content)))


@given(st.lists(KEYS, max_size=4), st.lists(TENSORS, max_size=2), st.data())
def test_both_keep_the_same_limits(
    tmp_path_factory: pytest.TempPathFactory, keys: list[Key], tensors: list[Tensor], data: st.DataObject
) -> None:
    content = sheet(keys, tensors).content
    path = tmp_path_factory.getbasetemp() / "limited.gguf"
    rewrite(path, content)
    same(path, largest=data.draw(st.integers(0, len(content) + 1)), most=data.draw(st.integers(0, 20)))


def test_every_limit_is_exact(tmp_path: Path) -> None:
    keys: list[Key] = [(b"a", ARRAY, (U8, [1, 2, 3])), (b"b", ARRAY, (STRING, [b"x", b"y"]))]
    content = sheet(keys, [(b"t", (32,), 0, 0)], alignment=1).content
    path = tmp_path / "m.gguf"
    path.write_bytes(content + bytes(1))
    whole = repr(expected(keys, [(b"t", (32,), 0, 0)], len(content)))
    assert same(path, largest=len(content), most=8) == whole  # two keys, a tensor, three and two items
    assert same(path, largest=len(content) - 1, most=8) == "has a header that is too large"
    assert same(path, largest=len(content), most=7) == "claims more entries than any model has"


def test_long_headers_are_read_in_steps(tmp_path: Path) -> None:
    """Three megabytes of strings: some lie across the ends of what is read at a time."""
    random.seed(5)
    words = [random.randbytes(random.randrange(100)) for _ in range(60_000)]
    keys: list[Key] = [(b"words", ARRAY, (STRING, words)), (b"long", STRING, bytes(2_000_000)), (b"n", U32, 7)]
    content = sheet(keys, [], alignment=1).content
    assert len(content) > 5_000_000
    (tmp_path / "m.gguf").write_bytes(content)
    assert same(tmp_path / "m.gguf") == repr(expected(keys, [], len(content)))


def test_truth_and_numbers_have_the_same_types(tmp_path: Path) -> None:
    """A bool is true for any byte but zero; a NaN is one whatever its bits."""
    written = sheet([(b"a", ARRAY, (U8, [0, 1, 2, 255])), (b"b", ARRAY, (U32, [0x7F800001, 0xFFFFFFFF]))], [])
    content = written.content
    for at, size in written.numbers:  # the types of the items: u8 becomes bool, u32 becomes f32
        if size == 4 and content[at : at + 4] == struct.pack("<I", ARRAY):
            content[at + 4] = {U8: 7, U32: F32}[content[at + 4]]
    (tmp_path / "m.gguf").write_bytes(content)
    assert same(tmp_path / "m.gguf").startswith("([('a', [False, True, True, True]), ('b', [nan, nan])]")


@pytest.mark.parametrize("reader", [PLAIN, NATIVE])
def test_a_file_that_is_not_open_is_an_error_of_the_system(reader: gguf_header.Reader) -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        reader(-1, 100, 100)


@pytest.mark.parametrize("read", [read_header, read_header_plain])
def test_what_is_no_file_is_never_waited_for(tmp_path: Path, read: Any) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (
        tmp_path / "pipe",
        tmp_path,
        tmp_path / "none",
        Path("nul\0"),
        tmp_path / ("x" * 300),
        Path("/dev/zero"),
    ):
        with pytest.raises(WeightsError, match="check the path"):
            read(path)
