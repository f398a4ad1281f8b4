"""Built tokenizers of GGUF files, kept on disk: building a big one takes a second or more, reading it back a third.

An entry holds for the header it was made from (its length and SHA-256), the code that made it and the library that
reads it. Anything else, a damaged entry, or a folder that cannot be used counts as no entry. Entries are JSON, and get
their name only when whole.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import tokenizers

from foredraft.models.fetch import models_folder

MAKERS = ("byte_level", "gguf_header", "sentencepiece", "tokenizer", "tokenizer_cache", "vocabulary")
"""Modules that decide what is in an entry."""

HEAD = 1 << 16
"""Bytes of a file that, with its size, name its entry."""

LONGEST = 1 << 26
"""Bytes of a header whose tokenizer is kept: ten times that of the largest vocabularies."""


@dataclass(frozen=True)
class Entry:
    """core: the tokenizer of plain text. fields: what else there is to say, as JSON has it."""

    core: tokenizers.Tokenizer
    fields: dict[str, Any]


def folder() -> Path:
    """Where entries are: beside the models."""
    return models_folder() / "tokenizers"


def load(path: Path) -> Entry | None:
    """The entry of the GGUF file at `path`; None when there is none that holds."""
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            return None
        with path.open("rb") as file:
            seal, fields, core = _place(file).read_bytes().split(b"\n", 2)
            claimed = json.loads(seal)
            if not 0 < claimed["length"] <= LONGEST or claimed != _seal(file, claimed["length"], fields, core):
                return None
        return Entry(tokenizers.Tokenizer.from_str(core.decode()), json.loads(fields))
    except Exception:  # the library raises bare Exception, and whatever is wrong, the file itself is still there
        return None


def stamp(path: Path) -> tuple[int, ...]:
    """What changes when the file does; nothing when that cannot be told."""
    with suppress(OSError):
        facts = path.stat()
        return facts.st_ino, facts.st_size, facts.st_mtime_ns
    return ()


def save(path: Path, read_at: tuple[int, ...], length: int, entry: Entry) -> None:
    """Keeps what was made of the first `length` bytes of the file at `path`, unless it changed since `read_at`."""
    if length > LONGEST:
        return
    core = _compact(entry.core.to_str()).encode()
    fields = json.dumps(entry.fields).encode()
    with suppress(OSError), path.open("rb") as file:
        seal = json.dumps(_seal(file, length, fields, core)).encode()
        if stamp(path) == read_at:
            _write(_place(file), b"\n".join((seal, fields, core)))


def _place(file: IO[bytes]) -> Path:
    file.seek(0)
    name = hashlib.sha256(file.read(HEAD))
    name.update(b"%d" % os.fstat(file.fileno()).st_size)
    return folder() / f"{name.hexdigest()[:32]}.json"


def _seal(file: IO[bytes], length: int, fields: bytes, core: bytes) -> dict[str, Any]:
    """What an entry of this file must say of itself."""
    file.seek(0)
    makers = b"".join((Path(__file__).parent / f"{name}.py").read_bytes() for name in MAKERS)
    digests = {"header": file.read(length), "fields": fields, "core": core, "makers": makers}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in digests.items()}
    return hashes | {"length": length, "library": tokenizers.__version__}


def _compact(core: str) -> str:
    """The same tokenizer, with merges as strings of two words, which are read a quarter faster than pairs."""
    data = json.loads(core)
    pairs = data["model"]["merges"]
    # Of strings the library skips those that look like the first line of a merges.txt.
    if not any(" " in left or " " in right or left.startswith("#version") for left, right in pairs):
        data["model"]["merges"] = [f"{left} {right}" for left, right in pairs]
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _write(place: Path, data: bytes) -> None:
    """Writes a file in one step: whoever reads it meanwhile sees the old one, or none."""
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(f".{place.name}-{os.urandom(8).hex()}.part")
    try:
        part.write_bytes(data)
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)
