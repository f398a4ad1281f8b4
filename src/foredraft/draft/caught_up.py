"""The cache of a second model, and how it follows the text that the target commits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from foredraft.core.protocols import Cache


@dataclass
class CaughtUp:
    """cached: the tokens in `cache`, drafted ones included; the first `sure` of them were committed."""

    cache: Cache
    cached: list[int] = field(default_factory=list)
    sure: int = 0

    def follow(self, text: Sequence[int]) -> None:
        """Trims the cache to what it shares with `text`, whose last token (the root) is left to be scored."""
        agreed = min(self.sure, len(self.cached))
        while agreed < min(len(self.cached), len(text) - 1) and self.cached[agreed] == text[agreed]:
            agreed += 1
        self.trim(min(agreed, len(text) - 1))
        self.sure = len(self.cached)

    def trim(self, length: int) -> None:
        """Forgets all after the first `length` tokens."""
        self.cache.trim(length)
        del self.cached[length:]

    def fork(self) -> CaughtUp:
        return CaughtUp(self.cache.fork(), self.cached.copy(), self.sure)
