"""Texts that are searched: tokens, and for every place the one before it with the same last tokens.

What a suffix tree of bounded depth holds (how often what followed a context), read off the places where the context
stood. A token costs two entries, whatever the depth, and a draft looks at a bounded number of places.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from foredraft.draft.matches import KEY, Places
from foredraft.draft.native import TWINS

END = -1
"""Ends a text among several."""

BITS = 31
"""Of a token in the number that stands for the last KEY tokens."""
MASK = (1 << BITS * KEY) - 1

REACH = 256
"""Places looked at for one context, the latest ones."""


@dataclass
class History:
    """tokens: int32. single, triple: the place before each with the same token, the same three; END for none."""

    tokens: array[int] = field(default_factory=lambda: array("i"))
    single: array[int] = field(default_factory=lambda: array("i"))
    triple: array[int] = field(default_factory=lambda: array("i"))
    newest: dict[int, int] = field(default_factory=dict)
    newest_triple: dict[int, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tokens)

    def extend(self, tokens: Sequence[int]) -> None:
        newest, newest_triple = self.newest, self.newest_triple
        key = _key(self.tokens[-KEY:])
        for place, token in enumerate(tokens, start=len(self.tokens)):
            key = (key << BITS | token + 1) & MASK
            self.single.append(newest.get(token, END))
            self.triple.append(newest_triple.get(key, END))
            newest[token] = newest_triple[key] = place
        self.tokens.extend(tokens)

    def copy(self) -> History:
        arrays = self.tokens[:], self.single[:], self.triple[:]
        return History(*arrays, self.newest.copy(), self.newest_triple.copy())

    def own_matches(self, depth: int) -> Places:
        """Where the last tokens of this very text stood earlier in it; `depth` of them are compared at most."""
        newest = (self.single[-1], self.triple[-1])
        span = (0, len(self.tokens))
        return TWINS.matches(self.tokens, self.single, self.triple, newest, self.tokens[-depth:], span, REACH)

    def matches(self, context: array[int], span: tuple[int, int]) -> Places:
        """Where the last tokens of another text stand in span = [first, until) of these."""
        newest = (self.newest.get(context[-1], END), self.newest_triple.get(_key(context[-KEY:]), END))
        return TWINS.matches(self.tokens, self.single, self.triple, newest, context, span, REACH)


def _key(tokens: Sequence[int]) -> int:
    """One number for up to KEY tokens; END, and what is missing before a text, count as 0."""
    key = 0
    for token in tokens:
        key = key << BITS | token + 1
    return key
