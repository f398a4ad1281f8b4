"""Hugging Face directories: what may be loaded from one, checked before anything is."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

from foredraft.core.errors import WeightsError

PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
INDEX = "model.safetensors.index.json"
LARGEST_HEADER = 100_000_000  # as in the format's own library
LONGEST_NAME = 200
MOST_DIMENSIONS = 64  # of a torch tensor
LARGEST_COUNT = 2**63 - 1
BITS = {"BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32}
BITS |= {
    "U64": 64,
    "I64": 64,
    "F64": 64,
    "C64": 64,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E8M0": 8,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "F4": 4,
}


def check_directory(folder: Path) -> None:
    """Raises WeightsError unless `folder` holds a configuration and whole safetensors files, and no code to run."""
    if not (folder / "config.json").is_file():
        raise WeightsError(f"{folder} has no config.json: give the directory of a Hugging Face model")
    if "auto_map" in read_json(folder / "config.json"):
        raise WeightsError(f"{folder} wants code of its own to be run, which is never done: use a stock architecture")
    shards = shards_of(folder)
    if not shards:
        if any(next(folder.glob(pattern), None) for pattern in PICKLED):
            raise WeightsError(f"{folder} has pickled weights only, which can run code: convert them to safetensors")
        raise WeightsError(f"{folder} has no *.safetensors: give the directory of a Hugging Face model")
    for shard in shards:
        safetensors_header(shard)


def shards_of(folder: Path) -> list[Path]:
    """The weight files, those of the index if there is one. Raises WeightsError for a shard that is missing."""
    index = folder / INDEX
    if not index.is_file():
        files = sorted(folder.glob("*.safetensors"))
        # Some carry the same weights twice, once under the names of the original code.
        own = [file for file in files if not file.name.startswith("consolidated")]
        return own or files
    places = read_json(index).get("weight_map", {})
    names = sorted(set(map(str, places.values()))) if isinstance(places, dict) else []
    for name in names:
        if Path(name).name != name or len(name) > LONGEST_NAME or not (folder / name).is_file():
            raise WeightsError(f"{folder} lacks the shard {name} that its index names: fetch the model again")
    return [folder / name for name in names]


def safetensors_header(path: Path) -> dict[str, Any]:
    """Tensor name -> {dtype, shape, data_offsets}. Raises WeightsError when the file is damaged or cut short."""
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            raise WeightsError(f"cannot read {path}: there is no such file; check the path")
        with path.open("rb") as file:
            return _tensors(file, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}; check the path") from None
    except (ValueError, RecursionError):
        raise WeightsError(f"{path} is damaged or cut short: fetch it again") from None


def _tensors(file: BinaryIO, size: int) -> dict[str, Any]:
    """size: of the whole file. Raises ValueError or RecursionError for a header that is not right in every respect."""
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, LARGEST_HEADER):
        raise ValueError("a header longer than the file")
    header = json.loads(str(file.read(length), "utf-8"), object_pairs_hook=_once)
    if not isinstance(header, dict):
        raise ValueError("no object")
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    if not all(map(_is_tensor, tensors.values())):
        raise ValueError("an entry that is no tensor")
    for name in tensors:
        name.encode()  # JSON can spell halves of characters, which no other text may hold
    at = 0
    for begin, end in sorted(entry["data_offsets"] for entry in tensors.values()):
        if begin != at:  # tensors lie side by side, without holes
            raise ValueError("tensors that overlap or leave a hole")
        at = end
    if 8 + length + at != size:
        raise ValueError("more or fewer weights than the file holds")
    return tensors


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Readers differ in which of two equal keys they believe: ValueError."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice")
    return found


def _is_tensor(entry: Any) -> bool:
    """Whether an entry describes a tensor whose type and shape fill its place."""
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
        return False
    shape, place = entry.get("shape"), entry.get("data_offsets")
    if not _are_counts(shape) or not _are_counts(place) or len(place) != 2 or len(shape) > MOST_DIMENSIONS:
        return False
    bits, room = math.prod(shape) * BITS.get(entry["dtype"], 1), (place[1] - place[0]) * 8
    return bits == room if entry["dtype"] in BITS else 0 <= bits <= room  # of a newer type only the least is known


def _are_counts(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(one) is int and 0 <= one <= LARGEST_COUNT for one in value)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises WeightsError when it is none."""
    try:
        if path.stat().st_size > LARGEST_HEADER:
            raise ValueError("no settings are that long")
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise WeightsError(f"{path} is not readable JSON: fetch the model again") from None
    if not isinstance(value, dict):
        raise WeightsError(f"{path} does not hold a JSON object: fetch the model again")
    return value
