"""Who reads a tiny file: the native engine, and the hf backend, which shows that the tests are right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from foredraft.core.protocols import Model


def load_native(path: Path, **options: Any) -> Any:
    """The engine; its absence is a failure and never a skip, so it is imported where it is used."""
    from foredraft.models.native import NativeModel

    return NativeModel.load(path, **options)


def load_reference(path: Path) -> Model:
    """The engine's reference path: float32 throughout."""
    model: Model = load_native(path, activations="f32", kv="f32", threads=1)
    return model


def load_hf(path: Path) -> Model:
    from foredraft.models.hf import HFModel

    return HFModel.load(path, "gguf", device="cpu", dtype="float32", threads=1)


LOADERS = {"hf": load_hf, "native": load_reference}
