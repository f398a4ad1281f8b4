"""Keys and values of one sequence in slabs, and the attention that reads them.

Transformers calls `attend` through its attention registry, the way it serves other engines, with rows of several
sequences laid end to end. Each sequence's new keys and values are written behind the kept ones of its own slab and
its rows attend to that slab alone: no padding, no copy of what is cached, whatever the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import scaled_dot_product_attention

from foredraft.models.paths import check_path

# The name under which transformers finds `attend`.
ATTENTION = "foredraft"
# A slab starts with this many positions and doubles.
PAGE = 256


class HFCache:
    """Slabs [layers, heads, positions, size] for keys and values, allocated by the first pass.

    slots: the layer number that a module carries -> its place in the slab.
    """

    def __init__(self, slots: dict[int, int]) -> None:
        self.slots = slots
        self.keys: torch.Tensor | None = None
        self.values: torch.Tensor | None = None
        self.pending: tuple[int, ...] = ()
        self._length = 0

    @property
    def length(self) -> int:
        return self._length

    @property
    def nbytes(self) -> int:
        return sum(slab.nbytes for slab in (self.keys, self.values) if slab is not None)

    def write(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Puts rows [heads, rows, size] behind the kept ones; views of all, [heads, kept + rows, size]."""
        start, stop = self._length, self._length + keys.shape[1]
        if self.keys is None or self.values is None or self.keys.shape[2] < stop:
            # In one statement: cut off between two, the slabs would differ in size for good.
            self.keys, self.values = (
                _grown(slab, like, len(self.slots), start, stop)
                for slab, like in ((self.keys, keys), (self.values, values))
            )
        slot = self.slots[layer]
        self.keys[slot, :, start:stop] = keys
        self.values[slot, :, start:stop] = values
        return self.keys[slot, :, :stop], self.values[slot, :, :stop]

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def keep(self, rows: Sequence[int]) -> None:
        """Moves the rows behind the kept ones; ValueError unless they are one path of the last pass."""
        check_path(rows, self.pending)
        start = self._length
        moved = next((index for index, row in enumerate(rows) if row != index), len(rows))
        if moved < len(rows) and self.keys is not None and self.values is not None:
            # Indexing with a tensor copies before it writes, so rows may overlap their new places.
            source = torch.tensor([start + row for row in rows[moved:]], device=self.keys.device)
            for slab in (self.keys, self.values):
                slab[:, :, start + moved : start + len(rows)] = slab[:, :, source]
        self._length += len(rows)
        self.pending = ()

    def trim(self, length: int) -> None:
        """Forgets what follows the first `length` tokens, pending rows too; ValueError for a length never reached."""
        if not 0 <= length <= self._length:
            raise ValueError(f"a cache of {self._length} tokens cannot be trimmed to {length}")
        self._length = length
        self.pending = ()

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def fork(self) -> HFCache:
        """An independent copy; ValueError while rows are pending."""
        if self.pending:
            raise ValueError("a cache cannot be forked while rows of a pass are pending: keep them first")
        copy = HFCache(self.slots)
        copy._length = self._length
        if self.keys is not None and self.values is not None:
            copy.keys = _grown(None, self.keys[0], len(self.slots), 0, self._length)
            copy.values = _grown(None, self.values[0], len(self.slots), 0, self._length)
            copy.keys[:, :, : self._length] = self.keys[:, :, : self._length]
            copy.values[:, :, : self._length] = self.values[:, :, : self._length]
        return copy

    def close(self) -> None:
        self.keys = self.values = None
        self.pending = ()
        self._length = 0


def _grown(slab: torch.Tensor | None, like: torch.Tensor, layers: int, kept: int, stop: int) -> torch.Tensor:
    """A slab with room for `stop` positions and the first `kept` of the old one; like: [heads, any, size]."""
    room = max(PAGE, slab.shape[2] if slab is not None else 0)
    while room < stop:
        room *= 2
    grown = like.new_empty(layers, like.shape[0], room, like.shape[2])
    if slab is not None:
        grown[:, :, :kept] = slab[:, :, :kept]
    return grown


