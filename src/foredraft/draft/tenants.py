"""What a drafter keeps for each tenant: of those that were here last, as much as there is room for together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

MOST = 64
FULL = 8  # as many of the largest size fit

Kept = TypeVar("Kept")


class Tenants(Generic[Kept]):
    """The one that was not here for longest is forgotten first; the last one never is.

    size: of what is kept for a tenant, in any unit. largest: the most that may be.
    """

    def __init__(self, size: Callable[[Kept], int], largest: int) -> None:
        self._size, self._room = size, FULL * largest
        self._kept: dict[str, Kept] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, name: str) -> bool:
        return name in self._kept

    def get(self, name: str) -> Kept | None:
        return self._kept.get(name)

    def put(self, name: str, kept: Kept) -> None:
        """`name` is here, with this."""
        self._kept.pop(name, None)
        self._kept[name] = kept
        room = self._room - sum(map(self._size, self._kept.values()))
        while len(self._kept) > MOST or (room < 0 and len(self._kept) > 1):
            room += self._size(self._kept.pop(next(iter(self._kept))))

    def forget(self, name: str | None = None) -> None:
        """This one, or all."""
        for one in [*self._kept] if name is None else [name]:
            self._kept.pop(one, None)
