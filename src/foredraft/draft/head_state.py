"""What a drafter with a trained head keeps of a sequence: the head's cache, and what is still to be fed to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from foredraft.core.heads import Feed
from foredraft.core.protocols import Cache, Vectors


@dataclass
class HeadState:
    """The head's cache, whose rows stand for positions `first`, `first` + 1, …, and the hidden states to come.

    taps: those of the positions before the rows that are not fed yet. last: those of the newest row that was fed, for
    it may be asked for again.
    """

    cache: Cache
    first: int = 1
    taps: list[Vectors] = field(default_factory=list)
    last: Vectors | None = None

    @property
    def waiting(self) -> int:
        """Rows that are not fed yet."""
        return sum(map(len, self.taps))

    @property
    def end(self) -> int:
        """The position after the last one that has a row or can have one."""
        return self.first + self.cache.length + self.waiting

    def take(self, start: int, taps: Vectors) -> None:
        """Hidden states of positions from `start` on. Where some before were never told the head begins anew."""
        if not len(taps):
            return
        if start + 1 != self.end:
            self.cache.trim(0)
            self.first, self.taps, self.last = start + 1, [], None
        self.taps.append(taps)

    def keep_last(self, count: int) -> None:
        """Of rows that are not fed yet only the last `count` ever are; where there are more the head begins anew."""
        spare = self.waiting - count
        if spare <= 0:
            return
        self.first, self.last = self.end - count, None
        self.cache.trim(0)
        while spare >= len(self.taps[0]):
            spare -= len(self.taps.pop(0))
        self.taps[0] = self.taps[0][spare:].copy()  # a view would keep the whole chunk of a prompt

    def feed(self, text: Sequence[int], count: int, block: int) -> Feed:
        """The next `count` rows, `block` tokens to be drafted after them; the last one again where none is left."""
        if not count and self.last is not None:
            self.cache.trim(self.cache.length - 1)
            self.taps = [self.last]
            count = 1
        taps = self.taps[0] if len(self.taps) == 1 else np.concatenate(self.taps)
        # Copies, or these few rows would keep the whole chunk of a prompt.
        self.taps, self.last = [taps[count:].copy()] if count < len(taps) else [], taps[count - 1 : count].copy()
        begin = self.first + self.cache.length
        return Feed(self.cache, tuple(text[begin : begin + count]), taps[:count], block)

    def unfeed(self, feed: Feed) -> None:
        """Takes back what was fed, after a pass that failed before its rows were kept."""
        self.taps, self.last = [feed.taps, *self.taps], None

    def fork(self) -> HeadState:
        return HeadState(self.cache.fork(), self.first, list(self.taps), self.last)
