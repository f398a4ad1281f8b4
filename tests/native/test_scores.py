"""What the engine says where things went wrong: logits that are no numbers, a closed model, memory that ends."""

from __future__ import annotations

from collections.abc import Callable
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
