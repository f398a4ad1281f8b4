"""A model of another vocabulary seen through the target's: token-level intersection (TLI, Timor et al. 2502.05202).

Logits are those of tokens that both have, moved to the target's ids; all others are impossible, so the law that the
rules make of them is the draft model's, restricted and renormalised. What is fed are target tokens: one that the draft
model lacks is spelt in several of its own, which become one row here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from foredraft.core.errors import UsageError
from foredraft.core.protocols import Ability, Cache, Model, Query, Scores, Vectors
from foredraft.core.rules import Logits
from foredraft.draft.vocabularies import Vocabularies


@dataclass
class SpeltCache:
    """A cache of target tokens. ends[n]: how many tokens of the draft model spell the first n + 1.

    pending: the rows that spell each row of the last pass.
    """

    cache: Cache
    ends: list[int] = field(default_factory=list)
    pending: list[range] = field(default_factory=list)

    @property
    def length(self) -> int:
        return len(self.ends)

    @property
    def nbytes(self) -> int:
        return self.cache.nbytes

    def keep(self, rows: Sequence[int]) -> None:
        self.cache.keep([inner for row in rows for inner in self.pending[row]])
        for row in rows:
            self.ends.append((self.ends[-1] if self.ends else 0) + len(self.pending[row]))
        self.pending = []

    def trim(self, length: int) -> None:
        if not 0 <= length <= len(self.ends):
            raise ValueError(f"a cache of {len(self.ends)} tokens cannot be trimmed to {length}")
        self.cache.trim(self.ends[length - 1] if length else 0)
        del self.ends[length:]
        self.pending = []

    def fork(self) -> SpeltCache:
        return SpeltCache(self.cache.fork(), self.ends.copy())

    def close(self) -> None:
        self.cache.close()
        self.ends, self.pending = [], []


class Intersection:
    """`model` with the vocabulary of the target; `size` is the target's, padding included."""

    abilities: frozenset[Ability] = frozenset()

    def __init__(self, model: Model, vocabularies: Vocabularies, size: int) -> None:
        self.model, self.vocabularies = model, vocabularies
        self.about = replace(model.about, vocab_size=size)
        ours, theirs = vocabularies.shared
        known = (ours < size) & (theirs < model.about.vocab_size)
        self.ours, self.theirs = ours[known], theirs[known]

    def open(self) -> SpeltCache:
        return SpeltCache(self.model.open())

    def spelt(self, text: Sequence[int]) -> int:
        """How many tokens of the draft model a text takes."""
        spell = self.vocabularies.spell
        return len(self._begin(text[0])) + sum(len(spell(token)) for token in text)

    def score(self, queries: Sequence[Query]) -> list[Scores]:
        asked = [self._spelt(query) for query in queries]
        found = self.model.score([inner for inner, _ in asked])
        return [
            IntersectedScores(self, scores, [rows[-1] for rows in spans], query.top)
            for query, (_, spans), scores in zip(queries, asked, found, strict=True)
        ]

    def embed(self, tokens: Sequence[int]) -> Vectors:
        raise UsageError("a model of another vocabulary shares no embeddings: choose one of the same family")

    def head(self, hidden: Vectors) -> Logits:
        raise UsageError("a model of another vocabulary shares no head: choose one of the same family")

    def head_rows(self, tokens: Sequence[int]) -> Vectors:
        raise UsageError("a model of another vocabulary shares no head: choose one of the same family")

    def view(self, layers: Sequence[int]) -> Model:
        return Intersection(self.model.view(layers), self.vocabularies, self.about.vocab_size)

    def close(self) -> None:
        self.model.close()

    def _begin(self, first: int) -> tuple[int, ...]:
        """What the draft model wants before a text, unless the text begins with it."""
        begin = self.vocabularies.draft.begin
        return () if self.vocabularies.spell(first)[: len(begin)] == begin else begin

    def _spelt(self, query: Query) -> tuple[Query, list[range]]:
        """The query in draft tokens, and which of its rows spell each row asked for."""
        cache = query.cache
        if not isinstance(cache, SpeltCache):
            raise ValueError("an intersection scores its own caches only")
        tokens, parents, spans = list[int](), list[int](), list[range]()
        for row, (token, parent) in enumerate(zip(query.tokens, query.parents, strict=True)):
            ids = self.vocabularies.spell(token)
            if row == 0 and not cache.length:
                ids = (*self._begin(token), *ids)
            start = len(tokens)
            tokens += ids
            parents += [spans[parent][-1] if parent >= 0 else -1, *range(start, start + len(ids) - 1)]
            spans.append(range(start, start + len(ids)))
        cache.pending = spans
        wanted = tuple(spans[row][-1] for row in query.logits)
        return Query(cache.cache, tuple(tokens), tuple(parents), wanted), spans


@dataclass(frozen=True, eq=False)
class IntersectedScores:
    """Scores in target ids. rows: the draft model's last row of each."""

    model: Intersection
    scores: Scores
    rows: Sequence[int]
    count: int

    @property
    def vocab_size(self) -> int:
        return self.model.about.vocab_size

    def logits(self, row: int) -> Logits:
        found = self.scores.logits(self.rows[row])
        out = np.full(self.vocab_size, -np.inf, dtype=found.dtype)
        out[self.model.ours] = found[self.model.theirs]
        return out

    def argmax(self, row: int) -> int:
        return int(np.argmax(self.logits(row)))

    def top(self, row: int) -> tuple[NDArray[np.int64], Logits]:
        logits = self.logits(row)
        best = np.argsort(-logits, kind="stable")[: self.count]
        return best, logits[best]

    def taps(self, layer: int) -> Vectors:
        raise UsageError("a model of another vocabulary has no taps: choose one of the same family")
