"""Files of drafters: arrays of int32 behind one line of JSON that says what they are and whose vocabulary they are in.

Nothing in them is trusted: a file that is cut off, changed, of another kind or of another vocabulary is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foredraft.core.errors import UsageError
from foredraft.core.tokens import Tokens

Ids = NDArray[np.int32]

HEAD = 1024
"""Bytes of the line, padded with spaces, so that the arrays after it are aligned."""
BLOCK = 1 << 20


def vocabulary_of(tokens: Tokens, sample: int | None = None) -> str:
    """What tells one vocabulary from another: a hash of its size and the bytes of every id.

    sample: of so many only, evenly spaced. To spell all of them takes a fifth to half a second.
    """
    digest = hashlib.sha256(b"%d:" % tokens.size)
    for token in range(0, tokens.size, max(1, tokens.size // sample) if sample else 1):
        spelt = tokens.token_bytes(token)
        digest.update(b"%d " % (-1 if spelt is None else len(spelt)) + (spelt or b""))
    return digest.hexdigest()


def write(path: Path, kind: str, vocabulary: str, arrays: Sequence[Ids]) -> None:
    """Writes a file in one step: whoever reads it meanwhile sees the old one. Raises UsageError where it cannot."""
    data = [np.ascontiguousarray(one, dtype="<i4").view(np.uint8).data for one in arrays]
    digest = hashlib.sha256()
    for one in data:
        digest.update(one)
    head = {"foredraft": kind, "vocabulary": vocabulary, "sizes": [len(one) for one in arrays]}
    line = json.dumps(head | {"sha256": digest.hexdigest()}).encode().ljust(HEAD - 1) + b"\n"
    part = path.with_name(f".{path.name}-{os.urandom(8).hex()}.part")
    try:
        with part.open("xb") as file:
            file.write(line)
            for one in data:
                file.write(one)
        part.replace(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}): choose another place") from None
    finally:
        part.unlink(missing_ok=True)


def read(path: Path, kind: str, vocabulary: str) -> list[Ids]:
    """The arrays of a file, read where they lie. Raises UsageError for a file that is not whole or not `kind`'s."""
    try:
        with path.open("rb") as file:
            head = _head(file.read(HEAD))
            if head is None or head.get("foredraft") != kind:
                raise UsageError(f"{path} is no {kind} file: give another, or a new name")
            if head.get("vocabulary") != vocabulary:
                raise UsageError(f"{path} was made with another model's vocabulary: give each vocabulary its own file")
            sizes = _sizes(head)
            size = path.stat().st_size
            if sizes is None or size != HEAD + 4 * sum(sizes) or _hash(file) != head.get("sha256"):
                raise UsageError(f"{path} is damaged: delete it")
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): give another") from None
    found, offset = list[Ids](), HEAD
    for size in sizes:
        empty = np.empty(0, dtype="<i4")
        found.append(np.memmap(path, dtype="<i4", mode="r", offset=offset, shape=(size,)) if size else empty)
        offset += 4 * size
    return found


def _head(line: bytes) -> dict[str, Any] | None:
    try:
        head = json.loads(line)
    except ValueError:
        return None
    return head if isinstance(head, dict) else None


def _sizes(head: dict[str, Any]) -> list[int] | None:
    sizes = head.get("sizes")
    return sizes if isinstance(sizes, list) and all(type(one) is int and one >= 0 for one in sizes) else None


def _hash(file: Any) -> str:
    digest = hashlib.sha256()
    while block := file.read(BLOCK):
        digest.update(block)
    return digest.hexdigest()
