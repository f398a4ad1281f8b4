"""One run at a time writes to a place: two would each undo what the other wrote."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from foredraft.core.errors import ForedraftError, UsageError


@contextmanager
def alone(out: Path, *, folder: bool = False) -> Iterator[None]:
    """Meanwhile no other process writes to `out`, a file, or a `folder`, which is made. A process that ends in any way
    gives it free; the file that says so, OUT.lock or OUT/lock, may stay. Raises UsageError where another does."""
    path = out / "lock" if folder else out.with_name(out.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=0)
        lock.acquire()
    except Timeout as error:
        raise UsageError(f"another run is writing to {out}: wait until it ends, or give another --out") from error
    except OSError as error:
        raise ForedraftError(f"{out} cannot be written to ({error}): give another --out") from error
    try:
        yield
    finally:
        lock.release()
