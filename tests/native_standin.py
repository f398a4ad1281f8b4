"""A toy model that shows its cache, and its flawed twins: what the tests of invariance must pass, and must catch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from foredraft.core.protocols import Query, Scores
from foredraft.models.toy import Tables, ToyCache, ToyModel, ToyScores

# Mistakes that an engine with fast kernels is made for.
PASS_FLAWS = (
    "another kernel for many rows",
    "another kernel for the rest of a tile",
    "batch mates",
    "blocks from the start of the pass",
    "the order of rows",
    "keys rounded by the pass",
    "argmax of other logits",
)
# Mistakes of bookkeeping.
CACHE_FLAWS = (
    "rows kept where they stand",
    "a fork writes to shared pages",
    "a trim leaves the page as it was",
    "a second fork starts empty",
)


@dataclass
class OpenToyCache(ToyCache):
    """stored: what was computed for each kept position; arrived: for each row of the last pass."""

    stored: list[bytes] = field(default_factory=list)
    arrived: list[bytes] = field(default_factory=list)
    flaw: str = ""
    forked: bool = False

    def keys_values(self, position: int) -> bytes:
        return self.stored[position]

    def keep(self, rows: Sequence[int]) -> None:
        super().keep(rows)
        moved = range(len(rows)) if self.flaw == "rows kept where they stand" else rows
        self.stored.extend(self.arrived[row] for row in moved)

    def trim(self, length: int) -> None:
        super().trim(length)
        if self.flaw != "a trim leaves the page as it was":
            del self.stored[length:]

    def fork(self) -> OpenToyCache:
        super().fork()
        stored = self.stored if self.flaw == "a fork writes to shared pages" else list(self.stored)
        path = [0] * len(self.path) if self.forked and self.flaw == "a second fork starts empty" else list(self.path)
        self.forked = True
        return OpenToyCache(path, stored=stored, flaw=self.flaw)


class StandIn(ToyModel):
    """flaw: one of PASS_FLAWS or CACHE_FLAWS, or none."""

    def __init__(self, flaw: str = "", context: int = 256) -> None:
        super().__init__(Tables.random(6, order=2, seed=1, context=context), context=context)
        self.flaw = flaw

    def open(self) -> OpenToyCache:
        return OpenToyCache(flaw=self.flaw)

    def score(self, queries: Sequence[Query]) -> list[Scores]:
        return [self._flawed(query, len(queries)) for query in queries]

    def _flawed(self, query: Query, queries: int) -> ToyScores:
        cache: Any = query.cache
        scores = self._score(query)
        count = len(query.tokens)
        off = np.zeros(count)
        match self.flaw:
            case "another kernel for many rows" if count > 16:
                off[:] = 1
            case "another kernel for the rest of a tile":
                off[count - count % 4 :] = 1
            case "batch mates" if queries > 1:
                off[:] = 1
            case "blocks from the start of the pass":
                off[:] = cache.length % 64
            case "the order of rows":
                off = np.arange(count) % 3
        states = scores.states * (1 + np.spacing(1.0) * off[:, None, None])
        salt = bytes([count % 5]) if self.flaw == "keys rounded by the pass" else b""
        cache.arrived = [state.tobytes() + salt for state in states]
        if self.flaw == "argmax of other logits":
            return Unsure(scores.net, states, query)
        return replace(scores, states=states)


class Unsure(ToyScores):
    def argmax(self, row: int) -> int:
        return int(np.argsort(self.logits(row))[-2])
