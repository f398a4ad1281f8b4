"""Hugging Face directories: what may be loaded from one, checked before anything is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from foredraft.core.errors import WeightsError

PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
INDEX = "model.safetensors.index.json"
LARGEST_HEADER = 100_000_000


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
        return sorted(folder.glob("*.safetensors"))
    places = read_json(index).get("weight_map", {})
    names = sorted(set(map(str, places.values()))) if isinstance(places, dict) else []
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise WeightsError(f"{folder} lacks the shard {name} that its index names: fetch the model again")
    return [folder / name for name in names]


def safetensors_header(path: Path) -> dict[str, Any]:
    """Tensor name -> {dtype, shape, data_offsets}. Raises WeightsError when the file is damaged or cut short."""
    damaged = WeightsError(f"{path} is damaged or cut short: fetch it again")
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, LARGEST_HEADER):
            raise damaged
        try:
            header = json.loads(file.read(length))
        except ValueError:
            raise damaged from None
    if not isinstance(header, dict):
        raise damaged
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    try:
        end = max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    except (TypeError, KeyError, IndexError):
        raise damaged from None
    if 8 + length + end != size:
        raise damaged
    return tensors


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises WeightsError when it is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise WeightsError(f"{path} is not readable JSON: fetch the model again") from None
    if not isinstance(value, dict):
        raise WeightsError(f"{path} does not hold a JSON object: fetch the model again")
    return value
