"""Medusa, Hydra and multi-token heads on the native engine: what their definitions say, however they are fed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from foredraft import _native
from foredraft.core.errors import UsageError
from foredraft.core.heads import Feed
from foredraft.draft import family
from foredraft.draft.family import Provided
from foredraft.draft.level_tree import plain_children
from foredraft.draft.trees import PlainTrees
from foredraft.engine.heads import native_head, plain_head
from foredraft.models.native import NativeModel
from gguf_cases import Written
from random_heads import random_head, taps_of

Files = Callable[..., Written]
SAYS = (0, 1, 2, 5, 9, *range(20, 300, 3))
TEXT = (3, 141, 59, 26, 5, 35, 89, 79, 32, 38, 46, 264, 33, 83, 27, 95, 20, 28, 84, 197, 169)
FORMS: list[tuple[str, dict[str, int]]] = [
    ("medusa", {}),
    ("medusa", {"own": 1, "layers": 1}),
    ("hydra", {}),
    ("hydra", {"prefix": 1}),
    ("hydra", {"own": 1, "layers": 1}),
    ("mtp", {}),
]


@pytest.fixture(scope="module")
def target(files: Files) -> NativeModel:
    return NativeModel.load(files("qwen3", "F32").path, threads=2, activations="f32", kv="f32")


def drafter_of(target: NativeModel, method: str, sizes: dict[str, int], kind: str) -> Any:
    """kind: plain, f32, int8 or int4."""
    parts = random_head(target.about, method=method, says=SAYS, **sizes)
    if kind == "plain":
        head = plain_head(target, *parts)
    elif kind == "f32":
        head = native_head(target, *parts, quantize=None, activations="f32")
    else:
        head = native_head(target, *parts, quantize=kind)
    return family(method).build(family(method).options(), Provided(head=head))


def said(drafter: Any, cache: Any, taps: Any, begin: int, root: int) -> Any:
    """Rows of positions begin … root are fed; the laws along the text after it."""
    feed = Feed(cache, TEXT[begin : root + 1], taps[begin - 1 : root], drafter.head.block)
    return drafter.laws(feed, TEXT[root + 1 :]).copy()


@pytest.mark.parametrize(("method", "sizes"), FORMS, ids=str)
@pytest.mark.parametrize("roots", [(14,), (1, 2, 3, 14)])
def test_heads_say_what_their_definitions_say(
    target: NativeModel, method: str, sizes: dict[str, int], roots: tuple[int, ...]
) -> None:
    drafters = [drafter_of(target, method, sizes, kind) for kind in ("plain", "f32")]
    taps = taps_of(target, TEXT, drafters[0].head.taps)
    caches, begin = [drafter.head.open() for drafter in drafters], 1
    for root in roots:
        plain, native = (said(*pair, taps, begin, root) for pair in zip(drafters, caches, strict=True))
        np.testing.assert_allclose(native, plain, atol=1e-4, rtol=0)
        begin = root + 1


@pytest.mark.parametrize(("method", "sizes"), FORMS, ids=str)
@pytest.mark.parametrize(("kind", "off"), [("int8", 0.05), ("int4", 0.5)])
def test_packed_heads_are_close(target: NativeModel, method: str, sizes: dict[str, int], kind: str, off: float) -> None:
    plain, packed = (drafter_of(target, method, sizes, one) for one in ("plain", kind))
    taps = taps_of(target, TEXT, plain.head.taps)
    wanted, found = (said(one, one.head.open(), taps, 1, 14) for one in (plain, packed))
    assert np.abs(found - wanted).mean() < off * wanted.std()


@pytest.mark.parametrize(("method", "sizes"), FORMS, ids=str)
def test_rows_depend_on_their_own_text_alone(target: NativeModel, method: str, sizes: dict[str, int]) -> None:
    """Forks, trims and batch mates change no bit."""
    drafter = drafter_of(target, method, sizes, "int8")
    head, taps = drafter.head, taps_of(target, TEXT, drafter.head.taps)
    first = head.open()
    head.score([Feed(first, TEXT[1:9], taps[:8], 0)])
    second = first.fork()
    wanted = said(drafter, first, taps, 9, 14)
    said(drafter, second, taps, 9, 16)
    second.trim(8)
    other = head.open()
    pair = head.score([Feed(other, TEXT[1:4], taps[:3], 4), Feed(second, TEXT[9:15], taps[8:14], 4)])
    alone, found = (rows.copy() for rows in pair)
    assert np.array_equal(found, wanted[: len(found)])
    assert np.array_equal(alone, said(drafter, head.open(), taps, 1, 3)[: len(alone)])
    assert (second.length, other.length) == (14, 3)
    first.close()


@pytest.mark.parametrize("size", [1, 16, 1025])
def test_trees_without_biases_are_those_of_both_twins(target: NativeModel, size: int) -> None:
    rng = np.random.default_rng(size)
    trees = _native.BlockTree(size, target.pool, "")
    for _ in range(20):
        logits = rng.normal(scale=3, size=(4, size)).astype(np.float32)
        assert trees.grow(logits, 12, 4, 1e-3) == PlainTrees().grow(logits, 12, 4, 1e-3)
        assert trees.children(logits, 5) == plain_children(logits, 5)
    assert trees.children(np.full((1, size), np.nan, np.float32), 3) == [([], [])]
    assert not trees.bias([0]).any()


def test_what_heads_refuse(target: NativeModel) -> None:
    head = drafter_of(target, "medusa", {}, "int8").head
    with pytest.raises(ValueError, match="not of the head.s width"):
        head._residuals.logits(np.zeros((1, 8), np.float32), 0, 1)
    with pytest.raises(ValueError, match="no such head"):
        head._residuals.logits(np.zeros((1, target.about.width), np.float32), 2, 9)
    parts = random_head(target.about, method="mtp", says=SAYS, head_size=8)
    with pytest.raises(UsageError, match="does not compute this head"):
        native_head(target, *parts, quantize="int8")
