"""A draft model seen through the target's vocabulary: padding cut off, tokens it does not know impossible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from foredraft.core.protocols import About, Cache, Model, Query, Scores, Vectors
from foredraft.core.rules import Logits


class Fitted:
    """A model whose logits have `vocab_size` entries; everything else is passed on."""

    def __init__(self, model: Model, vocab_size: int) -> None:
        self.model = model
        self.about: About = replace(model.about, vocab_size=vocab_size)
        self.abilities = model.abilities

    @staticmethod
    def of(model: Model, vocab_size: int) -> Model:
        """The model itself where the sizes are equal."""
        return model if model.about.vocab_size == vocab_size else Fitted(model, vocab_size)

    def open(self) -> Cache:
        return self.model.open()

    def score(self, queries: Sequence[Query]) -> list[Scores]:
        size = self.about.vocab_size
        if self.model.about.vocab_size > size:  # the best token may be one that is cut off: the others are looked at
            queries = [replace(query, argmax_only=False) for query in queries]
        return [FittedScores(scores, size) for scores in self.model.score(queries)]

    def embed(self, tokens: Sequence[int]) -> Vectors:
        return self.model.embed(tokens)

    def head(self, hidden: Vectors) -> Logits:
        return np.stack([fit(row, self.about.vocab_size) for row in self.model.head(hidden)])

    def head_rows(self, tokens: Sequence[int]) -> Vectors:
        return self.model.head_rows(tokens)

    def view(self, layers: Sequence[int]) -> Model:
        return Fitted(self.model.view(layers), self.about.vocab_size)

    def close(self) -> None:
        self.model.close()


@dataclass(frozen=True)
class FittedScores:
    """Scores over another vocabulary size."""

    scores: Scores
    vocab_size: int

    def logits(self, row: int) -> Logits:
        return fit(self.scores.logits(row), self.vocab_size)

    def argmax(self, row: int) -> int:
        if self.scores.vocab_size <= self.vocab_size:
            return self.scores.argmax(row)
        return int(np.argmax(self.logits(row)))

    def top(self, row: int) -> tuple[NDArray[np.int64], Logits]:
        ids, logits = self.scores.top(row)
        known = ids < self.vocab_size
        return ids[known], logits[known]

    def taps(self, layer: int) -> Vectors:
        return self.scores.taps(layer)


def fit(logits: Logits, vocab_size: int) -> Logits:
    """Logits over `vocab_size` tokens: those beyond it cut off, those that are lacking impossible."""
    if len(logits) >= vocab_size:
        return logits[:vocab_size]
    return np.concatenate([logits, np.full(vocab_size - len(logits), -np.inf)])
