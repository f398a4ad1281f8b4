"""What the process holds in memory, as the kernel counts it.

Resident pages are of two kinds: those of files, which a mapped model shares with other processes and the kernel may
drop, and anonymous ones, which are this process's own: caches, drafters, weights in another format.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROCESS = Path("/proc/self")
FORGET = "5"  # what `clear_refs` takes to begin the peak anew (proc(5))


@dataclass(frozen=True)
class Memory:
    """Bytes. peak: most that was resident since `forget_peak`. anonymous: of it now the process's own. None: the system
    does not say.
    """

    peak: int | None = None
    anonymous: int | None = None


UNKNOWN = Memory()


def memory(process: Path = PROCESS) -> Memory:
    """Now. On systems without /proc nothing is known."""
    try:
        lines = (process / "status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return UNKNOWN
    found = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
    return Memory(_bytes(found.get("VmHWM")), _bytes(found.get("RssAnon")))


def forget_peak(process: Path = PROCESS) -> None:
    """Begins the peak anew; where that may not be, it stays that of the whole process."""
    with suppress(OSError):
        (process / "clear_refs").write_text(FORGET, encoding="utf-8")


def most(found: Iterable[Memory]) -> Memory:
    """The largest of each."""
    known = list(found)
    return Memory(_largest(one.peak for one in known), _largest(one.anonymous for one in known))


def _bytes(words: list[str] | None) -> int | None:
    """Of `1234 kB`."""
    return int(words[0]) * 1024 if words is not None else None


def _largest(numbers: Iterable[int | None]) -> int | None:
    return max((number for number in numbers if number is not None), default=None)
