"""THE matrix: every storage type, architecture, instruction set, way of computing a row and number of threads.

Exact equality of keys and values, taps and logits with one token a pass on one thread of the plainest instruction set.
What runs by default is a subset that meets every pair of the five; all of it, and long texts on more files, are `slow`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from foredraft import _native
from gguf_cases import KINDS
from native_loaders import load_native
from native_matrix import WAYS, Judge, Road, text_for
from native_standin import CACHE_FLAWS, PASS_FLAWS, StandIn

ISAS = tuple(_native.usable_isas())
NAMES = ("smollm", "llama3", "mistral-window", "qwen2", "qwen3", "gemma3")
THREADS = (1, 2, 3)
FILES = [(name, kind) for name in NAMES for kind in KINDS]
MIXED = [("qwen2", "Q4_K_M", "uneven"), ("gemma3", "Q4_K_M", "uneven"), ("qwen3", "patchwork"), ("llama", "patchwork")]
LENGTH = 135  # past two borders of blocks of keys
FAR = 1100  # past the position at which long attention is split

Choice = tuple[str, int]
"""A way and a number of threads."""


def chosen(name: str, kind: str, isa: str) -> list[Choice]:
    """Every second way, each on one number of threads, so that over all files every pair is met."""
    turn = NAMES.index(name) * 5 + KINDS.index(kind) * 3 + ISAS.index(isa)
    return [(way, THREADS[(turn // 2 + at) % 3]) for at, way in enumerate(WAYS) if (turn + at) % 2 == 0]


@pytest.fixture(scope="module")
def judged(request: pytest.FixtureRequest, files: Any) -> Iterator[tuple[Any, Judge]]:
    """A file and its judge: the first instruction set, one thread, one token a pass."""
    written = files(*request.param)
    model = load_native(written.path, isa=ISAS[0], threads=1)
    yield written, Judge(model)
    model.close()


def walk(path: Any, judge: Judge, isa: str, choices: list[Choice], *, length: int = LENGTH, **options: Any) -> None:
    """Goes these ways on one instruction set."""
    for threads in sorted({threads for _, threads in choices}):
        model = load_native(path, isa=isa, threads=threads, **options)
        for way in (way for way, count in choices if count == threads):
            try:
                WAYS[way](Road(model, judge, text_for(model, length), seed=7))
            except AssertionError as error:
                raise AssertionError(f"{isa}, {threads} threads, {way}: {error}") from None
        model.close()


def each(files: list[Any]) -> Any:
    return pytest.mark.parametrize("judged", files, ids=["-".join(file) for file in files], indirect=True)


@pytest.mark.parametrize("isa", ISAS)
@each(FILES)
def test_rows_are_invariant(judged: Any, isa: str, request: pytest.FixtureRequest) -> None:
    written, judge = judged
    name, kind = request.node.callspec.params["judged"]
    walk(written.path, judge, isa, chosen(name, kind, isa))


@pytest.mark.parametrize("isa", ISAS)
@each(MIXED)
def test_rows_of_mixed_files_are_invariant(judged: Any, isa: str) -> None:
    """Matrices of several types in one layer, as in most files there are."""
    written, judge = judged
    walk(written.path, judge, isa, [(way, 1 + at % 3) for at, way in enumerate(WAYS)])


@pytest.mark.slow
@pytest.mark.parametrize("isa", ISAS)
@each(FILES + MIXED)
def test_rows_are_invariant_in_full(judged: Any, isa: str) -> None:
    written, judge = judged
    walk(written.path, judge, isa, list(itertools.product(WAYS, THREADS)))


LONG_WAYS = ("chunks of 64", "chunks of 512", "trees", "batches")


@pytest.mark.parametrize("isa", ISAS)
@each([("smollm", "Q4_1"), ("gemma3", "Q8_0")])
def test_far_rows_are_invariant(judged: Any, isa: str) -> None:
    """Where attention is split by position, and far past the sliding window."""
    written, judge = judged
    walk(written.path, judge, isa, [(way, 1 + at % 3) for at, way in enumerate(LONG_WAYS)], length=FAR)


@pytest.mark.slow
@pytest.mark.parametrize("isa", ISAS)
@each([(name, kind) for name in NAMES for kind in ("Q5_0", "F16", "Q4_K")])
def test_far_rows_are_invariant_in_full(judged: Any, isa: str) -> None:
    written, judge = judged
    walk(written.path, judge, isa, list(itertools.product(LONG_WAYS, THREADS)), length=FAR)


@pytest.mark.parametrize("options", [("int16", "f16"), ("f32", "f32"), ("int8", "f32"), ("f32", "f16")], ids="-".join)
@pytest.mark.parametrize("name", ["qwen2", "gemma3"])
def test_every_precision_is_invariant(files: Any, name: str, options: tuple[str, str]) -> None:
    """Activations and keys of other widths have kernels of their own."""
    path, precision = files(name, "patchwork").path, {"activations": options[0], "kv": options[1]}
    model = load_native(path, isa=ISAS[0], threads=1, **precision)
    judge = Judge(model)
    for turn, isa in enumerate(ISAS):
        ways = [(way, 1 + (turn + at) % 3) for at, way in enumerate(WAYS)]
        walk(path, judge, isa, ways, **precision)
    model.close()


# --- the tests themselves -------------------------------------------------------------------------------------------


def test_the_subset_meets_every_pair() -> None:
    met = {
        (name, kind, isa, way, threads)
        for (name, kind), isa in itertools.product(FILES, ISAS)
        for way, threads in chosen(name, kind, isa)
    }
    axes = (NAMES, KINDS, ISAS, tuple(WAYS), THREADS)
    for one, other in itertools.combinations(range(len(axes)), 2):
        assert {(cell[one], cell[other]) for cell in met} == set(itertools.product(axes[one], axes[other]))
    assert {(isa, way, threads) for _, _, isa, way, threads in met} == set(itertools.product(ISAS, WAYS, THREADS))


@pytest.mark.parametrize("way", WAYS)
def test_an_invariant_model_passes(way: str) -> None:
    model = StandIn()
    WAYS[way](Road(model, Judge(StandIn()), text_for(model, LENGTH), seed=7))


@pytest.mark.parametrize("flaw", PASS_FLAWS + CACHE_FLAWS)
def test_every_flaw_is_caught(flaw: str) -> None:
    judge, caught = Judge(StandIn()), []
    for way, walk_it in WAYS.items():
        model = StandIn(flaw)
        try:
            walk_it(Road(model, judge, text_for(model, LENGTH), seed=7))
        except AssertionError:
            caught.append(way)
    assert caught
