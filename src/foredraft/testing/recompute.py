"""The judge of models and caches: a text scored alone, from an empty cache, as one plain chain.

Whatever tree, batch, cache or chunking a row stands in, its logits must be those of its own path. Rows are copied
before the judge is asked, because scores are views that its passes may overwrite.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest

from foredraft.core.protocols import Cache, Model, Query, Scores, Vectors
from foredraft.core.rules import Logits

Rows = tuple[tuple[int, ...], tuple[int, ...]]
"""Tokens and parents of the rows of a pass."""


def line(tokens: Sequence[int]) -> Rows:
    """A chain from the end of the cache."""
    return tuple(tokens), tuple(range(-1, len(tokens) - 1))


def branch(tokens: Sequence[int], parents: Sequence[int], drafts: Sequence[int]) -> Rows:
    """The chain `tokens` with nodes behind it; parents count from the chain's last row, which is -1."""
    last = len(tokens) - 1
    return (*tokens, *drafts), (*range(-1, last), *(last + 1 + parent for parent in parents))


def random_rows(generator: np.random.Generator, vocab_size: int, chain: int, drafts: int) -> Rows:
    """A chain and a random tree behind it."""
    tokens = [int(token) for token in generator.integers(vocab_size, size=chain)]
    guesses = [int(token) for token in generator.integers(vocab_size, size=drafts)]
    return branch(tokens, [int(generator.integers(-1, node)) if node else -1 for node in range(drafts)], guesses)


def random_text(generator: np.random.Generator, vocab_size: int, length: int) -> list[int]:
    return [int(token) for token in generator.integers(vocab_size, size=length)]


def score(model: Model, cache: Cache, rows: Rows, *, top: int = 0, taps: tuple[int, ...] = ()) -> Scores:
    """One pass for one sequence with the logits of all rows."""
    tokens, parents = rows
    return model.score([Query(cache, tokens, parents, tuple(range(len(tokens))), top, taps)])[0]


def paths(text: Sequence[int], rows: Rows) -> list[tuple[int, ...]]:
    """For each row, the whole text that ends in it."""
    found: list[tuple[int, ...]] = []
    for token, parent in zip(*rows, strict=True):
        found.append((*(tuple(text) if parent < 0 else found[parent]), token))
    return found


class Recompute:
    """The judge: what the model says to a text alone, from an empty cache, in one pass."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.known: dict[tuple[int, ...], Logits] = {}

    def logits(self, text: tuple[int, ...]) -> Logits:
        if text not in self.known:
            cache = self.model.open()
            query = Query(cache, *line(text), (len(text) - 1,))
            self.known[text] = self.model.score([query])[0].logits(len(text) - 1).copy()
            cache.close()
        return self.known[text]

    def taps(self, text: tuple[int, ...], layer: int) -> Vectors:
        """[width]: the hidden state of the last token."""
        cache = self.model.open()
        states = score(self.model, cache, line(text), taps=(layer,)).taps(layer)
        last: Vectors = states[-1].copy()
        cache.close()
        return last


def tolerance_of(model: Model, tolerance: float) -> float:
    """A model that claims row invariance is held to it."""
    return 0.0 if model.about.row_invariant else tolerance


def assert_same(found: Vectors, wanted: Vectors, tolerance: float, what: str) -> None:
    """Equal, or with a tolerance close; infinities must agree and nothing may be NaN."""
    assert found.shape == wanted.shape, f"{what}: shape {found.shape}, not {wanted.shape}"
    same = np.allclose(found, wanted, tolerance, tolerance) if tolerance else np.array_equal(found, wanted)
    if not same:
        with np.errstate(invalid="ignore"):
            worst = np.nanmax(np.abs(np.asarray(found, np.float64) - np.asarray(wanted, np.float64)))
        raise AssertionError(f"{what}: differs by up to {worst:g} where {tolerance:g} is allowed")


def assert_rows(judge: Recompute, scores: Scores, text: Sequence[int], rows: Rows, tolerance: float) -> None:
    """Every row of a pass says what its path says alone."""
    found = all_logits(scores, rows)
    for row, path in enumerate(paths(text, rows)):
        assert_same(found[row], judge.logits(path), tolerance, f"row {row} after {list(path)}")


def all_logits(scores: Scores, rows: Rows) -> Logits:
    """[rows, vocab], copied."""
    return np.stack([scores.logits(row) for row in range(len(rows[0]))])


@contextmanager
def refuses(what: str, *errors: type[Exception]) -> Iterator[None]:
    """The body must raise one of `errors`."""
    try:
        yield
    except errors:
        return
    raise AssertionError(f"{what} was not refused")


def fed(model: Model, text: Sequence[int], size: int = 512) -> Cache:
    """A cache that holds `text`, fed in chunks."""
    cache = model.open()
    for start in range(0, len(text), size):
        piece = text[start : start + size]
        model.score([Query(cache, *line(piece))])
        cache.keep(range(len(piece)))
    return cache


def skip_without(model: Model, *abilities: str) -> None:
    """Skips the test for a model that lacks one of them."""
    missing = [ability for ability in abilities if ability not in model.abilities]
    if missing:
        pytest.skip(f"the model does not offer {', '.join(missing)}")
