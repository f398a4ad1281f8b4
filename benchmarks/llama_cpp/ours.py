"""foredraft's side of the comparison: the same tests as `bench.py`, and the same completions as `serve.py`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from foredraft.core.params import SamplingParams
from foredraft.core.protocols import Cache, Model, Query
from foredraft.core.round import CHUNK
from foredraft.engine.compare import timed
from foredraft.engine.llm import LLM
from llama_cpp.bench import DEPTH, GENERATED, PROMPT, ROWS, SMALL_REPEATS, Figure


def some_ids(count: int, vocab_size: int) -> tuple[int, ...]:
    """Ids without meaning; what they are does not change the time of a dense model's pass."""
    return tuple((7919 * at + 1) % vocab_size for at in range(count))


def measure(model: Model) -> list[Figure]:
    """One measurement of every test of bench.py; the argmax of every row asked for is part of a pass."""
    ids = some_ids(PROMPT, model.about.vocab_size)
    found = [_whole_prompt(model, ids), _one_by_one(model)]
    cache = model.open()
    try:
        _feed(model, cache, ids[:DEPTH])
        times: dict[tuple[str, int], list[float]] = {}
        for _ in range(SMALL_REPEATS):
            for rows in ROWS:
                for test, first in (("pp", rows - 1), ("rows", 0)):
                    times.setdefault((test, rows), []).append(_pass(model, cache, ids[:rows], first))
        found += [Figure(f"{test}{rows}@{DEPTH}", rows, tuple(spent)) for (test, rows), spent in times.items()]
    finally:
        cache.close()
    return found


def _whole_prompt(model: Model, ids: Sequence[int]) -> Figure:
    cache = model.open()
    try:
        begun = time.perf_counter()
        _feed(model, cache, ids)
        return Figure(f"pp{len(ids)}", len(ids), (time.perf_counter() - begun,))
    finally:
        cache.close()


def _one_by_one(model: Model) -> Figure:
    cache = model.open()
    try:
        token = _feed(model, cache, (0,))
        begun = time.perf_counter()
        for _ in range(GENERATED):
            token = _feed(model, cache, (token,))
        return Figure(f"tg{GENERATED}", GENERATED, (time.perf_counter() - begun,))
    finally:
        cache.close()


def _feed(model: Model, cache: Cache, ids: Sequence[int]) -> int:
    """Scores and keeps `ids`; the likeliest next token."""
    best = 0
    for start in range(0, len(ids), CHUNK):
        chunk = tuple(ids[start : start + CHUNK])
        last = start + len(chunk) == len(ids)
        rows = range(len(chunk))
        wanted = (len(chunk) - 1,) if last else ()
        [scores] = model.score([Query(cache, chunk, tuple(row - 1 for row in rows), logits=wanted)])
        best = scores.argmax(len(chunk) - 1) if last else best
        cache.keep(rows)
    return best


def _pass(model: Model, cache: Cache, ids: Sequence[int], first: int) -> float:
    """Seconds of one pass over a chain of rows, none of them kept; the argmax of rows `first` … is wanted."""
    rows = range(len(ids))
    begun = time.perf_counter()
    [scores] = model.score([Query(cache, tuple(ids), tuple(row - 1 for row in rows), logits=tuple(rows[first:]))])
    for row in rows[first:]:
        scores.argmax(row)
    spent = time.perf_counter() - begun
    cache.keep(())
    return spent


@dataclass(frozen=True)
class Answer:
    """One completion. decode_seconds: from the scored prompt to the last token, the drafter's own start included;
    seconds: as its caller waited for it."""

    tokens: tuple[int, ...]
    decode_seconds: float
    seconds: float
    drafted: int
    accepted: int
    faults: int

    @property
    def generated(self) -> int:
        return len(self.tokens)

    @property
    def decoded(self) -> int:
        """Tokens made in `decode_seconds`: all of them."""
        return len(self.tokens)


def complete(llm: LLM, tokens: tuple[int, ...], max_tokens: int, go_on: bool = False) -> Answer:
    """The greedy continuation of token ids. go_on: it may not end earlier."""
    params = SamplingParams(max_tokens=max_tokens, min_tokens=max_tokens if go_on else 0, seed=0)
    begun = time.perf_counter()
    arm = timed(llm, tokens, params)
    seconds = time.perf_counter() - begun
    stats = arm.completion.stats
    return Answer(arm.completion.token_ids, arm.seconds, seconds, stats.drafted, stats.accepted, len(stats.faults))
