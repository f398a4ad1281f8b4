"""What a pass costs on this machine: the verification curve, and the memory speed it is held against.

t(m) is a whole pass of m rows with the argmax of every row read, at one context, as chains and as random trees. A plain
pass reads all weights once, so it cannot take less than R = weight bytes / read bandwidth. Passes and readings of the
bandwidth are interleaved: a slow minute of the machine falls on all of them alike. The passes belong to no sequence
and use a cache of their own, which is why they are made here and not by the round.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

import numpy as np

from foredraft.core.errors import UsageError
from foredraft.core.protocols import Cache, Costs, Model, Query

Shape = Literal["chain", "tree"]
Progress = Callable[[int, int], None]
"""(repetitions done, repetitions in all)."""

SHAPES: tuple[Shape, ...] = ("chain", "tree")
CONTEXT = 256
PASSES = 30
CHUNK = 512
WARM_UP = 2  # untimed repetitions: first passes pay for memory and thread pools
READ_BYTES = 1 << 29  # far beyond any cache
READINGS = 10  # moments at which the bandwidth is read, spread over the passes
NEARLY_FREE = 1.25


@dataclass(frozen=True)
class Timing:
    """One pass. used: seconds of processors that this process got meanwhile, all threads together."""

    rows: int
    shape: Shape
    seconds: float
    used: float = 0.0


@dataclass(frozen=True)
class Curve:
    """What passes of some numbers of rows took. context: tokens in the cache before each."""

    context: int
    timings: tuple[Timing, ...]

    @property
    def rows(self) -> tuple[int, ...]:
        """The numbers of rows measured, ascending."""
        return tuple(sorted({timing.rows for timing in self.timings}))

    def samples(self, rows: int, shape: Shape | None = None) -> list[float]:
        """Seconds of the passes of so many rows, of both shapes unless one is named; may be empty."""
        return [one.seconds for one in self.timings if one.rows == rows and shape in (None, one.shape)]

    def seconds(self, rows: int, shape: Shape | None = None) -> float:
        """t(rows): the median over chains and trees, or over one of them."""
        return statistics.median(self.samples(rows, shape))

    def spread(self, rows: int) -> tuple[float, float]:
        """The quartiles: half of the passes lie between."""
        low, high = np.quantile(self.samples(rows), (0.25, 0.75))
        return float(low), float(high)

    @property
    def processors(self) -> float:
        """How many the process had while passes ran, on the mean."""
        return sum(timing.used for timing in self.timings) / sum(timing.seconds for timing in self.timings)

    @property
    def costs(self) -> Costs:
        """What a policy is told."""
        return Costs(self.rows, tuple(self.seconds(rows) for rows in self.rows))


@dataclass(frozen=True)
class Cost:
    """A curve held against memory. weight_bytes: as stored, of the tensors that a pass of one row reads.

    readings: GB/s (1e9 bytes) at moments spread over the passes.
    """

    curve: Curve
    weight_bytes: int
    readings: tuple[float, ...]

    @property
    def read_gb_s(self) -> float:
        return statistics.median(self.readings)

    @property
    def floor(self) -> float:
        """R: the seconds that reading the weights once takes."""
        return self.weight_bytes / (self.read_gb_s * 1e9)

    @property
    def roofline_fraction(self) -> float:
        """R / t(1): 1 is plain decoding at memory speed."""
        return self.floor / self.curve.seconds(1)

    def flatness(self, rows: int) -> float:
        """t(rows) / max(t(1), R): 1 where more rows cost nothing; a slow pass of one row earns no credit beyond R."""
        return self.curve.seconds(rows) / max(self.curve.seconds(1), self.floor)

    @property
    def nearly_free(self) -> int:
        """The largest number of rows that costs at most NEARLY_FREE of one, and so does every smaller one measured."""
        best = 1
        for rows in self.curve.rows:
            if self.flatness(rows) > NEARLY_FREE:
                break
            best = rows
        return best


def measure(
    model: Model,
    rows: Sequence[int],
    *,
    context: int = CONTEXT,
    passes: int = PASSES,
    shapes: Sequence[Shape] = SHAPES,
    seed: int = 0,
    each: Progress = lambda done, total: None,
) -> Curve:
    """Times `passes` passes of every number of rows and shape, in an order drawn anew for every repetition.

    Up to two rows are a chain in any case. each: told after every repetition, off the clock. No cache but an own one is
    touched; like any pass, these end the validity of the model's last scores. Raises UsageError for counts below 1 and
    for what does not fit the model's context.
    """
    _check(model, rows, context, passes)
    kinds = [(count, shape) for count in rows for shape in (shapes if count > 2 else ("chain",))]
    draw = np.random.default_rng(seed)
    timings: list[Timing] = []
    cache = model.open()
    try:
        _fill(model, cache, context, draw)
        for repetition in range(-WARM_UP, passes):
            for index in draw.permutation(len(kinds)):
                count, shape = kinds[index]
                timing = _pass(model, cache, count, shape, draw)
                if repetition >= 0:
                    timings.append(timing)
            if repetition >= 0:
                each(repetition + 1, passes)
    finally:
        cache.close()
    return Curve(context, tuple(timings))


def measure_cost(
    model: Model,
    weight_bytes: int,
    rows: Sequence[int],
    *,
    threads: int,
    context: int = CONTEXT,
    passes: int = PASSES,
    shapes: Sequence[Shape] = SHAPES,
    each: Progress = lambda done, total: None,
) -> Cost:
    """The curve of a model, one row included, with the bandwidth of as many threads read in between."""
    readings: list[float] = []
    every = max(1, passes // READINGS)

    def between(done: int, total: int) -> None:
        if done % every == 0 or done == total:
            readings.extend(read_bandwidth(threads))
        each(done, total)

    wanted = sorted({1, *rows})
    curve = measure(model, wanted, context=context, passes=passes, shapes=shapes, each=between)
    return Cost(curve, weight_bytes, tuple(readings))


def _check(model: Model, rows: Sequence[int], context: int, passes: int) -> None:
    if not rows or min(rows) < 1:
        raise UsageError("rows of a pass are counted from 1: give at least one number, such as 1,2,4,8,16")
    if context < 0 or passes < 1:
        raise UsageError(f"the context must be 0 or more and passes 1 or more, not {context} and {passes}")
    room = model.about.context
    if context + max(rows) > room:
        fits = f"choose a context of at most {room - max(rows)}" if max(rows) <= room else "choose fewer rows"
        raise UsageError(f"{context} tokens and {max(rows)} rows do not fit the model's context of {room}: {fits}")


def _fill(model: Model, cache: Cache, context: int, draw: np.random.Generator) -> None:
    """Random tokens: what they say does not matter to the time."""
    for start in range(0, context, CHUNK):
        size = min(CHUNK, context - start)
        model.score([Query(cache, _tokens(model, size, draw), tuple(range(-1, size - 1)))])
        cache.keep(range(size))


def _pass(model: Model, cache: Cache, rows: int, shape: Shape, draw: np.random.Generator) -> Timing:
    """One pass; its rows are not kept, so the next begins at the same context."""
    chain = range(-1, rows - 1)
    parents = chain if shape == "chain" else [int(draw.integers(row)) if row else -1 for row in range(rows)]
    query = Query(cache, _tokens(model, rows, draw), tuple(parents), tuple(range(rows)), argmax_only=True)
    used, begun = time.process_time(), time.perf_counter()
    [scores] = model.score([query])
    for row in range(rows):
        scores.argmax(row)
    seconds = time.perf_counter() - begun
    return Timing(rows, shape, seconds, time.process_time() - used)


def _tokens(model: Model, count: int, draw: np.random.Generator) -> tuple[int, ...]:
    return tuple(map(int, draw.integers(model.about.vocab_size, size=count)))


def read_bandwidth(threads: int, nbytes: int = READ_BYTES, repeats: int = 3) -> list[float]:
    """GB/s of reading `nbytes` of memory with `threads` threads, each its own part; natively where that is built."""
    try:
        native = import_module("foredraft._native")
    except ImportError:
        return read_bandwidth_numpy(threads, nbytes, repeats)
    found: list[float] = native.read_bandwidth(nbytes, threads, repeats)
    return found


def read_bandwidth_numpy(threads: int, nbytes: int = READ_BYTES, repeats: int = 3) -> list[float]:
    """The same by numpy's sums, which let go of the interpreter: slower where a thread cannot keep memory busy."""
    parts = np.array_split(np.ones(nbytes // 8, dtype=np.int64), threads)
    found = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(repeats):
            begun = time.perf_counter()
            total = sum(map(int, pool.map(np.add.reduce, parts)))
            found.append(8e-9 * total / (time.perf_counter() - begun))
    return found
