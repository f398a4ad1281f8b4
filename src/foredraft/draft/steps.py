"""Heads that draft token by token: where a row ended says what follows, and is what the next row goes on from.

What computes rows is numpy (`draft/plain_steps.py`) or the native engine (`models/native_head_steps.py`); which rows
there are is here. With one layer for all tokens (EAGLE, EAGLE-3, FastMTP) the row of a drafted token stands behind
those of its path, in a copy of the cache that nobody keeps: context rows are made of the target's own hidden states
alone. With a module for every token (DeepSeek-V3) the rows of a module see those of the same module.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from foredraft.core.heads import Feed
from foredraft.core.law import Ids
from foredraft.core.protocols import Cache, Query, Vectors
from foredraft.core.rules import Logits
from foredraft.draft.level_tree import Children
from foredraft.draft.trees import Trees


class Rows(Protocol):
    """The layers of a head, and what enters and leaves them. A module is one of them.

    taps: the target's layers that are read. block: tokens that the head was trained to draft one after another.
    """

    taps: tuple[int, ...]
    block: int
    modules: int
    says: Ids

    def open(self, module: int) -> Cache: ...

    def context(self, taps: Vectors) -> Vectors:
        """[rows, taps * width] of the target -> [rows, width]: what context rows carry."""

    def run(self, module: int, feeds: Sequence[Feed], ends: bool) -> tuple[list[Vectors], Logits]:
        """ONE pass of chains behind their caches, which keep all rows. feed.taps: what each row carries. feed.block: 0
        where no law is wanted.

        -> where the rows of each feed ended, [rows, width], if `ends`, else nothing; [laws wanted, places], of what
        follows the last rows. Views, valid until the next pass.
        """

    def close(self) -> None: ...


@dataclass(frozen=True)
class Place:
    """The end of a path. cache: its rows are the first `length` there; alone: whether nobody else needs it as it is.
    carried: [n, width], what goes on. tokens: drafted ones that were read, where that matters."""

    cache: Any
    carried: Vectors
    length: int
    tokens: tuple[int, ...] = ()
    alone: bool = False


class StepCache:
    """What a head keeps of a text, and where the paths of its tree ended. root, places: of the last token fed and of
    those drafted after it, in the order given."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.root: Place | None = None
        self.places: list[Place] = []

    @property
    def length(self) -> int:
        return int(self.inner.length)

    @property
    def nbytes(self) -> int:
        return int(self.inner.nbytes)

    def keep(self, rows: Sequence[int]) -> None:
        """A head keeps its context rows by itself."""

    def trim(self, length: int) -> None:
        self.inner.trim(length)
        self.begin(None)

    def fork(self) -> StepCache:
        return StepCache(self.inner.fork())

    def close(self) -> None:
        self.inner.close()
        self.begin(None)

    def begin(self, root: Place | None) -> None:
        self.root, self.places = root, []

    def at(self, parent: int) -> Place:
        """Raises ValueError for a path that was never begun."""
        if self.root is None or not -1 <= parent < len(self.places):
            raise ValueError(f"there is no place {parent} to go on from: score the text first")
        return self.root if parent < 0 else self.places[parent]


class StepHead(ABC):
    """A head of `Levels` (draft/levels.py)."""

    def __init__(self, rows: Rows, trees: Trees) -> None:
        self.rows, self.taps, self.block, self.says = rows, rows.taps, rows.block, rows.says
        self._trees = trees

    @abstractmethod
    def open(self) -> StepCache: ...

    @abstractmethod
    def begin(self, feeds: Sequence[Feed]) -> tuple[list[Place], Logits]:
        """One pass over context rows; feed.cache is a StepCache's inner one. -> where the last of each feed ended, and
        the laws that are wanted."""

    @abstractmethod
    def step(self, paths: Sequence[tuple[Place, int]]) -> tuple[list[Place], Logits]:
        """One pass that goes on from places of one depth, each by a token."""

    def score(self, feeds: Sequence[Feed]) -> list[Logits]:
        if not feeds:
            return []
        caches = [_own(feed.cache) for feed in feeds]
        places, views = self.begin([replace(feed, cache=own.inner) for feed, own in zip(feeds, caches, strict=True)])
        logits, found, said = views.copy(), list[Logits](), 0
        for feed, own, place in zip(feeds, caches, places, strict=True):
            own.begin(place if feed.block else None)
            found.append(logits[said : said + bool(feed.block)])
            said += bool(feed.block)
        return found

    def level(self, queries: Sequence[Query]) -> list[Logits]:
        caches = [_own(query.cache) for query in queries]
        paths = [
            (own.at(parent), token)
            for own, query in zip(caches, queries, strict=True)
            for token, parent in zip(query.tokens, query.parents, strict=True)
        ]
        places, views = self.step(paths)
        logits, found, begin = views.copy(), list[Logits](), 0
        for own, query in zip(caches, queries, strict=True):
            end = begin + len(query.tokens)
            own.places.extend(places[begin:end])
            found.append(logits[begin:end])
            begin = end
        return found

    def children(self, logits: Logits, count: int) -> Children:
        return self._trees.children(logits, count)

    def close(self) -> None:
        self.rows.close()


