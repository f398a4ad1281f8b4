"""A trained head for a target: found, read, held against the target, and built on the engine that can run it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from foredraft.core.errors import UnknownName, UsageError
from foredraft.core.heads import Head
from foredraft.core.native import module
from foredraft.core.protocols import Model, Thrift
from foredraft.engine.shipped import shipped_head
from foredraft.heads.files import Arrays, HeadConfig, read_head
from foredraft.models.quantise import QUANTIZATIONS

METHODS: dict[str, tuple[str, str]] = {
    "block": ("foredraft.draft.plain_block:PlainBlock", "foredraft.models.native_head_block:NativeBlock"),
    "hydra": ("foredraft.draft.hydra_head:plain_hydra", "foredraft.engine.native_heads:hydra"),
    "medusa": ("foredraft.draft.medusa_head:plain_medusa", "foredraft.engine.native_heads:medusa"),
    "mtp": ("foredraft.draft.mtp_head:plain_mtp", "foredraft.engine.native_heads:mtp"),
    "eagle": ("foredraft.engine.step_heads:plain_steps", "foredraft.engine.step_heads:native_steps"),
    "eagle3": ("foredraft.engine.step_heads:plain_steps", "foredraft.engine.step_heads:native_steps"),
    "mtp_sequential": ("foredraft.engine.step_heads:plain_steps", "foredraft.engine.step_heads:native_steps"),
}
"""Method -> its head in numpy, which is its definition, and on the native engine. Its drafter has the method's name."""


def load_head(
    written: str, target: Model, *, method: str = "block", threads: int = 1, thrift: Thrift | None = None
) -> Head:
    """The head in a file, or with an empty name the one that comes with the target.

    method: what it must be of. thrift: int8 or int4 for its matrices. Raises UsageError for a head of another method or
    target or none at all, WeightsError for a damaged file.
    """
    path = _path(written, target, method)
    config, tensors = read_head(path)
    _check(path, config, target, method)
    quantize = (thrift.quantize if thrift is not None else None) or "int8"
    if quantize not in QUANTIZATIONS:
        raise UnknownName("quantisation", quantize, QUANTIZATIONS)
    if module(None) is None:
        return plain_head(target, config, tensors)
    return native_head(target, config, tensors, threads=threads, quantize=quantize)


def plain_head(target: Model, config: HeadConfig[Any], tensors: Arrays) -> Head:
    """In numpy: what every machine can run."""
    head: Head = _loaded(METHODS[config.method][0])(target, config, tensors)
    return head


def native_head(target: Model, config: HeadConfig[Any], tensors: Arrays, **how: Any) -> Head:
    """On the native engine. how: threads, quantize, activations; a native target's threads are shared."""
    from foredraft.models.native import NativeModel

    pool = target.pool if isinstance(target, NativeModel) else None
    head: Head = _loaded(METHODS[config.method][1])(target, config, tensors, pool=pool, **how)
    return head


def _loaded(where: str) -> Any:
    name, _, attribute = where.partition(":")
    return getattr(importlib.import_module(name), attribute)


def _path(written: str, target: Model, method: str) -> Path:
    name = target.about.name
    if not written:
        shipped = shipped_head(target, method)
        if shipped is None:
            raise UsageError(f"no trained head comes with {name!r}: give the file of one, as in {method}:PATH")
        return shipped
    path = Path(written).expanduser()
    if not path.is_file():
        raise UsageError(f"there is no trained head at {written}: give the file of one")
    return path


def _check(path: Path, config: HeadConfig[Any], target: Model, method: str) -> None:
    """Raises UsageError unless the head is of this method and was trained for this target."""
    about, own = target.about, config.target
    if config.method != method:
        raise UsageError(
            f"{path.name} is a head of method {config.method!r}: "
            f"give one of method {method!r}, or write {config.method}:{path}"
        )
    remedy = f"give the head that was trained for {about.name!r}"
    for what, theirs, ours in (
        (f"width {own.width}", own.width, about.width),
        (f"{own.layers} layers", own.layers, about.layers),
        (f"{own.vocab_size} tokens", own.vocab_size, about.vocab_size),
    ):
        if theirs != ours:
            raise UsageError(f"{path.name} was trained for a target of {what}, not {ours}: {remedy}")
    fingerprint = dict(about.details).get("fingerprint")
    if fingerprint is not None and fingerprint != own.fingerprint:
        raise UsageError(f"{path.name} was trained for another target ({own.name}): {remedy}")
    outside = [layer for layer in config.taps if not 0 <= layer <= about.layers]
    if outside:
        raise UsageError(f"{path.name} reads layer {outside[0]} of a target that has {about.layers}: {remedy}")