class Part:
    """One sequence's rows of a pass: rows start .. start + len(parents) of the batch."""

    def __init__(self, cache: HFCache, parents: Sequence[int], start: int) -> None:
        self.cache = cache
        self.parents = tuple(parents)
        self.start, self.stop = start, start + len(parents)
        self.chain = self.parents == tuple(range(-1, len(parents) - 1))
        self.positions = self._positions()
        self._masks: dict[tuple[int | None, int], torch.Tensor | None] = {}

    def _positions(self) -> NDArray[np.int64]:
        """The position of every row: the cache's length and the row's depth."""
        if self.chain:
            return np.arange(self.cache.length, self.cache.length + len(self.parents))
        depths: list[int] = []
        for parent in self.parents:
            depths.append(0 if parent < 0 else depths[parent] + 1)
        return np.asarray(depths, dtype=np.int64) + self.cache.length

    def mask(self, window: int | None, groups: int, like: torch.Tensor) -> torch.Tensor | None:
        """[groups * rows, kept + rows]: 0 where a row may look, -inf elsewhere; None where it may look everywhere.

        Every row sees at least itself, so no row is masked throughout and -inf gives no NaN.
        """
        if window is not None and window > int(self.positions.max()):
            window = None
        key = (window, groups)
        if key not in self._masks:
            self._masks[key] = self._mask(window, groups, like)
        return self._masks[key]

    def _mask(self, window: int | None, groups: int, like: torch.Tensor) -> torch.Tensor | None:
        rows, kept = len(self.parents), self.cache.length
        if rows == 1 and window is None:
            return None
        visible = np.ones((rows, kept + rows), dtype=bool)
        visible[:, kept:] = np.tri(rows, dtype=bool) if self.chain else ancestry(self.parents)
        if window is not None:
            seen = np.concatenate([np.arange(kept), self.positions])
            visible &= self.positions[:, None] - seen < window
        mask = np.where(visible, np.float32(0), np.float32(-np.inf))
        return torch.from_numpy(mask).to(like.device, like.dtype).repeat(groups, 1)


def ancestry(parents: Sequence[int]) -> NDArray[np.bool_]:
    """[rows, rows]: whether the column's row is the row itself or one it follows."""
    above = np.eye(len(parents), dtype=bool)
    for row, parent in enumerate(parents):
        if parent >= 0:
            above[row] |= above[parent]
    return above


class Pass:
    """What one forward pass is told beside its tokens; taps: layer -> hidden states [rows, width], filled in."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = tuple(parts)
        self.taps: dict[int, torch.Tensor] = {}


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    foredraft: Pass | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Transformers' attention interface: [1, heads, rows, size] each -> [1, rows, heads, size]."""
    refused = [name for name in ("position_bias", "s_aux") if options.get(name) is not None]
    if foredraft is None or refused or not getattr(module, "is_causal", True):
        raise NotImplementedError(f"attention with {', '.join(refused) or 'no pass or no causal order'}")
    heads, kv_heads = query.shape[1], key.shape[1]
    groups = heads // kv_heads
    layer = int(module.layer_idx)
    # Rows that only fill the batch up belong to no part: zeros, so that nothing undefined flows on.
    out = query.new_zeros(1, query.shape[2], heads, value.shape[3])
    for part in foredraft.parts:
        rows = slice(part.start, part.stop)
        keys, values = part.cache.write(layer, key[0, :, rows], value[0, :, rows])
        # Heads that share keys become rows of one head: the keys are read once and never repeated.
        queries = query[0, :, rows].reshape(kv_heads, -1, query.shape[3])
        mask = part.mask(sliding_window, groups, queries)
        if softcap is not None:
            found = _softcapped(queries, keys, values, mask, scaling, softcap)
        else:
            bias = None if mask is None else mask[None, None]
            found = scaled_dot_product_attention(queries[None], keys[None], values[None], attn_mask=bias, scale=scaling)
        # CUDA's kernels give rows before heads in memory: no view of them has heads that were rows.
        out[0, rows] = found.reshape(heads, -1, value.shape[3]).transpose(0, 1)
    return out, None


def _softcapped(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None,
    cap: float,
) -> torch.Tensor:
    """Attention whose scores are squeezed into -cap .. cap (Gemma 2), [heads, rows, size]."""
    scale = scaling if scaling is not None else float(queries.shape[-1]) ** -0.5
    scores = torch.tanh(queries @ keys.transpose(1, 2) * (scale / cap)) * cap
    if mask is not None:
        scores = scores + mask
    return torch.softmax(scores, dim=-1) @ values
