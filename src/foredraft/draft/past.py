"""Finished texts of one tenant, searched together: bounded, the oldest text goes first."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence

from foredraft.draft.history import END, History
from foredraft.draft.matches import Places


class Past:
    """At most `limit` tokens of whole texts; of a longer text the end.

    Places are counted from the first token ever added, so that what a text saw when it began stays what it sees.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.history = History()
        self.sizes: deque[int] = deque()  # of the texts kept, their END included
        self.first = 0  # where the texts kept begin in `history`
        self.dropped = 0  # tokens that are no longer in `history`

    @property
    def end(self) -> int:
        """Tokens ever added."""
        return self.dropped + len(self.history)

    @property
    def size(self) -> int:
        """Of the texts kept, in tokens."""
        return len(self.history) - self.first

    @property
    def kept(self) -> array[int]:
        """The tokens of all texts kept, END after each."""
        return self.history.tokens[self.first :]

    def add(self, text: Sequence[int]) -> None:
        text = text[-(self.limit - 1) :] if self.limit > 1 else ()
        if not text:
            return
        self.history.extend([*text, END])
        self.sizes.append(len(text) + 1)
        while self.size > self.limit:
            self.first += self.sizes.popleft()
        if self.first > self.limit:  # half of the history is no longer searched: the rest is entered anew
            kept = self.kept
            self.dropped += self.first
            self.history, self.first = History(), 0
            self.history.extend(kept)

    def matches(self, context: array[int], until: int) -> Places:
        """Where the last tokens of `context` stand in what was there when `end` was `until`."""
        return self.history.matches(context, (self.first, until - self.dropped))


def past_of(texts: Sequence[int], limit: int) -> Past:
    """The texts of `kept`, entered again."""
    past, begin = Past(limit), 0
    for place, token in enumerate(texts):
        if token == END:
            past.add(texts[begin:place])
            begin = place + 1
    return past
