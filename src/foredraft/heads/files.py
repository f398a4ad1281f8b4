"""A trained head as a file: safetensors, its settings as JSON in the metadata under `foredraft`.

Matrices are stored as float32 or float16, or as int8: codes [out, in] under the tensor's name and float16 scales
[out, in / 32] under the name and `.scales`; weight = code * scale. docs/training.md lists every tensor.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from foredraft.core.errors import ForedraftError, WeightsError
from foredraft.heads.shapes import SHAPES
from foredraft.heads.shapes.shape import Shape

Arrays = dict[str, NDArray[Any]]
KEY = "foredraft"
VERSION = 1
MOST = 64  # of layers, of tokens in a block
GROUP = 32
SCALES = ".scales"
VOCABULARY = "vocabulary"
S = TypeVar("S", bound=Shape, covariant=True)


@dataclass(frozen=True)
class Target:
    """The model a head was trained for. fingerprint: sha256 of its final norm as little-endian float32."""

    name: str
    width: int
    layers: int
    vocab_size: int
    fingerprint: str


@dataclass(frozen=True)
class HeadConfig(Generic[S]):
    """What every head says of itself. taps: layers of the target that it reads. block: tokens that it drafts one after
    another. epsilon: of its norms. shape: the settings of its method, which stand beside these in the file."""

    method: str
    target: Target
    taps: tuple[int, ...]
    block: int
    epsilon: float
    shape: S
    provenance: Mapping[str, Any] = field(default_factory=dict)
    version: int = VERSION

    @property
    def width(self) -> int:
        return self.target.width

    def json(self) -> str:
        raw = asdict(self)
        shape = raw.pop("shape")
        return json.dumps(raw | shape, sort_keys=True)

    def tensors(self, vocabulary: int) -> dict[str, tuple[int, ...]]:
        """Every tensor and its shape. vocabulary: tokens that the head may say."""
        found: dict[str, tuple[int, ...]] = self.shape.tensors(self.width, len(self.taps), self.block, vocabulary)
        return {VOCABULARY: (vocabulary,)} | found


def parse_config(text: str, name: str) -> HeadConfig[Any]:
    """Raises WeightsError for settings that are missing, of another type or of another version."""
    try:
        raw = json.loads(text)
        shared = {key: raw.pop(key) for key in ("method", "taps", "block", "epsilon", "provenance", "version")}
        target, method = Target(**raw.pop("target")), shared["method"]
        if method not in SHAPES:
            raise ValueError(f"it is of method {method!r}, and known are {', '.join(sorted(SHAPES))}")
        shared["taps"] = tuple(map(int, shared["taps"]))
        config = HeadConfig(target=target, shape=SHAPES[method](**raw), **shared)
        if config.version != VERSION:
            raise ValueError(f"version {config.version}")
        counts = (config.block, *(raw[name] for name in ("layers", "modules") if name in raw))
        if not all(type(count) is int and 0 < count <= MOST for count in counts) or not config.taps:
            raise ValueError("its sizes are no sizes")
        if type(config.epsilon) is not float or not 0 < config.epsilon < math.inf:
            raise ValueError("its constants are not positive")
        config.tensors(1)  # raises ValueError for what does not go together
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f"{name} is no trained head that this version reads ({error}): train or fetch it again"
        ) from error
    return config


def read_config(path: str | Path) -> HeadConfig[Any]:
    """The settings alone. Raises WeightsError for a file that is not there, damaged, or something else."""
    with _opened(Path(path)) as file:
        return parse_config((file.metadata() or {}).get(KEY, ""), Path(path).name)


def read_head(path: str | Path) -> tuple[HeadConfig[Any], Arrays]:
    """The settings, and every tensor as float32 (`vocabulary` as int32), shapes checked. Raises WeightsError."""
    path = Path(path)
    config = read_config(path)
    with _opened(path) as file:
        try:
            raw = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (TypeError, AttributeError, ValueError, SafetensorError) as error:  # numbers that numpy has not
            raise WeightsError(f"{path.name} holds other numbers than heads do: train or fetch it again") from error
    found: Arrays = {}
    for name, values in raw.items():
        if name.endswith(SCALES) and name.removesuffix(SCALES) in raw:
            continue
        try:
            found[name] = values if name == VOCABULARY else expand(values, raw.get(name + SCALES))
        except (ValueError, IndexError) as error:
            raise WeightsError(f"{path.name} has scales that do not fit {name}: train or fetch it again") from error
    _check(config, found, path.name)
    return config, found


def write_head(
    path: str | Path, config: HeadConfig[Any], tensors: Mapping[str, NDArray[Any]], *, int8: bool = False
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
    with beside(path) as part:
        save_file(stored, part, metadata={KEY: config.json()})


def replace(path: Path, content: bytes) -> None:
    """Writes beside the file and then puts it in place."""
    with beside(path) as part:
        part.write_bytes(content)


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A name beside a file under which it is written; then it is put in place."""
    part = path.with_name(path.name + ".part")
    with room(part):
        yield part
        os.replace(part, path)


@contextmanager
def room(part: Path) -> Iterator[None]:
    """What is written in part, a file or a folder, does not stay. Raises ForedraftError where it cannot be written."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        torch = "inline_container" in str(error)  # where torch writes files, whose errors have no type and no reason
        if isinstance(error, RuntimeError) and not torch:
            raise
        why = "not all of it was taken" if torch else error
        raise ForedraftError(f"{part} cannot be written ({why}): make room, and run it again to go on") from error
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


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


def _check(config: HeadConfig[Any], tensors: Arrays, name: str) -> None:
    says = tensors.get(VOCABULARY)
    ids = says is not None and says.dtype in (np.int32, np.int64) and says.ndim == 1 and len(says)
    if says is None or not ids or not (np.diff(says) > 0).all():
        raise WeightsError(f"{name} does not say which tokens it drafts: train or fetch it again")
    if says[0] < 0 or says[-1] >= config.target.vocab_size:
        raise WeightsError(f"{name} drafts tokens that its target does not have: train or fetch it again")
    expected = config.tensors(len(says))
    if more := sorted(set(tensors) - set(expected)):
        raise WeightsError(f"{name} has a tensor {more[0]} that no {config.method} has: train or fetch it again")
    for tensor, shape in expected.items():
        if tensor not in tensors or tensors[tensor].shape != shape:
            raise WeightsError(f"{name} has no tensor {tensor} of shape {shape}: train or fetch it again")
        if not np.isfinite(tensors[tensor]).all():
            raise WeightsError(f"{name} has numbers in {tensor} that are none: train or fetch it again")


def _opened(path: Path) -> Any:
    try:
        return safe_open(str(path), framework="np")
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"the head {path} cannot be read ({error}): give the file of a trained head") from error
