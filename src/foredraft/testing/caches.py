"""A state machine for caches: random passes, keeps, trims and forks, each compared with a recompute from scratch.

    TestMyCaches = cache_machine(lambda: MyModel(...), tolerance=1e-4)

Several caches live at once, passes score any number of them together with catch-up chains and trees, and rows stay
pending over other operations; Hypothesis looks for the shortest history that breaks something.
"""

from __future__ import annotations

import unittest
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from foredraft.core.protocols import Cache, Model, Query
from foredraft.core.rules import Logits
from foredraft.testing.recompute import Recompute, Rows, all_logits, assert_same, line, paths, refuses, tolerance_of

# Caches alive at once, and how far a text may grow: enough to mix them up, small enough to recompute.
ALIVE = 4
LONGEST = 24
ROWS = 7
NO_ROWS: Rows = ((), ())


@dataclass
class Twin:
    """A cache and what it should hold. rows: those of its last pass, while pending."""

    cache: Cache
    text: tuple[int, ...] = ()
    rows: Rows = field(default=NO_ROWS)


class CacheMachine(RuleBasedStateMachine):
    """Subclasses say which model (`make_model`) and how exactly (`tolerance`)."""

    make_model: Callable[[], Model]
    tolerance: float = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.twins: list[Twin] = []

    @initialize()
    def load(self) -> None:
        self.model = type(self).make_model()
        self.judge = Recompute(self.model)
        self.allowed = tolerance_of(self.model, self.tolerance)
        self.vocab_size = self.model.about.vocab_size
        self.longest = min(LONGEST, self.model.about.context)

    @precondition(lambda self: len(self.twins) < ALIVE)
    @rule()
    def open(self) -> None:
        self.twins.append(Twin(self.model.open()))

    @precondition(lambda self: self.twins)
    @rule(data=st.data())
    def score(self, data: st.DataObject) -> None:
        """One pass over some of the caches; whatever was pending in them is forgotten."""
        self._score(data)

    @precondition(lambda self: self.twins)
    @rule(data=st.data())
    def round(self, data: st.DataObject) -> None:
        """One pass over some of the caches, and a path kept in each."""
        for twin in self._score(data):
            self._keep(data, twin)

    @precondition(lambda self: self.twins)
    @rule(data=st.data())
    def feed(self, data: st.DataObject) -> None:
        """A chunk of text, all of it kept."""
        twin = data.draw(st.sampled_from(self.twins))
        room = self.longest - len(twin.text)
        piece = data.draw(st.lists(st.integers(0, self.vocab_size - 1), min_size=1, max_size=6))[:room]
        if piece:
            self.model.score([Query(twin.cache, *line(piece))])
            twin.cache.keep(range(len(piece)))
            twin.text, twin.rows = (*twin.text, *piece), NO_ROWS

    @precondition(lambda self: self.twins)
    @rule(data=st.data())
    def keep(self, data: st.DataObject) -> None:
        """Keeps a path of what is pending, if anything is: other operations may have come between."""
        self._keep(data, data.draw(st.sampled_from(self.twins)))

    @precondition(lambda self: self.twins)
    @rule(data=st.data())
    def keep_what_is_no_path(self, data: st.DataObject) -> None:
        """Refused, and nothing is changed by it."""
        twin = data.draw(st.sampled_from(self.twins))
        rows = data.draw(st.lists(st.integers(0, ROWS), min_size=1, max_size=3))
        parents = dict(enumerate(twin.rows[1]))
        if [parents.get(row) for row in rows] != [-1, *rows[:-1]]:
            with refuses(f"keeping rows {rows} of a pass with parents {list(parents.values())}", ValueError):
                twin.cache.keep(rows)

    @precondition(lambda self: self.twins)
    @rule(data=st.data())
    def trim(self, data: st.DataObject) -> None:
        twin = data.draw(st.sampled_from(self.twins))
        length = data.draw(st.integers(0, len(twin.text)))
        twin.cache.trim(length)
        twin.text, twin.rows = twin.text[:length], NO_ROWS

    @precondition(lambda self: 0 < len(self.twins) < ALIVE)
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        """Refused while rows are pending."""
        twin = data.draw(st.sampled_from(self.twins))
        if twin.rows[0]:
            with refuses("a fork while rows are pending", ValueError):
                twin.cache.fork()
        else:
            self.twins.append(Twin(twin.cache.fork(), twin.text))

    @precondition(lambda self: self.twins)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        self.twins.pop(data.draw(st.integers(0, len(self.twins) - 1))).cache.close()

    @invariant()
    def lengths_agree(self) -> None:
        for twin in self.twins:
            assert twin.cache.length == len(twin.text), f"length {twin.cache.length}, not {len(twin.text)}"

    def teardown(self) -> None:
        """In the end every cache must still hold its text."""
        for twin in self.twins:
            if len(twin.text) < self.longest:
                scores = self.model.score([Query(twin.cache, (0,), (-1,), (0,))])[0]
                self._compare(twin.text, line((0,)), all_logits(scores, line((0,))))
            twin.cache.close()

    def _score(self, data: st.DataObject) -> list[Twin]:
        fit = [twin for twin in self.twins if len(twin.text) < self.longest]
        chosen = [twin for twin in fit if data.draw(st.booleans())] or fit[:1]
        for twin in chosen:
            twin.rows = self._rows(data, self.longest - len(twin.text))
        queries = [Query(twin.cache, *twin.rows, tuple(range(len(twin.rows[0])))) for twin in chosen]
        scores = self.model.score(queries) if chosen else []
        found = [all_logits(score, twin.rows) for score, twin in zip(scores, chosen, strict=True)]
        for twin, logits in zip(chosen, found, strict=True):
            self._compare(twin.text, twin.rows, logits)
        return chosen

    def _compare(self, text: tuple[int, ...], rows: Rows, logits: Logits) -> None:
        for row, path in enumerate(paths(text, rows)):
            assert_same(logits[row], self.judge.logits(path), self.allowed, f"row {row} after {list(path)}")

    def _keep(self, data: st.DataObject, twin: Twin) -> None:
        """Keeps a random path of the pending rows, from nothing to a leaf."""
        tokens, parents = twin.rows
        kept: list[int] = []
        while children := [row for row, parent in enumerate(parents) if parent == (kept[-1] if kept else -1)]:
            if data.draw(st.integers(0, 4)) == 4:
                break
            kept.append(data.draw(st.sampled_from(children)))
        twin.cache.keep(kept)
        twin.text += tuple(tokens[row] for row in kept)
        twin.rows = NO_ROWS

    def _rows(self, data: st.DataObject, room: int) -> Rows:
        """Random rows no deeper than `room`: any forest whose parents come first."""
        count = data.draw(st.integers(1, ROWS))
        tokens, parents, depths = [], [], list[int]()
        for row in range(count):
            parent = data.draw(st.integers(-1, row - 1))
            depth = 1 if parent < 0 else depths[parent] + 1
            if depth > room:
                parent, depth = -1, 1
            parents.append(parent)
            depths.append(depth)
            tokens.append(data.draw(st.integers(0, self.vocab_size - 1)))
        return tuple(tokens), tuple(parents)


def cache_machine(
    make_model: Callable[[], Model], tolerance: float = 0.0, *, examples: int = 30, steps: int = 25
) -> type[unittest.TestCase]:
    """A test case that plays `examples` random histories of up to `steps` operations on caches of `make_model()`.

    The model may be the same object every time; it is not closed. The histories are the same in every run.
    """
    body: dict[str, Any] = {"make_model": staticmethod(make_model), "tolerance": tolerance}
    case: type[unittest.TestCase] = type("Caches", (CacheMachine,), body).TestCase  # type: ignore[attr-defined]
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    case.settings = settings(  # type: ignore[attr-defined]
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=slow,
    )
    return case
