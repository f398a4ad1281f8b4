"""What trained heads on the native engine are made of: packed matrices, layers of a llama, the target's rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from foredraft import _native
from foredraft.core.heads import Feed
from foredraft.core.protocols import Model
from foredraft.models.native import NativeCache
from foredraft.models.native_parts import rotations
from foredraft.models.quantise import FORMS, GROUP, Quantize, quantise

Arrays = Mapping[str, NDArray[Any]]
Floats = NDArray[np.float32]
MATRICES = ("query", "key", "value", "out", "gate", "up", "down")
VECTORS = ("attention_norm", "hidden_norm")


class LayerSizes(Protocol):
    """What a head's file says of its layers (heads/shapes/layers.py)."""

    @property
    def heads(self) -> int: ...
    @property
    def kv_heads(self) -> int: ...
    @property
    def head_size(self) -> int: ...
    @property
    def hidden(self) -> int: ...
    @property
    def rope_base(self) -> float: ...


class Packing:
    """Packs matrices of floats. kind: F32, or what they are quantised to."""

    def __init__(self, pool: Any, kind: str) -> None:
        self.pool, self.kind = pool, kind

    @staticmethod
    def to(pool: Any, quantize: Quantize | None) -> Packing:
        """quantize: None for f32."""
        return Packing(pool, FORMS[quantize] if quantize is not None else "F32")

    def __call__(self, weights: NDArray[Any]) -> Any:
        wide = np.ascontiguousarray(weights, dtype=np.float32)
        stored = wide.reshape(-1).view(np.uint8) if self.kind == "F32" else quantise(self.kind, wide, self.pool.threads)
        return _native.Packed.of(self.kind, *wide.shape, stored, self.pool)


def padded(table: NDArray[Any]) -> NDArray[Any]:
    """[rows, columns], zeros behind them until they fill groups."""
    return np.pad(table, ((0, 0), (0, -table.shape[1] % GROUP)))


def weights_of(
    pack: Packing,
    target: Model,
    sizes: LayerSizes,
    epsilon: float,
    tensors: Arrays,
    layers: Sequence[str],
    rows: NDArray[Any],
    block: int = 0,
    entering: int = 0,
) -> Any:
    """An engine's weights: the layers whose tensors are named behind `layers`, the norm, and `rows` of the target's
    output head. A norm that is not there is none. block: rows that may stand beyond the target's context. entering:
    width of what attention of the first layer reads, where that comes with each row.

    The head stands for the embeddings too, which nobody looks up: what enters comes as vectors.
    """
    config = _native.Config()
    config.width, config.heads, config.kv_heads = target.about.width, sizes.heads, sizes.kv_heads
    config.head_size = config.rotated = sizes.head_size
    config.hidden, config.vocabulary, config.entering = sizes.hidden, len(rows), entering
    config.context = target.about.context + block
    config.epsilon, config.halves, config.score_scale = epsilon, True, 1 / math.sqrt(sizes.head_size)
    head = pack(rows)
    made = [_layer(pack, sizes, tensors, at) for at in layers]
    norm = tensors["norm.weight"].tolist() if "norm.weight" in tensors else []
    return _native.Weights(config, made, norm, head, head, pack.pool)


def _layer(pack: Packing, sizes: LayerSizes, tensors: Arrays, at: str) -> Any:
    layer = _native.Layer()
    for name in MATRICES:
        setattr(layer, name, pack(tensors[f"{at}{name}.weight"]))
    layer.pair(pack.pool)
    for name in VECTORS:
        if f"{at}{name}.weight" in tensors:
            setattr(layer, name, tensors[f"{at}{name}.weight"].tolist())
    layer.frequencies = list(rotations(sizes.rope_base, sizes.head_size, [1.0] * (sizes.head_size // 2)))
    return layer


def single(values: NDArray[Any]) -> Floats:
    return np.ascontiguousarray(values, dtype=np.float32)


def joined(feeds: Sequence[Feed]) -> Floats:
    """The taps of all feeds, [rows, taps * width]."""
    return single(feeds[0].taps if len(feeds) == 1 else np.concatenate([feed.taps for feed in feeds]))


def own_cache(cache: object, owner: object) -> Any:
    """The engine's cache within one that a head opened. Raises ValueError for another's."""
    if not isinstance(cache, NativeCache) or cache.owner is not owner:
        raise ValueError("a head scores its own caches only: open one with its open()")
    return cache.native
