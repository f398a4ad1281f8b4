"""Head files that are damaged or made to harm end in one sentence, before anything large is made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from foredraft.core.errors import WeightsError
from foredraft.core.protocols import About
from foredraft.heads.files import KEY, SCALES, VOCABULARY, parse_config, read_head
from foredraft.heads.shapes import SHAPES
from random_heads import random_head

ABOUT = About("m", 40, 128, 3, 32, True, (("fingerprint", "f"),))
Change = Callable[[dict[str, Any]], None]


def written(path: Path, change: Change, method: str = "medusa") -> Path:
    config, tensors = random_head(ABOUT, method=method)
    change(tensors)
    save_file(tensors, path, metadata={KEY: config.json()})
    return path


def extra(name: str) -> Change:
    return lambda tensors: tensors.update({name: np.ones(32, dtype=np.float32)})


def vocabulary(*ids: Any, kind: type) -> Change:
    return lambda tensors: tensors.update({VOCABULARY: np.array(ids, dtype=kind)})


def flat_scales(tensors: dict[str, Any]) -> None:
    name = next(name for name, values in tensors.items() if values.ndim == 2)
    tensors[name + SCALES] = np.ones(1, dtype=np.float16)


@pytest.mark.parametrize(
    "change",
    [
        extra("norm.bias"),
        extra("heads.x.out.weight"),
        vocabulary(1, 9, 3, kind=np.uint32),
        vocabulary(1.0, 1.5, 2.0, kind=np.float32),
        flat_scales,
    ],
)
def test_tensors_that_no_head_has(tmp_path: Path, change: Change) -> None:
    with pytest.raises(WeightsError, match="train or fetch it again"):
        read_head(written(tmp_path / "head.safetensors", change))


@pytest.mark.parametrize("method", SHAPES)
@pytest.mark.parametrize(
    "changes",
    [
        {"block": 10**9},
        {"block": 2**40},
        {"layers": 10**9},
        {"modules": 10**9},
        {"epsilon": "1e-5"},
        {"epsilon": 1e999},
    ],
)
def test_settings_that_no_head_has(method: str, changes: dict[str, Any]) -> None:
    raw = json.loads(random_head(ABOUT, method=method)[0].json())
    parse_config(json.dumps(raw), "head")
    with pytest.raises(WeightsError):
        parse_config(json.dumps(raw | changes), "head")


def test_settings_that_are_no_settings() -> None:
    for text in ("[" * 100_000, "", "null", "{}"):
        with pytest.raises(WeightsError):
            parse_config(text, "head")
