"""A head on the native engine: its rows are those of the definition, however they were fed, forked and cut."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from foredraft import _native
from foredraft.core.errors import UsageError
from foredraft.core.heads import Feed, Head
from foredraft.core.protocols import Query
from foredraft.draft.block_tree import best_first
from foredraft.draft.plain_block import PlainBlock
from foredraft.models.native import NativeModel
from foredraft.models.native_head_block import NativeBlock
from foredraft.models.native_head_parts import Packing
from foredraft.testing.recompute import line
from gguf_cases import Written
from random_heads import logits_of, random_head, taps_of

Files = Callable[..., Written]
SAYS = (0, 1, 2, 5, 9, *range(20, 300, 3))
TEXT = (3, 141, 59, 26, 5, 35, 89, 79, 32, 38, 46, 264, 33, 83, 27, 95, 20, 28, 84, 197, 169)


@pytest.fixture(scope="module")
def target(files: Files) -> NativeModel:
    return NativeModel.load(files("qwen3", "F32").path, threads=2, activations="f32", kv="f32")


def made(target: NativeModel, kind: str, **changes: Any) -> tuple[Any, Any]:
    """A random head in a form: f32, int8 or int4 (native), or plain (numpy)."""
    parts = random_head(target.about, **{"says": SAYS, **changes})
    if kind == "plain":
        return parts, PlainBlock(target, *parts, dtype=np.float64)
    if kind == "f32":
        return parts, NativeBlock(target, *parts, quantize=None, activations="f32", pool=target.pool)
    return parts, NativeBlock(target, *parts, quantize=kind, pool=target.pool)  # type: ignore[arg-type]


def fed(head: Head, cache: Any, taps: Any, begin: int, end: int, *, block: bool) -> Any:
    """Rows of positions begin … end - 1."""
    feed = Feed(cache, TEXT[begin:end], taps[begin - 1 : end - 1], head.block if block else 0)
    return head.score([feed])[0].copy()


@pytest.mark.parametrize(("kind", "layers", "off"), [("plain", 2, 1e-10), ("f32", 1, 1e-4), ("f32", 2, 1e-4)])
@pytest.mark.parametrize("pieces", [(1, 21), (1, 2, 3, 17, 21), (1, 16, 21)])
def test_a_block_is_that_of_the_definition(
    target: NativeModel, kind: str, layers: int, off: float, pieces: tuple[int, ...]
) -> None:
    """In whatever pieces the context is fed, with blocks in between that leave nothing behind."""
    parts, head = made(target, kind, layers=layers)
    taps = taps_of(target, TEXT, head.taps)
    cache = head.open()
    for begin, end in zip(pieces, pieces[1:], strict=False):
        found = fed(head, cache, taps, begin, end, block=end % 2 == 1)
        assert cache.length == end - 1
        if end % 2:
            np.testing.assert_allclose(found, logits_of(target, parts, TEXT[:end], taps), atol=off, rtol=0)


@pytest.mark.parametrize(("kind", "off"), [("int8", 0.05), ("int4", 0.4)])
def test_packed_heads_are_close(target: NativeModel, kind: str, off: float) -> None:
    parts, head = made(target, kind)
    taps = taps_of(target, TEXT, head.taps)
    wanted = logits_of(target, parts, TEXT, taps)
    found = fed(head, head.open(), taps, 1, len(TEXT), block=True)
    assert np.abs(found - wanted).max() < off * wanted.std() * 3
    assert np.abs(found - wanted).mean() < off * wanted.std()


@pytest.mark.parametrize("kind", ["plain", "int8"])
def test_rows_depend_on_their_own_text_alone(target: NativeModel, kind: str) -> None:
    """Forks, trims, batch mates and how long the block is change no bit."""
    _, head = made(target, kind)
    taps = taps_of(target, TEXT, head.taps)
    first = head.open()
    fed(head, first, taps, 1, 9, block=False)
    second = first.fork()
    wanted = fed(head, first, taps, 9, 15, block=True)
    fed(head, second, taps, 9, 21, block=True)
    second.trim(8)
    other = head.open()
    feeds = [Feed(other, TEXT[1:4], taps[:3], 4), Feed(second, TEXT[9:15], taps[8:14], 4)]
    alone, found = (rows.copy() for rows in head.score(feeds))
    assert np.array_equal(found, wanted)
    assert np.array_equal(alone, fed(head, head.open(), taps, 1, 4, block=True))
    (short,) = head.score([Feed(head.open(), TEXT[1:4], taps[:3], 2)])
    assert np.array_equal(short, alone[:2])
    first.close()
    assert np.array_equal(fed(head, second, taps, 15, 16, block=False), np.empty((0, len(SAYS))))


@pytest.mark.parametrize("kind", ["plain", "f32", "int8"])
def test_paths_are_the_trees_of_what_is_scored(target: NativeModel, kind: str) -> None:
    """Of several texts at once, forks among them, bit for bit; and the caches keep the same."""
    _, head = made(target, kind, block=5, gain=3.0)
    taps = taps_of(target, TEXT, head.taps)
    begun = head.open()
    fed(head, begun, taps, 1, 9, block=False)
    limits = [(7, 0.0), (3, 0.01), (24, 0.3), (1, 0.0), (9, 0.0)]
    spans = [(1, 4, 5), (9, 15, 5), (9, 10, 2), (9, 12, 1), (9, 11, 0)]

    def feeds() -> list[Feed]:
        caches = [head.open(), *(begun.fork() for _ in spans[1:])]
        pairs = zip(caches, spans, strict=True)
        return [Feed(cache, TEXT[a:b], taps[a - 1 : b - 1], block) for cache, (a, b, block) in pairs]

    scored, drafted = feeds(), feeds()
    wanted = [
        head.tree(logits.copy(), rows, len(logits), least)
        for logits, (rows, least) in zip([one.copy() for one in head.score(scored)], limits, strict=True)
    ]
    found = head.paths(drafted, limits)
    assert [tuple(map(list, paths)) for paths in found] == [tuple(map(list, paths)) for paths in wanted]
    assert [len(paths[0]) for paths in found][-2:] == [1, 0]
    for one, other, (_, end, _) in zip(scored, drafted, spans, strict=True):
        assert one.cache.length == other.cache.length == end - 1
        after = [fed(head, cache, taps, end, end + 3, block=True) for cache in (one.cache, other.cache)]
        assert np.array_equal(*after)


def test_what_drafting_in_one_go_refuses(target: NativeModel) -> None:
    """And nothing is kept of what was refused."""
    _, head = made(target, "int8")
    _, other = made(target, "int8")
    taps = taps_of(target, TEXT, head.taps)
    cache, closed = head.open(), head.open()
    closed.close()

    def feed(of: Any = cache, rows: Any = taps[:3], block: int = 4) -> Feed:
        return Feed(of, TEXT[1:4], rows, block)

    for feeds, message in (
        ([feed(other.open())], "its own caches only"),
        ([feed(closed)], "its own open caches only"),
        ([feed(), feed()], "two texts share one"),
        ([feed(rows=taps[:2])], "rows lack a token or its taps"),
        ([feed(rows=taps[:3, :-32])], "not of the head's width"),
        ([feed(block=99)], "no such rows"),
    ):
        with pytest.raises(ValueError, match=message):
            head.paths(feeds, [(4, 0.0)] * len(feeds))
    with pytest.raises(ValueError, match="every text has limits"):
        head.paths([feed()], [])
    assert cache.length == 0
    assert head.paths([], []) == []


def test_parts_of_different_heads_do_not_make_one(target: NativeModel) -> None:
    _, head = made(target, "int8")
    _, wider = made(target, "int8", says=(*SAYS, 319))
    width = target.about.width
    fusion = [
        _native.Fusion(Packing(target.pool, "F32")(np.zeros((w, 2 * w))), [], 1e-5, target.pool, "", "f32")
        for w in (width, 32)
    ]
    for parts in ((fusion[0], wider._tree), (fusion[1], head._tree)):
        with pytest.raises(ValueError, match="different sizes"):
            _native.BlockHead(head._engine, *parts)
    with pytest.raises(ValueError, match="no matrix"):
        _native.together([None], target.pool)


# --- the tree -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["f32", "int8"])
def test_trees_of_both_twins_are_equal(target: NativeModel, kind: str) -> None:
    """Places, parents and scores, bit for bit, for the same biases; rounded logits make ties."""
    parts, head = made(target, kind, block=6, gain=3.0)
    rng = np.random.default_rng(1)
    for turn in range(200):
        logits = rng.normal(scale=rng.choice([0.1, 2, 20]), size=(6, len(SAYS))).astype(np.float32)
        if turn % 3 == 0:
            logits = np.round(logits)
        if turn % 7 == 0:
            logits[rng.integers(6)] = np.nan
        rows, depth = int(rng.integers(0, 40)), int(rng.integers(0, 8))
        least = float(rng.choice([0.0, 1e-3, 0.05]))
        assert head.tree(logits, rows, depth, least) == best_first(logits, head.bias, rows, depth, least)


@pytest.mark.parametrize("size", [1, 15, 16, 17, 1024, 1025, 2500])
def test_draft_vocabularies_of_all_sizes(target: NativeModel, size: int) -> None:
    rng, pack = np.random.default_rng(size), Packing(target.pool, "Q8_0")
    previous, bias = (rng.normal(scale=0.5, size=(size, 32)).astype(np.float32) for _ in range(2))
    tree = _native.BlockTree(pack(previous), pack(bias), target.pool, "", "int8")
    logits = rng.normal(scale=3, size=(4, size)).astype(np.float32)
    found = tree.grow(logits, 20, 4, 1e-4)
    assert found == best_first(logits, lambda places: tree.bias(places), 20, 4, 1e-4)
    assert found[0]


@pytest.mark.parametrize(("kind", "off"), [("f32", 1e-5), ("int8", 0.05)])
def test_biases_are_products_of_the_tables(target: NativeModel, kind: str, off: float) -> None:
    (_, tensors), head = made(target, kind)
    places = [0, 3, 3, 17, len(SAYS) - 1]
    wanted = tensors["previous.weight"][places] @ tensors["bias.weight"].T
    np.testing.assert_allclose(head.bias(places), wanted, atol=off * 4)


# --- what is refused ----------------------------------------------------------------------------------------------


def test_what_a_head_refuses(target: NativeModel) -> None:
    _, head = made(target, "int8")
    _, other = made(target, "int8")
    taps = taps_of(target, TEXT, head.taps)
    with pytest.raises(ValueError, match="its own caches"):
        head.score([Feed(other.open(), TEXT[1:2], taps[:1], 4)])
    with pytest.raises(ValueError, match="not of the head.s width"):
        head.score([Feed(head.open(), TEXT[1:2], taps[:1, :-64], 4)])
    with pytest.raises(UsageError, match="does not compute this head"):
        made(target, "int8", head_size=8)
    head.close()
    with pytest.raises(UsageError, match="closed"):
        head.score([Feed(other.open(), TEXT[1:2], taps[:1], 4)])


# --- the engine beneath -------------------------------------------------------------------------------------------


def test_vectors_enter_where_embeddings_would(files: Files) -> None:
    """Bit for bit the pass of the tokens whose embeddings they are, in a batch with one of tokens too."""
    model = NativeModel.load(files("smollm", "Q4_K_M").path, threads=2)
    engine, parents = model._engine, tuple(range(-1, len(TEXT) - 1))
    wanted = (0, len(TEXT) - 1)
    known = engine.score([(engine.open(), TEXT, parents, wanted, True, 0)], [2])
    known = [np.array(part) for part in known[2:]]
    vectors = np.ascontiguousarray(model.embed(TEXT))
    cache = engine.open()
    asks = [(engine.open(), TEXT, parents, wanted, True, 0), (cache, (), parents, wanted, True, 0, vectors)]
    _, _, _, logits, taps = engine.score(asks, [2])
    assert np.array_equal(logits[2:], known[1])
    assert np.array_equal(taps[:, len(TEXT) :], known[2])
    with pytest.raises(ValueError, match="not as many vectors"):
        engine.score([(cache, (), parents[1:], (), True, 0, vectors)], [])


def test_a_pass_that_nobody_reads_leaves_the_same_keys_and_values(files: Files) -> None:
    """Without logits or taps the last layer stops early; what later rows see is what it would have been."""
    model = NativeModel.load(files("llama", "Q8_0").path, threads=2)
    read, unread = model.open(), model.open()
    model.score([Query(read, *line(TEXT), (3,))])
    model.score([Query(unread, *line(TEXT))])
    for cache in (read, unread):
        cache.keep(range(len(TEXT)))
    assert all(read.keys_values(place) == unread.keys_values(place) for place in range(len(TEXT)))
    told = [model.score([Query(cache, *line((7,)), (0,))])[0].logits(0).copy() for cache in (read, unread)]
    assert np.array_equal(*told)


def test_threads_may_share_a_head(target: NativeModel) -> None:
    """Its room for rows and logits is one: two at once would write over each other's."""
    _, head = made(target, "int8", block=5, gain=3.0)
    taps = taps_of(target, TEXT, head.taps)

    def work(turn: int) -> tuple[object, ...]:
        begin = 1 + turn % 12
        paths = head.paths([Feed(head.open(), TEXT[begin : begin + 4], taps[begin - 1 : begin + 3], 5)], [(16, 1e-3)])
        return str(paths), head.bias([turn % len(SAYS), 7]).tobytes()

    wanted = [work(turn) for turn in range(120)]
    assert len({*wanted}) > 12
    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(work, range(120))) == wanted


TREE = """
import numpy as np
from foredraft import _native
from foredraft.models.native_head_parts import Packing
rng, pool = np.random.default_rng(2), _native.Pool(2)
pack = Packing(pool, "Q8_0")
tables = [pack(rng.normal(size=(3000, 64)).astype(np.float32)) for _ in range(2)]
tree = _native.BlockTree(*tables, pool, "", "int8")
print([tree.grow(rng.normal(scale=4, size=(5, 3000)).astype(np.float32), 16, 5, 1e-3) for _ in range(5)])
"""


def test_every_instruction_set_grows_the_same_tree() -> None:
    told = set()
    for isa in _native.usable_isas():
        run = subprocess.run(
            [sys.executable, "-c", TREE], env={**os.environ, "FOREDRAFT_ISA": isa}, capture_output=True, check=True
        )
        told.add(run.stdout)
    assert len(told) == 1
