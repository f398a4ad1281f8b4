"""A trained head for a target: found, read, held against the target, and built on the engine that can run it."""

from __future__ import annotations

from pathlib import Path

from foredraft.core.errors import UnknownName, UsageError
from foredraft.core.native import module
from foredraft.core.protocols import Head, Model, Thrift
from foredraft.draft.plain_head import PlainHead
from foredraft.engine.shipped import shipped_head
from foredraft.heads.files import HeadConfig, read_head
from foredraft.models.quantise import QUANTIZATIONS

METHOD = "block"


def load_head(written: str, target: Model, *, threads: int = 1, thrift: Thrift | None = None) -> Head:
    """The head in a file, or with an empty name the one that comes with the target.

    thrift: int8 or int4 for its matrices. Raises UsageError for a head of another target or none at all, WeightsError
    for a damaged file.
    """
    path = _path(written, target)
    config, tensors = read_head(path)
    _check(path, config, target)
    quantize = (thrift.quantize if thrift is not None else None) or "int8"
    if quantize not in QUANTIZATIONS:
        raise UnknownName("quantisation", quantize, QUANTIZATIONS)
    if module(None) is None:
        return PlainHead(target, config, tensors)
    from foredraft.models.native import NativeModel
    from foredraft.models.native_head import NativeHead

    pool = target.pool if isinstance(target, NativeModel) else None
    return NativeHead(target, config, tensors, threads=threads, quantize=quantize, pool=pool)


def _path(written: str, target: Model) -> Path:
    name = target.about.name
    if not written:
        shipped = shipped_head(target)
        if shipped is None:
            raise UsageError(f"no trained head comes with {name!r}: give the file of one, as in {METHOD}:PATH")
        return shipped
    path = Path(written).expanduser()
    if not path.is_file():
        raise UsageError(f"there is no trained head at {written}: give the file of one")
    return path


def _check(path: Path, config: HeadConfig, target: Model) -> None:
    """Raises UsageError unless the head was trained for this target."""
    about, own = target.about, config.target
    if config.method != METHOD:
        raise UsageError(f"{path.name} is a head of method {config.method!r}: give one of method {METHOD!r}")
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
