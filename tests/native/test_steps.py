"""Heads that draft token by token: their laws are the definition's along any path, however they were fed and forked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from foredraft.core.errors import UsageError
from foredraft.core.heads import Feed
from foredraft.core.protocols import Query
from foredraft.draft.levels import LevelDrafter
from foredraft.draft.steps import StepHead
from foredraft.engine.step_heads import native_steps, plain_steps
from foredraft.models.native import NativeModel
from gguf_cases import Written
from random_heads import random_head, taps_of
from random_steps import METHODS, NAMES, laws_of

Files = Callable[..., Written]
SAYS = (0, 1, 2, 5, 9, *range(20, 300, 3))
TEXT = (3, 141, 59, 26, 5, 35, 89, 79, 32, 38, 46, 264, 33, 83, 27, 95, 20, 28, 84, 197, 169)
DRAFTS = (26, 5, 89)
every_method = pytest.mark.parametrize(("method", "made"), METHODS, ids=NAMES)


@pytest.fixture(scope="module")
def target(files: Files) -> NativeModel:
    return NativeModel.load(files("qwen3", "F32").path, threads=2, activations="f32", kv="f32")


def head_of(target: NativeModel, kind: str, method: str, made: dict[str, Any]) -> tuple[Any, StepHead]:
    """A random head in a form: f32, int8 or int4 (native), or plain (numpy)."""
    parts = random_head(target.about, method=method, says=SAYS, **({"block": 4} | made))
    if kind == "plain":
        return parts, plain_steps(target, *parts, dtype=np.float64)
    if kind == "f32":
        return parts, native_steps(target, *parts, quantize=None, activations="f32", pool=target.pool)
    return parts, native_steps(target, *parts, quantize=kind, pool=target.pool)


def feed(cache: Any, taps: Any, begin: int, end: int, block: int = 1) -> Feed:
    """Rows of positions begin … end - 1."""
    return Feed(cache, TEXT[begin:end], taps[begin - 1 : end - 1], block)


def along(head: StepHead, cache: Any, taps: Any, begin: int, end: int, drafts: Sequence[int]) -> np.ndarray:
    """[1 + drafts, places]: the laws after rows of positions begin … end - 1, and after each draft."""
    drafter = LevelDrafter(head, name="eagle")
    return drafter.laws(feed(cache, taps, begin, end, 4), drafts)


@every_method
@pytest.mark.parametrize(("kind", "off"), [("plain", 1e-10), ("f32", 1e-4)])
@pytest.mark.parametrize("pieces", [(1, 21), (1, 2, 3, 17, 21), (1, 16, 21)])
def test_laws_are_those_of_the_definition(
    target: NativeModel, kind: str, off: float, pieces: tuple[int, ...], method: str, made: dict[str, Any]
) -> None:
    """In whatever pieces the context is fed, with drafts of other lengths in between that leave nothing behind."""
    parts, head = head_of(target, kind, method, made)
    taps = taps_of(target, TEXT, head.taps)
    cache = head.open()
    for turn, (begin, end) in enumerate(zip(pieces, pieces[1:], strict=False)):
        drafts = DRAFTS[: (3, 0, 2, 1)[turn]]
        found = along(head, cache, taps, begin, end, drafts)
        assert cache.length == end - 1
        np.testing.assert_allclose(found, laws_of(target, parts, TEXT[:end], drafts, taps), atol=off, rtol=0)


@every_method
@pytest.mark.parametrize("kind", ["plain", "int8"])
def test_rows_depend_on_their_own_path_alone(target: NativeModel, kind: str, method: str, made: dict[str, Any]) -> None:
    """Other paths of the tree, batch mates, forks and trims change no bit."""
    _, head = head_of(target, kind, method, made)
    taps = taps_of(target, TEXT, head.taps)
    tokens, parents = (26, 2, 5, 1, 5, 89, 9, 89, 89), (-1, -1, 0, 0, 1, 2, 2, 3, 4)
    levels = (slice(0, 2), slice(2, 5), slice(5, 9))
    alone = []
    for node in range(len(tokens)):
        path, at = list[int](), node
        while at >= 0:
            path, at = [tokens[at], *path], parents[at]
        alone.append(along(head, head.open(), taps, 1, 12, path)[-1])
    first, other = head.open(), head.open()
    head.score([feed(first, taps, 1, 9, 0)])
    second = first.fork()
    along(head, second, taps, 9, 15, DRAFTS)
    second.trim(8)
    for cache in (first, second):
        head.score([feed(other, taps, 1, 5), feed(cache, taps, 9, 12)])
        for depth, level in enumerate(levels):
            queries = [Query(other, (20,), (depth - 1,)), Query(cache, tokens[level], parents[level])]
            assert np.array_equal(head.level(queries)[1], np.stack(alone[level]))
        other.trim(0)
        assert cache.length == 11
    first.trim(10)
    assert np.array_equal(along(head, first, taps, 11, 12, (26, 5, 89))[-1], alone[5])


@every_method
@pytest.mark.parametrize(("kind", "off"), [("int8", 0.05), ("int4", 0.4)])
def test_packed_heads_are_close(target: NativeModel, kind: str, off: float, method: str, made: dict[str, Any]) -> None:
    parts, head = head_of(target, kind, method, made)
    taps = taps_of(target, TEXT, head.taps)
    wanted = laws_of(target, parts, TEXT, DRAFTS, taps)
    found = along(head, head.open(), taps, 1, len(TEXT), DRAFTS)
    assert np.abs(found - wanted).mean() < 2 * off * wanted.std()


@every_method
def test_texts_shorter_than_the_modules(target: NativeModel, method: str, made: dict[str, Any]) -> None:
    parts, head = head_of(target, "plain", method, made)
    taps = taps_of(target, TEXT, head.taps)
    cache = head.open()
    for end in (2, 3):
        found = along(head, cache, taps, end - 1, end, DRAFTS)
        np.testing.assert_allclose(found, laws_of(target, parts, TEXT[:end], DRAFTS, taps), atol=1e-10, rtol=0)


def test_what_does_not_fit_is_refused(target: NativeModel) -> None:
    _, head = head_of(target, "f32", *METHODS[1])
    taps = taps_of(target, TEXT, head.taps)
    with pytest.raises(ValueError, match="own caches only"):
        head.score([feed(target.open(), taps, 1, 5)])
    with pytest.raises(ValueError, match="not as wide as the matrix"):
        head.score([feed(head.open(), taps[:, :32], 1, 5)])
    cache = head.open()
    with pytest.raises(ValueError, match="no place 3 to go on from"):
        head.level([Query(cache, (1,), (3,))])
    head.close()
    with pytest.raises(UsageError, match="this head is closed"):
        head.score([feed(cache, taps, 1, 5)])
    with pytest.raises(UsageError, match="this head is closed"):
        head.open()
    parts = random_head(target.about, method="eagle", says=SAYS, taps=(2,), heads=2, kv_heads=1, head_size=8)
    with pytest.raises(UsageError, match="does not compute this head"):
        native_steps(target, *parts)
