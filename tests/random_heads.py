"""Random trained heads for any target, and what they must say: one row at a time over the whole text, in float64.

`logits_of` shares nothing with the heads of the package but the names of tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foredraft.core.protocols import About, Model, Query
from foredraft.heads.files import HeadConfig, Target, shapes

Array = NDArray[np.float64]
Tensors = dict[str, NDArray[Any]]


def random_head(
    about: About,
    *,
    taps: tuple[int, ...] = (0, 1),
    says: Sequence[int] | None = None,
    layers: int = 1,
    heads: int = 4,
    kv_heads: int = 2,
    head_size: int = 16,
    hidden: int = 64,
    block: int = 4,
    rank: int = 8,
    seed: int = 0,
    gain: float = 1.0,
) -> tuple[HeadConfig, Tensors]:
    """gain: of the bias tables, beside matrices that keep the size of what they multiply."""
    fingerprint = dict(about.details).get("fingerprint", "")
    target = Target(about.name, about.width, about.layers, about.vocab_size, fingerprint)
    config = HeadConfig(
        "block", target, taps, layers, heads, kv_heads, head_size, hidden, block, rank, rope_base=5000.0, epsilon=1e-5
    )
    vocabulary = np.array(range(about.vocab_size) if says is None else says, dtype=np.int32)
    rng, tensors = np.random.default_rng(seed), Tensors()
    for name, shape in shapes(config, len(vocabulary)).items():
        if len(shape) == 1:
            tensors[name] = rng.uniform(0.6, 1.4, shape).astype(np.float32)
        else:
            size = 1.0 if name == "previous.weight" else shape[1] ** -0.5
            tensors[name] = rng.normal(scale=size, size=shape).astype(np.float32)
    tensors["bias.weight"] *= np.float32(gain)
    return config, tensors | {"vocabulary": vocabulary}


def taps_of(model: Model, text: Sequence[int], layers: tuple[int, ...]) -> NDArray[Any]:
    """[tokens, taps * width]: the target's hidden states at every position of a text."""
    cache = model.open()
    query = Query(cache, tuple(text), tuple(range(-1, len(text) - 1)), taps=tuple(sorted(set(layers))))
    scores = model.score([query])[0]
    found = np.concatenate([scores.taps(layer) for layer in layers], axis=1)
    cache.close()
    return found


def logits_of(model: Model, head: tuple[HeadConfig, Tensors], text: Sequence[int], taps: NDArray[Any]) -> Array:
    """[block, tokens]: what the head says after a text whose first token has no row, before any bias."""
    config, tensors = head
    weights = {name: values.astype(np.float64) for name, values in tensors.items()}
    embedded = model.embed(list(text)).astype(np.float64)
    parts = [*np.split(taps[: len(text) - 1].astype(np.float64), len(config.taps), axis=1), embedded[1:]]
    unit = np.concatenate([part / np.sqrt((part**2).mean(1, keepdims=True) + config.epsilon) for part in parts], axis=1)
    context = unit @ weights["fuse.weight"].T
    x = np.concatenate([context, context[-1] + weights["offsets"]])
    for layer in range(config.layers):
        x = _layer(x, config, {name.split(".", 2)[2]: w for name, w in weights.items() if f"layers.{layer}." in name})
    rows = _norm(x[len(context) - 1 :], weights["norm.weight"], config.epsilon)
    return rows @ model.head_rows(weights["vocabulary"].astype(int).tolist()).astype(np.float64).T


def _norm(x: Array, weight: Array, epsilon: float) -> Array:
    found: Array = x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon) * weight
    return found


def _layer(x: Array, config: HeadConfig, w: dict[str, Array]) -> Array:
    rows, size = len(x), config.head_size
    normed = _norm(x, w["attention_norm.weight"], config.epsilon)
    query, key, value = ((normed @ w[f"{name}.weight"].T).reshape(rows, -1, size) for name in ("query", "key", "value"))
    query, key = (_turned(part, config) for part in (query, key))
    mixed = np.zeros_like(query)
    for row in range(rows):
        for head in range(config.heads):
            shared = head * config.kv_heads // config.heads
            scores = key[: row + 1, shared] @ query[row, head] / np.sqrt(size)
            law = np.exp(scores - scores.max())
            mixed[row, head] = law / law.sum() @ value[: row + 1, shared]
    x = x + mixed.reshape(rows, -1) @ w["out.weight"].T
    normed = _norm(x, w["hidden_norm.weight"], config.epsilon)
    gate = normed @ w["gate.weight"].T
    found: Array = x + (gate / (1 + np.exp(-gate)) * (normed @ w["up.weight"].T)) @ w["down.weight"].T
    return found


def _turned(heads: Array, config: HeadConfig) -> Array:
    """Component i of a head and i + half are the two parts of a complex number, turned by the position."""
    half = config.head_size // 2
    angles = np.arange(len(heads))[:, None] * config.rope_base ** (-np.arange(half) / half)
    turned = (heads[..., :half] + 1j * heads[..., half:]) * np.exp(1j * angles)[:, None]
    return np.concatenate([turned.real, turned.imag], axis=-1)
