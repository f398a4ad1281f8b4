"""A user's texts as tokens with their suffix array, kept in a file so that they are sorted once.

The suffix array lists all places of a text in the order of what stands there (Manber and Myers 1990), so the places
where some tokens stand are one run of it. Only the first SORTED tokens of a suffix count: no longer match is asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foredraft.core.errors import UsageError
from foredraft.core.tokens import Tokens
from foredraft.draft import files
from foredraft.draft.files import Ids
from foredraft.draft.history import END

KIND = "corpus"
SORTED = 32
MOST = 2**31 - 2
"""Tokens of a datastore: places are int32."""


@dataclass(frozen=True)
class Datastore:
    """text: the tokens of all texts, END after each. suffixes: its places, sorted by what stands there."""

    text: Ids
    suffixes: Ids


def load(path: Path, folder: Path, tokens: Tokens) -> Datastore:
    """The datastore of a file of texts, from its index in `folder`, which is built where there is none.

    The index is named by the contents of the file and the vocabulary, so a file that changed gets another. Raises
    UsageError for files that cannot be read, hold no text, or an index that is damaged.
    """
    vocabulary = files.vocabulary_of(tokens)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): give a text file or JSON lines") from None
    key = hashlib.sha256(f"{vocabulary} {SORTED} {path.suffix} ".encode() + data).hexdigest()[:16]
    index = folder / f"{path.name}.{key}.{KIND}"
    if not index.exists():
        text = tokenised(path, data, tokens)
        files.write(index, KIND, vocabulary, [text, suffix_array(text)])
    arrays = files.read(index, KIND, vocabulary)
    if len(arrays) != 2 or not _fits(arrays[0], arrays[1], tokens.size):
        raise UsageError(f"{index} is damaged: delete it")
    return Datastore(arrays[0], arrays[1])


def tokenised(path: Path, data: bytes, tokens: Tokens) -> Ids:
    """The tokens of all texts of a file. Raises UsageError where it holds none."""
    ids = [token for text in texts(path, data) if text for token in (*tokens.encode(text), END)]
    if not ids:
        raise UsageError(f"{path} holds no text: give a file with some")
    if len(ids) > MOST:
        raise UsageError(f"{path} has more than {MOST} tokens: split it")
    return np.array(ids, dtype=np.int32)


def texts(path: Path, data: bytes) -> Iterator[str]:
    """The whole of a text file; of JSON lines (*.jsonl) every text: a string, `text`, or each of `turns`."""
    try:
        whole = data.decode()
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text: convert it, or give another") from None
    if path.suffix != ".jsonl":
        yield whole
        return
    for number, line in enumerate(whole.split("\n"), start=1):
        if line.strip():
            found = _texts(line)
            if found is None:
                raise UsageError(f'line {number} of {path} holds no text: write a JSON string, {{"text": …}} or turns')
            yield from found


def _texts(line: str) -> list[str] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    if isinstance(value, dict):
        value = value.get("text", value.get("turns"))
    found = value if isinstance(value, list) else [value]
    return found if found and all(isinstance(text, str) for text in found) else None


def suffix_array(text: Ids, sorted_by: int = SORTED) -> Ids:
    """The places of `text` in the order of the tokens that stand there; of equals the earlier first.

    Prefix doubling: ranks by the first w tokens, in pairs, give ranks by the first 2w. The end comes before any token.
    """
    size = len(text)
    rank = np.unique(text, return_inverse=True)[1].astype(np.int64).reshape(-1)
    order = np.argsort(rank, kind="stable")
    width = 1
    while width < sorted_by and size and rank[order[-1]] < size - 1:
        after = np.zeros(size, dtype=np.int64)
        after[: max(0, size - width)] = rank[width:] + 1
        key = rank * (size + 1) + after
        order = np.argsort(key, kind="stable")
        rank[order] = np.concatenate([[0], np.cumsum(np.diff(key[order]) != 0)])
        width *= 2
    return order.astype(np.int32)


def _fits(text: Ids, suffixes: Ids, vocab_size: int) -> bool:
    """Whether these can be searched at all."""
    size = len(text)
    whole = 0 < size == len(suffixes) and text.min() >= END and text.max() < vocab_size
    return bool(whole and suffixes.min() == 0 and suffixes.max() == size - 1)
