"""Safetensors files that lie: each is a valid header or one sentence, in little memory."""

from __future__ import annotations

import json
import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from damage import MEGABYTE, damaged, memory_for, rewrite, write_holes
from foredraft.core.errors import WeightsError
from foredraft.models.directories import BITS, read_json, safetensors_header


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    with memory_for(64 * MEGABYTE):
        yield


def tensors_file() -> bytes:
    from safetensors.numpy import save

    tensors = {"a": np.zeros((2, 3), np.float32), "b": np.ones(4, np.float16), "e": np.zeros((0, 3), np.int64)}
    return save(tensors | {"w": np.arange(5, dtype=np.uint8)}, {"format": "pt"})


def framed(header: str | bytes, weights: int) -> bytes:
    encoded = header.encode() if isinstance(header, str) else header
    return len(encoded).to_bytes(8, "little") + encoded + bytes(weights)


def accepted(path: Path, content: bytes) -> dict[str, Any] | None:
    """The header of a file with this content, its promises checked; None when it was refused."""
    rewrite(path, content)
    try:
        tensors = safetensors_header(path)
    except WeightsError:
        return None
    begins = 8 + int.from_bytes(content[:8], "little")
    taken = np.zeros(len(content) - begins, np.int64)
    for name, entry in tensors.items():
        begin, end = entry["data_offsets"]
        assert 0 <= begin <= end <= len(taken)
        taken[begin:end] += 1
        assert all(size >= 0 for size in entry["shape"])
        if entry["dtype"] in BITS:
            assert (end - begin) * 8 == BITS[entry["dtype"]] * int(np.prod(entry["shape"], dtype=object)), name
    assert (taken == 1).all()
    return tensors


NUMBERS = ["-1", "-0", "0", "1", "3", "7", "8", "1.0", "1e400", "NaN", "true", "null", '"4"', "[]", "[1]", "{}"]
NUMBERS += [str(2**32), str(2**63 - 1), str(2**63), str(2**64), "9" * 5000, "[" * 100_000, "[2," * 50 + "2" + "]" * 50]


def test_every_number_of_a_tensors_file_replaced(tmp_path: Path) -> None:
    content = tensors_file()
    begins = 8 + int.from_bytes(content[:8], "little")
    header, weights = content[8:begins].decode(), len(content) - begins
    assert accepted(tmp_path / "m.safetensors", framed(header, weights)) is not None
    places = list(re.finditer(r"(?<=[\[,])\d+(?=[\],])", header))
    assert len(places) == 6 + 8
    outcomes: Counter[bool] = Counter()
    for place in places:
        for number in NUMBERS:
            changed = header[: place.start()] + number + header[place.end() :]
            outcomes[accepted(tmp_path / "m.safetensors", framed(changed, weights)) is not None] += 1
    assert outcomes[True] >= len(places) / 2  # some replace a number by itself
    assert outcomes[False] > 200


@pytest.mark.parametrize("seed", range(4))
def test_damaged_tensors_files(tmp_path: Path, seed: int) -> None:
    chance, whole = random.Random(seed), tensors_file()
    outcomes: Counter[bool] = Counter()
    for _ in range(1000):
        outcomes[accepted(tmp_path / "m.safetensors", damaged(whole, chance)) is not None] += 1
    assert outcomes[True] > 10
    assert outcomes[False] > 500


def test_what_is_accepted_the_formats_own_library_opens(tmp_path: Path) -> None:
    from safetensors import safe_open

    chance, whole = random.Random(7), tensors_file()
    for _ in range(1000):
        content = damaged(whole, chance)
        if tensors := accepted(tmp_path / "m.safetensors", content):
            if not {entry["dtype"] for entry in tensors.values()} <= set(BITS):
                continue  # of a type that a newer library may know
            with safe_open(tmp_path / "m.safetensors", "np") as opened:
                assert set(opened.keys()) == set(tensors)


ENTRY = '{"dtype":"U8","shape":[2],"data_offsets":[0,2]}'


def one(shape: str, place: str, weights: int, dtype: str = "U8", name: str = "a") -> bytes:
    """A file with one tensor."""
    return framed(f'{{"{name}":{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[{place}]}}}}', weights)


def two(second: str, weights: int, name: str = "b") -> bytes:
    """A file with two tensors, the first in bytes 0 and 1."""
    return framed(f'{{"a":{ENTRY},"{name}":{second}}}', weights)


WRONG = {
    "a key twice": two(ENTRY.replace("0,2", "2,4"), 4, name="a"),
    "a field twice": framed('{"a":{"dtype":"U8","shape":[2],"shape":[2],"data_offsets":[0,2]}}', 2),
    "half a character": one("2", "0,2", 2, name=r"\ud800"),
    "another encoding": framed(f'{{"a":{ENTRY}}}'.encode("utf-16"), 2),
    "no text": framed(b'{"\xff":' + ENTRY.encode() + b"}", 2),
    "a product that takes for ever": one("2," * 10**6 + "2", "0,2", 2),
    "more dimensions than a tensor has": one("1," * 64 + "2", "0,2", 2),
    "a size beyond 64 bits": one(f"0,{2**63}", "0,0", 0),
    "negative sizes": one("-1,-2", "0,2", 2),
    "a truth for a size": one("2,true", "0,2", 2),
    "negative offsets": one("2", "-2,0", 2),
    "an end before its begin": one("0", "2,0", 2),
    "overlapping": two(ENTRY.replace("0,2", "1,3"), 3),
    "the same place twice": two(ENTRY, 2),
    "a hole before it": one("2", "1,3", 3),
    "a hole between": two(ENTRY.replace("0,2", "3,5"), 5),
    "beyond the file": one("2", "0,2", 1),
    "weights that are no tensor's": one("2", "0,2", 3),
    "a shape that is larger than its place": one("2", "0,2", 2, dtype="F64"),
    "a shape that is smaller than its place": one("1", "0,2", 2),
    "a header longer than the file": (2**40).to_bytes(8, "little") + one("2", "0,2", 2)[8:],
    "a negative length": (2**64 - 1).to_bytes(8, "little") + b"{}",
}


@pytest.mark.parametrize("what", WRONG)
def test_a_header_that_is_wrong_in_one_respect_is_refused(tmp_path: Path, what: str) -> None:
    assert accepted(tmp_path / "m.safetensors", WRONG[what]) is None


def test_what_is_right_is_not_refused(tmp_path: Path) -> None:
    for content in (
        one("2", "0,2", 2),
        two(ENTRY.replace("0,2", "2,4"), 4),
        one("1," * 63 + "2", "0,2", 2),
        one(f"0,{2**63 - 1}", "0,0", 0),
        framed(f'{{"a":{ENTRY}}}   ', 2),
        framed("{}", 0),
    ):
        assert accepted(tmp_path / "m.safetensors", content) is not None


def test_a_header_that_a_huge_file_could_hold_takes_no_memory(tmp_path: Path) -> None:
    path = write_holes(tmp_path / "m.safetensors", (2**39).to_bytes(8, "little"), 1 << 40)
    with pytest.raises(WeightsError, match="damaged or cut short"):
        safetensors_header(path)
    with pytest.raises(WeightsError, match="not readable JSON"):
        read_json(path)


def test_no_pipe_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.safetensors")
    with pytest.raises(WeightsError, match="check the path"):
        safetensors_header(tmp_path / "m.safetensors")


def test_settings_are_objects(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps([1]))
    with pytest.raises(WeightsError, match="JSON object"):
        read_json(tmp_path / "config.json")
