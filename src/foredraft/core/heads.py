"""The contract of a trained head: what stands on a target and drafts from its hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from foredraft.core.law import Ids
from foredraft.core.protocols import Cache, Vectors
from foredraft.core.rules import Logits


@dataclass(frozen=True)
class Feed:
    """What one sequence gives a trained head, on a cache of the head's own.

    tokens: new ones. taps: [tokens, layers tapped * width], the target's before each. block: tokens wanted after them.
    """

    cache: Cache
    tokens: tuple[int, ...]
    taps: Vectors
    block: int


class Head(Protocol):
    """A trained head: drafts from the hidden states of its target; more of it in draft/one_pass.py and draft/levels.py.

    taps: the target's layers that it reads. block: tokens that follow one another. says: those it can draft, ascending;
    a token's place is its index there.
    """

    taps: tuple[int, ...]
    block: int
    says: Ids

    def open(self) -> Cache: ...

    def score(self, feeds: Sequence[Feed]) -> list[Logits]:
        """ONE pass, whose tokens the caches keep. Logits [levels, places]: row s is of the token s + 1 after the last
        fed one; of at most feed.block levels, of none where that is 0."""

    def close(self) -> None: ...
