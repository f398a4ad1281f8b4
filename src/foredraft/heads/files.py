"""A trained head as a file: safetensors, its settings as JSON in the metadata under `foredraft`.

Matrices are stored as float32 or float16, or as int8: codes [out, in] under the tensor's name and float16 scales
[out, in / 32] under the name and `.scales`; weight = code * scale. docs/training.md lists every tensor.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from foredraft.core.errors import WeightsError

Arrays = dict[str, NDArray[Any]]
KEY = "foredraft"
VERSION = 1
GROUP = 32
SCALES = ".scales"
VOCABULARY = "vocabulary"


@dataclass(frozen=True)
class Target:
    """The model a head was trained for. fingerprint: sha256 of its final norm as little-endian float32."""

    name: str
    width: int
    layers: int
    vocab_size: int
    fingerprint: str


@dataclass(frozen=True)
class HeadConfig:
    """Shape of a head. taps: layers of the target it reads. depth: layers of its own. block: rows of a pass."""

    method: str
    target: Target
    taps: tuple[int, ...]
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    hidden: int
    block: int
    rank: int
    rope_base: float
    epsilon: float
    provenance: Mapping[str, Any] = field(default_factory=dict)
    version: int = VERSION

    @property
    def width(self) -> int:
        return self.target.width

    def json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


def parse_config(text: str, name: str) -> HeadConfig:
    """Raises WeightsError for settings that are missing, of another type or of another version."""
    try:
        raw = json.loads(text)
        target = Target(**raw.pop("target"))
        config = HeadConfig(target=target, taps=tuple(map(int, raw.pop("taps"))), **raw)
        sizes = (config.layers, config.heads, config.kv_heads, config.head_size, config.hidden, config.block)
        if config.version != VERSION:
            raise ValueError(f"version {config.version}")
        if not all(type(size) is int and size > 0 for size in (*sizes, config.rank)) or not config.taps:
            raise ValueError("its sizes are no sizes")
        if not (float(config.rope_base) > 0 and float(config.epsilon) > 0):
            raise ValueError("its constants are not positive")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise WeightsError(
            f"{name} is no trained head that this version reads ({error}): train or fetch it again"
        ) from error
    return config


def read_config(path: str | Path) -> HeadConfig:
    """The settings alone. Raises WeightsError for a file that is not there, damaged, or something else."""
    with _opened(Path(path)) as file:
        return parse_config((file.metadata() or {}).get(KEY, ""), Path(path).name)


def read_head(path: str | Path) -> tuple[HeadConfig, Arrays]:
    """The settings, and every tensor as float32 (`vocabulary` as int32), shapes checked. Raises WeightsError."""
    path = Path(path)
    config = read_config(path)
    with _opened(path) as file:
        names = list(file.keys())
        raw = {name: file.get_tensor(name) for name in names}
    found: Arrays = {}
    for name, values in raw.items():
        if name.endswith(SCALES) and name.removesuffix(SCALES) in raw:
            continue
        try:
            found[name] = values if name == VOCABULARY else expand(values, raw.get(name + SCALES))
        except ValueError as error:
            raise WeightsError(f"{path.name} has scales that do not fit {name}: train or fetch it again") from error
    _check(config, found, path.name)
    return config, found


def write_head(
    path: str | Path, config: HeadConfig, tensors: Mapping[str, NDArray[Any]], *, int8: bool = False
) -> None:
    """Writes beside the file and then puts it in place: killed at any moment, a whole file stands there.

    int8: matrices whose rows are multiples of 32 as codes and scales; else as they are.
    """
    path, stored = Path(path), dict[str, NDArray[Any]]()
    for name, values in tensors.items():
        if int8 and values.ndim == 2 and values.shape[1] % GROUP == 0:
            stored[name], stored[name + SCALES] = shrink(values)
        else:
            stored[name] = np.ascontiguousarray(values)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    save_file(stored, beside, metadata={KEY: config.json()})
    os.replace(beside, path)


def replace(path: Path, content: bytes) -> None:
    """Writes beside the file and then puts it in place."""
    beside = path.with_name(path.name + ".part")
    beside.write_bytes(content)
    os.replace(beside, path)


def shrink(values: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """[out, in] -> int8 codes [out, in], float16 scales [out, in / 32]."""
    groups = values.astype(np.float32).reshape(len(values), -1, GROUP)
    scales = (np.abs(groups).max(axis=2) / 127).astype(np.float16)
    divisors = np.where(scales == 0, np.float16(1), scales).astype(np.float32)
    codes = np.rint(groups / divisors[:, :, None]).clip(-127, 127).astype(np.int8)
    return codes.reshape(values.shape), scales


def expand(values: NDArray[Any], scales: NDArray[Any] | None) -> NDArray[np.float32]:
    """The inverse; without scales the values as float32."""
    if scales is None:
        return values.astype(np.float32)
    wide = values.astype(np.float32).reshape(*scales.shape, GROUP) * scales.astype(np.float32)[:, :, None]
    return wide.reshape(values.shape)


def shapes(config: HeadConfig, vocabulary: int) -> dict[str, tuple[int, ...]]:
    """Every tensor of a block head, and its shape. vocabulary: tokens that the head may say."""
    d, queries, keys = config.width, config.heads * config.head_size, config.kv_heads * config.head_size
    found: dict[str, tuple[int, ...]] = {
        VOCABULARY: (vocabulary,),
        "fuse.weight": (d, (len(config.taps) + 1) * d),
        "offsets": (config.block - 1, d),
        "norm.weight": (d,),
        "previous.weight": (vocabulary, config.rank),
        "bias.weight": (vocabulary, config.rank),
    }
    for layer in range(config.layers):
        for name, shape in (
            ("attention_norm", (d,)),
            ("hidden_norm", (d,)),
            ("query", (queries, d)),
            ("key", (keys, d)),
            ("value", (keys, d)),
            ("out", (d, queries)),
            ("gate", (config.hidden, d)),
            ("up", (config.hidden, d)),
            ("down", (d, config.hidden)),
        ):
            found[f"layers.{layer}.{name}.weight"] = shape
    return found


def _check(config: HeadConfig, tensors: Arrays, name: str) -> None:
    says = tensors.get(VOCABULARY)
    if says is None or says.ndim != 1 or not len(says) or not (np.diff(says) > 0).all():
        raise WeightsError(f"{name} does not say which tokens it drafts: train or fetch it again")
    if says[0] < 0 or says[-1] >= config.target.vocab_size:
        raise WeightsError(f"{name} drafts tokens that its target does not have: train or fetch it again")
    for tensor, shape in shapes(config, len(says)).items():
        if tensor not in tensors or tensors[tensor].shape != shape:
            raise WeightsError(f"{name} has no tensor {tensor} of shape {shape}: train or fetch it again")
        if not np.isfinite(tensors[tensor]).all():
            raise WeightsError(f"{name} has numbers in {tensor} that are none: train or fetch it again")


def _opened(path: Path) -> Any:
    try:
        return safe_open(str(path), framework="np")
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"the head {path} cannot be read ({error}): give the file of a trained head") from error
