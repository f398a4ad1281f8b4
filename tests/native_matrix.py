"""Row invariance, exactly: whatever pass a row stands in, its keys, values, taps and logits are the same bytes.

The judge computes every path one token a pass. A way is another road to the same rows: chunks, chains, trees, batches,
rows in another order, forks. Bytes are compared, so that a zero of the other sign or another NaN is a difference too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from foredraft.core.protocols import Cache, Model, Query
from foredraft.testing.recompute import Rows, line, paths, random_rows, random_text

Array = NDArray[Any]
Path = tuple[int, ...]


class OpenCache(Cache, Protocol):
    """A cache that shows what it holds, for tests."""

    def keys_values(self, position: int) -> bytes:
        """Keys and values of all layers at a kept position."""


@dataclass(frozen=True)
class Row:
    """taps: [layers + 1, width]. stored: keys and values; None for a row that was not kept."""

    logits: Array
    taps: Array
    stored: bytes | None = None


class Judge:
    """Every prefix of every path asked for, by passes of one row each."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._cache: Any = model.open()
        self._text: Path = ()
        self._known: dict[Path, Row] = {}

    def row(self, path: Path) -> Row:
        """The last row of a path."""
        if path not in self._known:
            self._walk(path)
        return self._known[path]

    def _walk(self, path: Path) -> None:
        common = next(
            (at for at, (a, b) in enumerate(zip(self._text, path)) if a != b), min(len(self._text), len(path))
        )
        common = min(common, len(path) - 1)
        self._cache.trim(common)
        for at in range(common, len(path)):
            [row] = score(self.model, [(self._cache, line(path[at : at + 1]))])[0]
            self._cache.keep((0,))
            self._known[path[: at + 1]] = Row(row.logits, row.taps, self._cache.keys_values(at))
        self._text = path


def score(model: Model, parts: Sequence[tuple[Cache, Rows]]) -> list[list[Row]]:
    """One pass; all logits and taps of every row, copied."""
    layers = tuple(range(model.about.layers + 1))
    queries = [Query(cache, *rows, tuple(range(len(rows[0]))), 0, layers) for cache, rows in parts]
    found = []
    for scores, (_, rows) in zip(model.score(queries), parts, strict=True):
        taps = np.stack([scores.taps(layer) for layer in layers], axis=1)
        found.append([Row(scores.logits(row).copy(), taps[row]) for row in range(len(rows[0]))])
    return found


def same(found: Array, wanted: Array, what: str) -> None:
    """Equal in every byte."""
    if found.tobytes() != wanted.tobytes():
        assert found.dtype == wanted.dtype, f"{what}: {found.dtype}, not {wanted.dtype}"
        apart = np.flatnonzero(found.ravel() != wanted.ravel())
        worst = np.abs(found.astype(np.float64) - wanted.astype(np.float64)).max()
        raise AssertionError(f"{what}: {len(apart)} of {found.size} numbers differ, by up to {worst:.1e}")


@dataclass
class Road:
    """One model on its way, held against the judge. text: what is fed; vocab_size, seed: for what is guessed."""

    model: Model
    judge: Judge
    text: Sequence[int]
    seed: int

    def check(self, parts: Sequence[tuple[Cache, Path, Rows]], what: str) -> None:
        """One pass over caches that hold these texts."""
        found = score(self.model, [(cache, rows) for cache, _, rows in parts])
        for index, ((_, text, rows), said) in enumerate(zip(parts, found, strict=True)):
            for row, path in enumerate(paths(text, rows)):
                wanted, where = self.judge.row(path), f"{what}: sequence {index}, row {row}, position {len(path) - 1}"
                for layer, (mine, reference) in enumerate(zip(said[row].taps, wanted.taps, strict=True)):
                    same(mine, reference, f"{where}: states after {layer} layers")
                same(said[row].logits, wanted.logits, f"{where}: logits")

    def check_stored(self, cache: Cache, text: Path, what: str) -> None:
        """Everything the cache holds."""
        kept: Any = cache
        assert kept.length == len(text), f"{what}: {kept.length} tokens are kept, not {len(text)}"
        for at in range(len(text)):
            if kept.keys_values(at) != self.judge.row(text[: at + 1]).stored:
                raise AssertionError(f"{what}: the keys and values of position {at} of {len(text)} differ")

    def fill(self, length: int, chunk: int = 48) -> tuple[Cache, Path]:
        """A cache with the first tokens of the text."""
        cache = self.model.open()
        for start in range(0, length, chunk):
            piece = self.text[start : min(start + chunk, length)]
            self.model.score([Query(cache, *line(piece))])
            cache.keep(range(len(piece)))
        return cache, tuple(self.text[:length])

    def rows(self, seed: int, chain: int, drafts: int) -> Rows:
        generator = np.random.default_rng([self.seed, seed])
        return random_rows(generator, self.model.about.vocab_size, chain, drafts)


def chunks(sizes: Sequence[int]) -> Callable[[Road], None]:
    """The text in chunks of these sizes, over and over."""

    def way(road: Road) -> None:
        cache, done, turn = road.model.open(), 0, 0
        while done < len(road.text):
            piece = road.text[done : done + sizes[turn % len(sizes)]]
            road.check([(cache, tuple(road.text[:done]), line(piece))], f"a chunk of {len(piece)} at {done}")
            cache.keep(range(len(piece)))
            done, turn = done + len(piece), turn + 1
        road.check_stored(cache, tuple(road.text), f"in chunks of {list(sizes)}")

    return way


