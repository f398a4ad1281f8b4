"""Random trained heads for any target, and what they must say: one row at a time over the whole text, in float64.

`logits_of` shares nothing with the heads of the package but the names of tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foredraft.core.protocols import About, Model, Query
from foredraft.heads.files import HeadConfig, Target
from foredraft.heads.shapes import SHAPES

Array = NDArray[np.float64]
Tensors = dict[str, NDArray[Any]]
LAYERS = {"heads": 4, "kv_heads": 2, "head_size": 16, "hidden": 64, "rope_base": 5000.0}
USUAL: dict[str, dict[str, Any]] = {
    "block": LAYERS | {"layers": 1, "rank": 8},
    "hydra": LAYERS | {"layers": 2},
    "medusa": {"layers": 2},
    "mtp": LAYERS,
    "eagle": LAYERS,
    "eagle3": LAYERS,
    "mtp_sequential": LAYERS | {"modules": 1},
}
TOP: dict[str, int] = {"eagle": 0, "medusa": 0, "hydra": 0, "mtp": 1, "mtp_sequential": 0}
"""Method -> how many layers below the last its heads read the target, where that is one place."""


def random_head(
    about: About,
    *,
    method: str = "block",
    taps: tuple[int, ...] | None = None,
    says: Sequence[int] | None = None,
    block: int = 4,
    seed: int = 0,
    gain: float = 1.0,
    **sizes: Any,
) -> tuple[HeadConfig[Any], Tensors]:
    """taps: by default what the method reads, the first two layers for a block. sizes: of the method's shape, beside
    those of USUAL. gain: of the bias tables, beside matrices that keep the size of what they multiply."""
    fingerprint = dict(about.details).get("fingerprint", "")
    target = Target(about.name, about.width, about.layers, about.vocab_size, fingerprint)
    read = (0, 1) if method in ("block", "eagle3") else (about.layers - TOP[method],)
    config = HeadConfig(method, target, taps or read, block, 1e-5, SHAPES[method](**(USUAL[method] | sizes)))
    vocabulary = np.array(range(about.vocab_size) if says is None else says, dtype=np.int32)
    rng, tensors = np.random.default_rng(seed), Tensors()
    for name, shape in config.tensors(len(vocabulary)).items():
        if len(shape) == 1:
            tensors[name] = rng.uniform(0.6, 1.4, shape).astype(np.float32)
        else:
            size = 1.0 if name == "previous.weight" else shape[1] ** -0.5
            tensors[name] = rng.normal(scale=size, size=shape).astype(np.float32)
    if "accuracies" in tensors:
        tensors["accuracies"] = np.sort(rng.dirichlet(np.ones(16), block)[:, :10])[:, ::-1].astype(np.float32).copy()
    if "bias.weight" in tensors:
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


def logits_of(model: Model, head: tuple[HeadConfig[Any], Tensors], text: Sequence[int], taps: NDArray[Any]) -> Array:
    """[block, tokens]: what the head says after a text whose first token has no row, before any bias."""
    config, tensors = head
    weights = {name: values.astype(np.float64) for name, values in tensors.items()}
    embedded = model.embed(list(text)).astype(np.float64)
    parts = [*np.split(taps[: len(text) - 1].astype(np.float64), len(config.taps), axis=1), embedded[1:]]
    unit = np.concatenate([part / np.sqrt((part**2).mean(1, keepdims=True) + config.epsilon) for part in parts], axis=1)
    context = unit @ weights["fuse.weight"].T
    x = np.concatenate([context, context[-1] + weights["offsets"]])
    for layer in range(config.shape.layers):
        x = _layer(x, config, {name.split(".", 2)[2]: w for name, w in weights.items() if f"layers.{layer}." in name})
    rows = _norm(x[len(context) - 1 :], weights["norm.weight"], config.epsilon)
    return rows @ model.head_rows(weights["vocabulary"].astype(int).tolist()).astype(np.float64).T


def _norm(x: Array, weight: Array, epsilon: float) -> Array:
    found: Array = x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon) * weight
    return found


def _layer(x: Array, config: HeadConfig[Any], w: dict[str, Array], read: Array | None = None) -> Array:
    rows, size = len(x), config.shape.head_size
    normed = _norm(x, w["attention_norm.weight"], config.epsilon) if read is None else read
    query, key, value = ((normed @ w[f"{name}.weight"].T).reshape(rows, -1, size) for name in ("query", "key", "value"))
    query, key = (_turned(part, config) for part in (query, key))
    mixed = np.zeros_like(query)
    for row in range(rows):
        for head in range(config.shape.heads):
            shared = head * config.shape.kv_heads // config.shape.heads
            scores = key[: row + 1, shared] @ query[row, head] / np.sqrt(size)
            law = np.exp(scores - scores.max())
            mixed[row, head] = law / law.sum() @ value[: row + 1, shared]
    x = x + mixed.reshape(rows, -1) @ w["out.weight"].T
    normed = _norm(x, w["hidden_norm.weight"], config.epsilon)
    gate = normed @ w["gate.weight"].T
    found: Array = x + (gate / (1 + np.exp(-gate)) * (normed @ w["up.weight"].T)) @ w["down.weight"].T
    return found


def _turned(heads: Array, config: HeadConfig[Any]) -> Array:
    """Component i of a head and i + half are the two parts of a complex number, turned by the position."""
    half = config.shape.head_size // 2
    angles = np.arange(len(heads))[:, None] * config.shape.rope_base ** (-np.arange(half) / half)
    turned = (heads[..., :half] + 1j * heads[..., half:]) * np.exp(1j * angles)[:, None]
    return np.concatenate([turned.real, turned.imag], axis=-1)
