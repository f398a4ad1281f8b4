"""What random heads that draft token by token must say: whole texts through whole layers, in float64.

`laws_of` shares nothing with the heads of the package but the names of tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foredraft.core.protocols import Model
from foredraft.heads.files import HeadConfig
from random_heads import Array, Tensors, _layer, _norm

METHODS: list[tuple[str, dict[str, Any]]] = [
    ("eagle", {"taps": (2,)}),
    ("eagle3", {"taps": (0, 1, 2)}),
    ("mtp_sequential", {"taps": (2,)}),
    ("mtp_sequential", {"taps": (2,), "modules": 4, "block": 4}),
]
"""Methods and what their heads are made with, for targets of two layers and more."""
NAMES = ["eagle", "eagle3", "mtp", "mtp modules"]


def laws_of(
    model: Model, head: tuple[HeadConfig[Any], Tensors], text: Sequence[int], drafts: Sequence[int], taps: NDArray[Any]
) -> Array:
    """[1 + drafts, tokens]: what the head says after a text whose first token has no row, and after each draft."""
    config, tensors = head
    weights = {name: values.astype(np.float64) for name, values in tensors.items()}
    embedded = model.embed([*text, *drafts]).astype(np.float64)
    context = taps[: len(text) - 1].astype(np.float64)
    if config.method == "eagle3":
        context = context @ weights["fuse.weight"].T
    else:
        context = _norm(context, weights["feature_norm.weight"], config.epsilon)
    shape = config.shape
    ends = (_modules if config.method == "mtp_sequential" and shape.modules > 1 else _recursive)(
        config, weights, context, embedded, len(drafts)
    )
    said = ends if config.method == "eagle" else _norm(ends, weights["norm.weight"], config.epsilon)
    return said @ model.head_rows(weights["vocabulary"].astype(int).tolist()).astype(np.float64).T


def _recursive(config: Any, weights: Any, context: Array, embedded: Array, drafts: int) -> Array:
    carried, found = context, []
    for _ in range(drafts + 1):
        ends = _through(config, weights, 0, carried, embedded[1 : len(carried) + 1])
        found.append(ends[-1])
        carried = np.concatenate([carried, ends[-1:]])
    return np.stack(found)


def _modules(config: Any, weights: Any, context: Array, embedded: Array, drafts: int) -> Array:
    carried, found = context, []
    for module in range(drafts + 1):
        carried = _through(config, weights, module, carried, embedded[1 + module : 1 + module + len(carried)])
        found.append(carried[-1])
    return np.stack(found)


def _through(config: Any, weights: Any, module: int, carried: Array, embedded: Array) -> Array:
    """Where rows ended that each see those before them."""
    at = f"layers.{module}."
    w = {name.removeprefix(at): value for name, value in weights.items() if name.startswith(at)}
    if config.method == "eagle":
        return _layer(np.concatenate([embedded, carried], axis=1) @ w["join.weight"].T, config, w)
    before, token = (
        _norm(part, w[f"{name}_norm.weight"], config.epsilon)
        for name, part in (("carried", carried), ("embedding", embedded))
    )
    if config.method == "eagle3":
        return _layer(carried, config, w, read=np.concatenate([token, before], axis=1))
    return _layer(np.concatenate([before, token], axis=1) @ w["join.weight"].T, config, w)
