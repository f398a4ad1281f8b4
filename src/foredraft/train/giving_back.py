"""Memory that was freed goes back to the system: glibc keeps it, in pieces that the next batch, shaped otherwise, does
not fit, and takes more."""

from __future__ import annotations

import ctypes
import platform
from dataclasses import dataclass
from functools import cache
from typing import Any

from foredraft.bench.memory import memory

ROOM = 4 << 30  # bytes more than after the last time: to give them back and to ask for them again takes time too


@dataclass
class Held:
    """bytes: of the process's own, after the last time that it gave some back."""

    bytes: int | None = None

    def look(self) -> None:
        """After every step; gives back where there is much to give. Nothing where the system does not say."""
        now = memory().anonymous
        if now is None:
            return
        if self.bytes is None:
            self.bytes = now
        elif now > self.bytes + ROOM:
            give_back()
            self.bytes = memory().anonymous


def give_back() -> None:
    """A fraction of a second for each gigabyte that goes."""
    library = _library()
    if library is not None:
        library.malloc_trim(0)


@cache
def _library() -> Any:
    """The C library, where it is the one that keeps what is freed."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
