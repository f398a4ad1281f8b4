"""What the engine says where things went wrong: logits that are no numbers, a closed model, memory that ends."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from damage import MEGABYTE, memory_for
from foredraft.core.errors import UsageError
from foredraft.core.protocols import Query, Scores
from foredraft.models.native import NativeModel, NativeScores
from foredraft.testing.recompute import line
from gguf_cases import Written

Files = Callable[..., Written]
NAN = np.float32("nan")


def asked(top: int) -> Query:
    return Query(None, (0,), (-1,), (0,), top)  # type: ignore[arg-type]


def native_scores(logits: Any, top: int) -> Scores:
    return NativeScores(len(logits[0]), asked(top), [-1], logits, {})


def hf_scores(logits: Any, top: int) -> Scores:
    pytest.importorskip("torch")
    from foredraft.models.hf import HFScores

    return HFScores(len(logits[0]), asked(top), logits, {})


@pytest.mark.parametrize("make", [native_scores, hf_scores])
@pytest.mark.parametrize(
    ("row", "wanted"), [([1, NAN, 3, NAN, 2], [1, 3, 2]), ([NAN] * 5, [0, 1, 2]), ([1, 2, 2, NAN, 2], [3, 1, 2])]
)
def test_as_many_are_told_as_were_asked_for(make: Any, row: list[float], wanted: list[int]) -> None:
    """Those that are no numbers first, so that nobody takes such a row for a sound one."""
    logits = np.array([row], dtype=np.float32)
    ids, values = make(logits, 3).top(0)
    assert list(ids) == wanted
    np.testing.assert_array_equal(values, logits[0][wanted])


CALLS: dict[str, Callable[[NativeModel], object]] = {
    "open": lambda model: model.open(),
    "score": lambda model: model.score([Query(CACHE, (1,), (-1,))]),  # type: ignore[arg-type]
    "embed": lambda model: model.embed((1,)),
    "head": lambda model: model.head(np.zeros((1, model.about.width), np.float32)),
    "view": lambda model: model.view((0,)),
    "nbytes": lambda model: model.nbytes,
}
CACHE = None


@pytest.mark.parametrize("call", CALLS)
def test_a_closed_model_says_that_it_is(files: Files, call: str) -> None:
    model = NativeModel.load(files("llama").path)
    model.close()
    model.close()
    with pytest.raises(UsageError, match=r"^llama-Q8_0-None is closed: load it again$"):
        CALLS[call](model)


def test_rows_of_a_pass_that_failed_cannot_be_kept(files: Files) -> None:
    """Memory ends within the pass: no cache may keep what was never computed, nor has it lost what it held."""
    model = NativeModel.load(files("llama").path)
    text = tuple(range(40))
    caches = [model.open() for _ in range(100)]
    for cache in caches:
        model.score([Query(cache, *line(text))])
        cache.keep(range(len(text)))
    tokens, parents = line(tuple(place % 300 for place in range(1900)))
    queries = [Query(cache, tokens, parents, tuple(range(len(tokens)))) for cache in caches]
    # The logits alone are larger than whatever earlier tests may have freed within the process.
    assert 4 * len(caches) * len(tokens) * model.about.vocab_size > 200 * MEGABYTE
    with memory_for(64 * MEGABYTE), pytest.raises(MemoryError):
        model.score(queries)
    for cache in caches:
        assert cache.length == len(text)
        with pytest.raises(ValueError, match="there is no such row to keep"):
            cache.keep((0,))
        cache.fork().close()
    many = tuple(range(200))
    fresh = model.open()
    wanted = model.score([Query(fresh, *line(text + many), (239,))])[0].logits(239).copy()
    for cache in (caches[0], caches[-1]):
        assert np.array_equal(model.score([Query(cache, *line(many), (199,))])[0].logits(199), wanted)


# --- one cache, two threads --------------------------------------------------------------------------------------


LONG = line(tuple(place % 300 for place in range(1500)))
MEDDLING: dict[str, Callable[[NativeModel, Any], object]] = {
    "keep": lambda model, cache: cache.keep(()),
    "trim": lambda model, cache: cache.trim(0),
    "fork": lambda model, cache: cache.fork(),
    "close": lambda model, cache: cache.close(),
    "look": lambda model, cache: cache.keys_values(0),
    "score": lambda model, cache: model.score([Query(cache, (1,), (-1,))]),
}


@pytest.mark.parametrize("meddle", MEDDLING)
def test_a_cache_that_is_in_a_pass_is_left_alone(files: Files, meddle: str) -> None:
    """What another thread does to it meanwhile would take its pages away under the pass."""
    model = NativeModel.load(files("llama").path, threads=2)
    cache = model.open()
    model.score([Query(cache, *line((5,)))])
    cache.keep((0,))
    with ThreadPoolExecutor(1) as other:
        passing = other.submit(lambda: model.score([Query(cache, *LONG, (1499,))])[0].logits(1499).copy())
        while not cache.native.passing:
            assert not passing.done()
        with pytest.raises(ValueError, match="a pass of another thread is at work on this cache"):
            MEDDLING[meddle](model, cache)
    fresh = model.open()
    wanted = model.score([Query(fresh, *line((5, *LONG[0])), (1500,))])[0].logits(1500)
    assert np.array_equal(passing.result(), wanted)
    cache.keep(range(1500))
    assert cache.length == 1501
