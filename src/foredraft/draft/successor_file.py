"""Tables of successors on disk, as safetensors: read without trust, refused when they are another vocabulary's."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from foredraft.core.errors import UsageError
from foredraft.draft.successors import NOTHING, Context, Rows

FORMAT = "foredraft successors 1"
SHAPES = ("contexts", "tokens", "probs")
NO_FACTS: Mapping[str, str] = MappingProxyType({})


def can_be_saved(path: Path) -> bool:
    """Whether a table could be written there now."""
    try:
        with tempfile.TemporaryFile(dir=path.absolute().parent):
            return not path.is_dir()
    except OSError:
        return False


def save(
    path: Path,
    rows: Sequence[tuple[Context, tuple[int, ...], tuple[float, ...]]],
    vocabulary: str,
    facts: Mapping[str, str] = NO_FACTS,
) -> None:
    """Writes a table whole or not at all. facts: where it comes from. Raises UsageError where it cannot be written."""
    width = max((len(tokens) for _, tokens, _ in rows), default=1)
    size = max((len(context) for context, _, _ in rows), default=1)
    arrays = {
        "contexts": _padded([(NOTHING,) * (size - len(context)) + context for context, _, _ in rows], size, np.int32),
        "tokens": _padded([tokens for _, tokens, _ in rows], width, np.int32),
        "probs": _padded([probs for _, _, probs in rows], width, np.float32),
    }
    try:
        handle, part = tempfile.mkstemp(prefix=path.name, dir=path.parent)
        os.close(handle)
        try:
            save_file(arrays, part, {"format": FORMAT, "vocabulary": vocabulary, **facts})
            os.replace(part, path)
        finally:
            Path(part).unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise UsageError(
            f"the successors cannot be saved in {path}: {error}; name a file that can be written"
        ) from None


def load(path: Path, vocabulary: str | None, size: int, longest: int, width: int) -> Rows:
    """The rows of a saved table, `width` wide, for contexts of at most `longest` tokens. size: of the vocabulary.

    vocabulary: whose it must be (`draft/files.py`); None where that is known.

    Raises UsageError for a file that is not there, is damaged or belongs to another vocabulary.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            facts = file.metadata() or {}
            arrays = [np.asarray(file.get_tensor(name)) for name in SHAPES]
    except FileNotFoundError:
        raise UsageError(f"there is no table of successors at {path}: save one first") from None
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise _damaged(path, str(error)) from None
    if facts.get("format") != FORMAT:
        raise _damaged(path, "it is in another format")
    if vocabulary is not None and facts.get("vocabulary") != vocabulary:
        raise UsageError(f"the successors in {path} are of another vocabulary: use a table saved with this model")
    _check(path, arrays, size)
    contexts, tokens, probs = arrays
    short = (contexts != NOTHING).sum(axis=1) <= longest
    return Rows(contexts[short, -longest:], tokens[short, :width], probs[short, :width])


def _check(path: Path, arrays: Sequence[NDArray[Any]], size: int) -> None:
    contexts, tokens, probs = arrays
    kinds = [array.dtype for array in arrays] == [np.int32, np.int32, np.float32]
    if not kinds or any(array.ndim != 2 or not array.shape[1] for array in arrays):
        raise _damaged(path, "its arrays have other shapes or types")
    if len(contexts) != len(tokens) or tokens.shape != probs.shape:
        raise _damaged(path, "its arrays do not fit each other")
    inside = all(((array >= NOTHING) & (array < size)).all() for array in (contexts, tokens))
    ends = (contexts[:, -1] != NOTHING).all() and (tokens[:, 0] != NOTHING).all()
    gaps = (np.diff(contexts != NOTHING) & (contexts[:, 1:] == NOTHING)).any() or (
        np.diff(tokens != NOTHING) & (tokens[:, 1:] != NOTHING)
    ).any()
    doubled = np.sort(tokens, axis=1)
    twice = ((np.diff(doubled, axis=1) == 0) & (doubled[:, 1:] != NOTHING)).any()
    falling = np.isfinite(probs).all() and ((probs >= 0) & (probs <= 1)).all() and (np.diff(probs, axis=1) <= 0).all()
    if not inside or not ends or gaps or twice or not falling:
        raise _damaged(path, "its rows are no successors")


def _padded(rows: Sequence[Sequence[float]], width: int, kind: type[np.generic]) -> NDArray[Any]:
    """[rows, width]; tokens that are missing are NOTHING, probabilities 0."""
    fill = NOTHING if kind is np.int32 else 0
    return np.array([[*row, *[fill] * (width - len(row))] for row in rows], dtype=kind).reshape(len(rows), width)


def _damaged(path: Path, what: str) -> UsageError:
    return UsageError(f"{path} is no table of successors, or a damaged one ({what}): leave file out or save one anew")