def deepest(rows: Rows) -> list[int]:
    """The rows of the longest path."""
    found: list[list[int]] = []
    for row, parent in enumerate(rows[1]):
        found.append([*(found[parent] if parent >= 0 else []), row])
    return max(found, key=len)


def tree(road: Road) -> None:
    """Rounds across the borders of blocks of keys: a chain that catches up, a tree, and a path kept of it."""
    for start in (0, len(road.text) // 2 - 6, len(road.text) - 9):
        cache, text = road.fill(start)
        for turn in range(3):
            rows = road.rows(turn, 1 + turn, 13)
            road.check([(cache, text, rows)], f"round {turn} of trees behind {start}")
            kept = deepest(rows)
            cache.keep(kept)
            text += tuple(rows[0][row] for row in kept)
        road.check_stored(cache, text, f"after trees behind {start}")


def shuffled(rows: Rows, generator: np.random.Generator) -> tuple[Rows, list[int]]:
    """The same tree with its rows in another order, parents first; and where each row went."""
    order: list[int] = []
    left = set(range(len(rows[0])))
    while left:
        ready = sorted(row for row in left if rows[1][row] not in left)
        order.append(ready[int(generator.integers(len(ready)))])
        left.remove(order[-1])
    place = [order.index(row) for row in range(len(order))]
    parents = tuple(-1 if rows[1][row] < 0 else place[rows[1][row]] for row in order)
    return (tuple(rows[0][row] for row in order), parents), place


def permuted(road: Road) -> None:
    for seed in range(3):
        rows, start = road.rows(seed, 3, 14), 58 + seed
        moved, place = shuffled(rows, np.random.default_rng(seed))
        cache, text = road.fill(start)
        road.check([(cache, text, moved)], f"permuted rows behind {start}")
        kept = deepest(rows)
        cache.keep([place[row] for row in kept])
        text += tuple(rows[0][row] for row in kept)
        road.check_stored(cache, text, "after permuted rows")


def batch(road: Road) -> None:
    """Sequences of other lengths in one pass, in either order: prompts beside trees beside single rows."""
    lengths, sizes = (0, 63, 5, len(road.text) - 1), ((33, 0), (2, 9), (1, 0), (1, 5))
    for order in ((0, 1, 2, 3), (3, 1, 0, 2), (2,)):
        filled = [road.fill(lengths[index]) for index in order]
        parts = [road.rows(10 + index, *sizes[index]) for index in order]
        road.check([(cache, text, rows) for (cache, text), rows in zip(filled, parts)], f"sequences {order}")
        for (cache, text), rows in zip(filled, parts):
            kept = deepest(rows)
            cache.keep(kept)
            road.check_stored(cache, text + tuple(rows[0][row] for row in kept), f"sequences {order}")


def forks(road: Road) -> None:
    """Branches that share a beginning and go on apart, one of them trimmed back."""
    cache, text = road.fill(70)
    branches: list[tuple[Cache, Path]] = [(cache, text), (cache.fork(), text), (cache.fork(), text)]
    branches[2][0].trim(61)
    branches[2] = branches[2][0], text[:61]
    for turn in range(2):
        parts = [road.rows(20 + 3 * turn + index, 4 + index, 0) for index in range(3)]
        road.check([(*branch, rows) for branch, rows in zip(branches, parts)], f"forks, turn {turn}")
        for index, rows in enumerate(parts):
            branches[index][0].keep(range(len(rows[0])))
            branches[index] = branches[index][0], branches[index][1] + rows[0]
    for index, branch in enumerate(branches):
        road.check_stored(*branch, f"fork {index}")


def wanted_rows(road: Road) -> None:
    """Logits of some rows only, the best few, and none at all: what is not computed changes nothing."""
    cache, text = road.fill(60)
    rows = road.rows(30, 2, 12)
    alone = paths(text, rows)
    for wanted, top in (((7, 0, 12), 5), ((3,), 1), ((), 0), (tuple(range(14)), 3)):
        [scores] = road.model.score([Query(cache, *rows, wanted, top)])
        for row in wanted:
            logits = road.judge.row(alone[row]).logits
            best = np.argsort(-logits, kind="stable")
            assert scores.argmax(row) == best[0], f"the likeliest token of row {row}"
            if top:
                ids, values = scores.top(row)
                assert list(ids) == list(best[:top]), f"the {top} likeliest tokens of row {row}"
                same(values, logits[best[:top]], f"the {top} largest logits of row {row}")
            same(scores.logits(row), logits, f"the logits of row {row}, one of {len(wanted)} wanted")
    cache.keep(deepest(rows))
    road.check_stored(cache, text + tuple(rows[0][row] for row in deepest(rows)), "of rows without logits")


WAYS: dict[str, Callable[[Road], None]] = {
    "chunks of 1": chunks((1,)),
    "chunks of 7": chunks((7,)),
    "chunks of 16": chunks((16,)),
    "chunks of 64": chunks((64,)),
    "chunks of 512": chunks((512,)),
    "chains": chunks((2, 3, 4, 5, 6, 8, 9, 12, 15, 17)),
    "trees": tree,
    "batches": batch,
    "rows permuted": permuted,
    "forks": forks,
    "some logits": wanted_rows,
}


def text_for(model: Model, length: int, seed: int = 0) -> list[int]:
    return random_text(np.random.default_rng([seed, length]), model.about.vocab_size, length)