class Recursive(StepHead):
    """One layer drafts all tokens, each from where the row before ended."""

    def open(self) -> StepCache:
        return StepCache(self.rows.open(0))

    def begin(self, feeds: Sequence[Feed]) -> tuple[list[Place], Logits]:
        fed = [replace(feed, taps=self.rows.context(feed.taps)) for feed in feeds]
        ends, logits = self.rows.run(0, fed, any(feed.block for feed in feeds))
        nothing = np.empty((0, 0), np.float32)
        lasts = [rows[-1:].copy() for rows in ends] or [nothing] * len(feeds)
        places = [Place(feed.cache, last, feed.cache.length) for feed, last in zip(feeds, lasts, strict=True)]
        return places, logits

    def step(self, paths: Sequence[tuple[Place, int]]) -> tuple[list[Place], Logits]:
        taken, fed = set[int](), list[Feed]()
        for place, token in paths:
            cache = place.cache
            if not place.alone or cache.length > place.length or id(cache) in taken:
                cache = cache.fork()  # no cache grows before all copies are made
                cache.trim(place.length)
            taken.add(id(cache))
            fed.append(Feed(cache, (token,), place.carried, 1))
        ends, logits = self.rows.run(0, fed, True)
        places = [
            Place(feed.cache, rows.copy(), feed.cache.length, alone=True) for feed, rows in zip(fed, ends, strict=True)
        ]
        return places, logits


class ModuleCache:
    """A cache for each module, the tokens of the first's rows, and where the rows of every module but the last ended.

    Row i of module k joins where row i of module k - 1 ended and token i + k: it is one of the context as soon as that
    is. Until the module runs the next time its new rows wait.
    """

    def __init__(self, caches: Sequence[Cache], tokens: list[int], ends: list[list[Vectors]]) -> None:
        self.caches, self.tokens, self.ends = list(caches), tokens, ends

    @property
    def length(self) -> int:
        return self.caches[0].length

    @property
    def nbytes(self) -> int:
        return sum(cache.nbytes for cache in self.caches) + sum(row.nbytes for rows in self.ends for row in rows)

    def keep(self, rows: Sequence[int]) -> None:
        """A head keeps its context rows by itself."""

    def trim(self, length: int) -> None:
        self.caches[0].trim(length)
        del self.tokens[length:]
        for module, cache in enumerate(self.caches[1:], 1):
            cache.trim(min(cache.length, max(0, length - module)))
            del self.ends[module - 1][max(0, length - module + 1) :]

    def fork(self) -> ModuleCache:
        return ModuleCache(
            [cache.fork() for cache in self.caches], list(self.tokens), [list(rows) for rows in self.ends]
        )

    def close(self) -> None:
        for cache in self.caches:
            cache.close()


class Apart(StepHead):
    """A module drafts each token: module k the k-th after the one that the first drafts, where k counts from 0."""

    def open(self) -> StepCache:
        modules = range(self.rows.modules)
        return StepCache(ModuleCache([self.rows.open(module) for module in modules], [], [[] for _ in modules[1:]]))

    def begin(self, feeds: Sequence[Feed]) -> tuple[list[Place], Logits]:
        owners: list[Any] = [feed.cache for feed in feeds]
        fed = [
            replace(feed, cache=own.caches[0], taps=self.rows.context(feed.taps))
            for feed, own in zip(feeds, owners, strict=True)
        ]
        ends, logits = self.rows.run(0, fed, True)
        places = []
        for feed, own, end in zip(feeds, owners, ends, strict=True):
            rows = end.copy()
            own.tokens.extend(feed.tokens)
            own.ends[0].extend(rows)
            places.append(Place(own, rows[:0], own.length))
        self._catch_up([own for feed, own in zip(feeds, owners, strict=True) if not feed.block])
        return places, logits

    def _catch_up(self, owners: Sequence[ModuleCache]) -> None:
        """Feeds every module what waited for it: of a prompt that is a long way, and paths would each go it again."""
        for module in range(1, self.rows.modules):
            waiting = [own for own in owners if own.caches[module].length < len(own.tokens) - module]
            if not waiting:
                continue
            fed = []
            for own in waiting:
                begin, end = own.caches[module].length, len(own.tokens) - module
                carried = np.stack(own.ends[module - 1][begin:end])
                fed.append(Feed(own.caches[module], tuple(own.tokens[begin + module :]), carried, 0))
            further = module < self.rows.modules - 1  # nobody goes on from where the last one's rows end
            ends, _ = self.rows.run(module, fed, further)
            if further:
                for own, rows in zip(waiting, ends, strict=True):
                    own.ends[module].extend(rows.copy())

    def step(self, paths: Sequence[tuple[Place, int]]) -> tuple[list[Place], Logits]:
        """Feeds a module what waited for it, then the rows whose tokens were drafted, which no cache keeps."""
        module, taken, fed, kept = 1 + len(paths[0][0].tokens), set[int](), list[Feed](), list[int]()
        for place, token in paths:
            own = place.cache
            cache = own.caches[module] if id(own) not in taken else own.caches[module].fork()
            taken.add(id(own))
            begin, known = cache.length, len(own.tokens)
            read = own.tokens[begin + module :], place.tokens[max(0, begin + module - known) :]
            carried = np.concatenate([*(row[None] for row in own.ends[module - 1][begin:]), place.carried])
            fed.append(Feed(cache, (*read[0], *read[1], token), carried, 1))
            kept.append(max(0, known - module - begin))
        ends, logits = self.rows.run(module, fed, True)
        places = []
        for (place, token), feed, count, end in zip(paths, fed, kept, ends, strict=True):
            rows, own = end.copy(), place.cache
            feed.cache.trim(feed.cache.length - len(rows) + count)
            if feed.cache is own.caches[module] and module < len(own.ends):
                own.ends[module].extend(rows[:count])
            places.append(Place(own, rows[count:], place.length, (*place.tokens, token)))
        return places, logits


def _own(cache: Cache) -> StepCache:
    if not isinstance(cache, StepCache):
        raise ValueError("a head scores its own caches only: open one with its open()")
    return cache
