"""Where a page goes: whole, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from foredraft.core.errors import ForedraftError, UsageError


def write(out: BinaryIO, content: bytes, name: str) -> None:
    """Raises ForedraftError where there is no room. name: the place as it was given."""
    try:
        out.write(content)
        out.flush()
    except OSError as error:
        why, remedy = error.strerror or error, "make room, or choose another place for --out"
        raise ForedraftError(f"cannot write {name}: {why}; {remedy}") from None


@contextmanager
def put_in_place(path: Path) -> Iterator[BinaryIO]:
    """A file to write that becomes `path` when the body ends, and is gone when the body fails.

    Raises UsageError at once where nothing can be written there, or something stands there that is no file of text.
    """
    target = path.resolve()
    if target.exists() and not (target.is_file() and os.access(target, os.W_OK)):
        raise UsageError(f"{path} is no file that can be written over: choose another name for --out")
    part = target.with_name(f".{target.name[:40]}-{token_hex(8)}.part")
    try:
        file = part.open("xb")
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}): choose another place for --out") from None
    try:
        with file:
            yield file
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
