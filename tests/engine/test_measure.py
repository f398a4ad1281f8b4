"""The verification curve: what is timed, what it is held against, and that nothing else is disturbed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from foredraft.core.errors import UsageError
from foredraft.core.protocols import Query, Scores
from foredraft.engine import measure as measuring
from foredraft.engine.measure import Cost, Curve, Timing, measure, measure_cost, read_bandwidth, read_bandwidth_numpy
from foredraft.models.toy import Tables, ToyCache, ToyModel


class Watched(ToyModel):
    """Notes the passes and the caches it opened."""

    def __init__(self) -> None:
        super().__init__(Tables.random(5, seed=1), context=64)
        self.queries: list[Query] = []
        self.lengths: list[int] = []
        self.opened: list[ToyCache] = []

    def open(self) -> ToyCache:
        self.opened.append(super().open())
        return self.opened[-1]

    def score(self, queries: Sequence[Query]) -> list[Scores]:
        self.queries += queries
        self.lengths += [query.cache.length for query in queries]
        return super().score(queries)


def test_every_pass_is_of_the_rows_shape_and_context_asked_for() -> None:
    model = Watched()
    curve = measure(model, (1, 2, 4), context=7, passes=3)
    filling, *passes = model.queries
    assert (len(filling.tokens), filling.logits) == (7, ())
    assert model.lengths == [0, *[7] * len(passes)]
    assert all(query.logits == tuple(range(len(query.tokens))) for query in passes)
    chains = [query for query in passes if query.parents == tuple(range(-1, len(query.tokens) - 1))]
    assert {len(query.tokens) for query in chains} == {1, 2, 4}
    assert len({query.parents for query in passes if len(query.tokens) == 4}) > 1  # trees, drawn anew
    counted = {(one.rows, one.shape) for one in curve.timings}
    assert counted == {(1, "chain"), (2, "chain"), (4, "chain"), (4, "tree")}
    assert all(len(curve.samples(rows, shape)) == 3 for rows, shape in counted)
    assert len(passes) == (3 + measuring.WARM_UP) * 4  # the first are not counted
    assert curve.costs.rows == curve.rows == (1, 2, 4)


def test_passes_are_interleaved_in_an_order_drawn_anew() -> None:
    model = Watched()
    measure(model, (1, 2, 3, 4), context=0, passes=6, shapes=("chain",))
    rows = [len(query.tokens) for query in model.queries]
    orders = [tuple(rows[start : start + 4]) for start in range(0, len(rows), 4)]
    assert all(sorted(order) == [1, 2, 3, 4] for order in orders)
    assert len(set(orders)) > 1


def test_other_caches_are_left_alone_pending_rows_included() -> None:
    model = Watched()
    mine = model.open()
    model.score([Query(mine, (1, 2), (-1, 0))])
    mine.keep((0, 1))
    model.score([Query(mine, (3, 4), (-1, -1))])
    measure(model, (1, 3), context=4, passes=2)
    mine.keep((1,))
    assert mine.path == [1, 2, 4]
    assert all(cache.path == [] for cache in model.opened[1:])  # closed again


def test_the_cache_is_closed_after_a_failure_too() -> None:
    model = Watched()

    def interrupted(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(model, (1,), context=4, passes=2, each=interrupted)
    assert model.opened[0].path == []


@pytest.mark.parametrize(
    ("rows", "context", "passes", "named"),
    [
        ((), 4, 3, "at least one number"),
        ((0, 1), 4, 3, "counted from 1"),
        ((1,), -1, 3, "0 or more"),
        ((1,), 4, 0, "1 or more"),
        ((1, 16), 60, 3, "at most 48"),
        ((100,), 4, 3, "fewer rows"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_the_remedy(
    rows: tuple[int, ...], context: int, passes: int, named: str
) -> None:
    model = Watched()
    with pytest.raises(UsageError, match=named):
        measure(model, rows, context=context, passes=passes)
    assert not model.opened


def timed(**seconds: list[float]) -> Curve:
    """Passes of r1, r2, … rows."""
    return Curve(0, tuple(Timing(int(rows[1:]), "chain", one) for rows, spent in seconds.items() for one in spent))


def test_medians_quartiles_and_both_shapes_count() -> None:
    curve = Curve(0, (Timing(4, "chain", 1.0, 1.0), Timing(4, "chain", 2.0, 3.5), Timing(4, "tree", 9.0, 13.5)))
    assert curve.processors == pytest.approx(1.5)
    assert curve.seconds(4) == 2.0
    assert curve.spread(4) == (1.5, 5.5)
    assert curve.samples(4, "tree") == [9.0]
    assert curve.samples(5) == []


def test_flatness_is_against_one_row_or_the_reading_of_the_weights_whichever_is_longer() -> None:
    curve = timed(r1=[0.1], r8=[0.15], r16=[0.4])
    fast = Cost(curve, weight_bytes=10**9, readings=(9.0, 10.0, 99.0))
    assert fast.floor == pytest.approx(0.1)
    slow = Cost(curve, weight_bytes=10**9, readings=(20.0,))
    assert slow.roofline_fraction == pytest.approx(0.5)
    assert slow.flatness(8) == pytest.approx(1.5)
    # One row faster than memory allows would flatter nobody: the floor counts.
    lucky = Cost(curve, weight_bytes=10**9, readings=(5.0,))
    assert lucky.flatness(8) == pytest.approx(0.75)
    assert lucky.roofline_fraction == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("seconds", "rows"),
    [([1.0, 1.1, 1.25, 3.0], 4), ([1.0, 1.3, 1.2, 1.2], 1), ([1.0, 1.0, 1.0, 1.0], 8)],
)
def test_nearly_free_ends_at_the_first_number_of_rows_that_is_not(seconds: list[float], rows: int) -> None:
    curve = timed(**{f"r{m}": [one] for m, one in zip((1, 2, 4, 8), seconds, strict=True)})
    assert Cost(curve, 1, (1.0,)).nearly_free == rows


def test_a_cost_reads_the_bandwidth_between_the_passes_and_always_times_one_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = Watched()
    moments: list[int] = []

    def reading(threads: int) -> list[float]:
        assert threads == 3
        moments.append(len(model.queries))
        return [float(len(moments))]

    monkeypatch.setattr(measuring, "read_bandwidth", reading)
    told: list[tuple[int, int]] = []
    found = measure_cost(model, 5, (4,), threads=3, context=3, passes=20, each=lambda *done: told.append(done))
    assert found.curve.rows == (1, 4)
    assert len(set(moments)) == len(moments) == measuring.READINGS
    assert found.read_gb_s == 5.5
    assert told == [(done, 20) for done in range(1, 21)]


@pytest.mark.parametrize("read", [read_bandwidth, read_bandwidth_numpy])
@pytest.mark.parametrize("threads", [1, 3])
def test_bandwidth_is_one_positive_figure_a_repeat(read: object, threads: int) -> None:
    found = read(threads, 1 << 20, 4)  # type: ignore[operator]
    assert len(found) == 4
    assert all(0 < one < 1e5 for one in found)


def test_native_reading_checks_what_it_read_on_every_instruction_set() -> None:
    native = pytest.importorskip("foredraft._native")
    for isa in native.usable_isas():
        for nbytes, threads in ((512, 1), (1 << 20, 3), (100_000, 300)):  # more threads than blocks too
            assert len(native.read_bandwidth(nbytes, threads, 2, isa)) == 2
    for wrong in ((0, 1, 1), (1024, 0, 1), (1024, 1, 0), (1024, 1, 1, "magic")):
        with pytest.raises(ValueError, match="at least|magic"):
            native.read_bandwidth(*wrong)


def test_without_the_native_part_numpy_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(measuring, "import_module", missing)
    assert len(read_bandwidth(2, 1 << 20, 2)) == 2


def test_medians_are_numpys() -> None:
    draws = np.random.default_rng(3).random(31).tolist()
    assert timed(r1=draws).seconds(1) == np.median(draws)
