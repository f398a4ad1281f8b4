"""Memory that was freed goes back to the system: glibc keeps it, in pieces that the next batch, shaped otherwise, does
not fit."""

from __future__ import annotations

import ctypes
import platform
from functools import cache
from typing import Any

EVERY = 16  # steps


@cache
def _library() -> Any:
    """The C library, where it is the one that keeps what is freed."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def give_back() -> None:
    """A fraction of a second for each gigabyte that goes."""
    library = _library()
    if library is not None:
        library.malloc_trim(0)
