"""Caches under random histories, compared with a recompute from scratch, far past windows, blocks and pages.

The kit's machine plays texts of 24 tokens and looks at logits. This one feeds chunks of up to 70, asks for some rows'
logits and for taps, scores forests, keeps, trims, forks and closes, and compares what the caches hold byte by byte.
"""

from __future__ import annotations

import functools
import unittest
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from foredraft.core.protocols import Model, Query
from foredraft.core.rules import Logits
from foredraft.testing.caches import NO_ROWS, CacheMachine, Twin
from foredraft.testing.recompute import assert_same, line, paths, random_text
from gguf_cases import write_gguf
from native_loaders import load_hf, load_native
from native_matrix import Row
from native_standin import CACHE_FLAWS, StandIn

LONGEST = 150
CHUNK = 70


class Scratch:
    """The judge: a text from an empty cache in one pass. shows: whether caches show what they hold."""

    def __init__(self, model: Model, shows: bool) -> None:
        self.model, self.shows = model, shows
        self.known: dict[tuple[int, ...], Row] = {}

    def row(self, text: tuple[int, ...]) -> Row:
        """The last row of a text; all rows of the pass are remembered."""
        if text not in self.known:
            cache: Any = self.model.open()
            layers = tuple(range(self.model.about.layers + 1))
            [scores] = self.model.score([Query(cache, *line(text), tuple(range(len(text))), 0, layers)])
            taps = np.stack([scores.taps(layer) for layer in layers], axis=1)
            logits = [scores.logits(row).copy() for row in range(len(text))]
            cache.keep(range(len(text)))
            for at in range(len(text)):
                stored = cache.keys_values(at) if self.shows else None
                self.known[text[: at + 1]] = Row(logits[at], taps[at], stored)
            cache.close()
        return self.known[text]

    def logits(self, text: tuple[int, ...]) -> Logits:
        found: Logits = self.row(text).logits
        return found


class FarMachine(CacheMachine):
    """shows: caches have `keys_values`."""

    shows: bool = True

    @initialize()
    def load(self) -> None:
        super().load()
        self.longest = min(LONGEST, self.model.about.context)
        self.scratch = self.judge = Scratch(self.model, self.shows)  # type: ignore[assignment]

    @precondition(lambda self: self.twins)
    @rule(data=st.data(), length=st.integers(1, CHUNK), seed=st.integers(0, 99))
    def feed(self, data: st.DataObject, length: int, seed: int) -> None:
        """A chunk of text, all of it kept."""
        twin = data.draw(st.sampled_from(self.twins))
        piece = random_text(np.random.default_rng(seed), self.vocab_size, length)[: self.longest - len(twin.text)]
        if piece:
            self.model.score([Query(twin.cache, *line(piece))])
            twin.cache.keep(range(len(piece)))
            twin.text, twin.rows = (*twin.text, *piece), NO_ROWS
            self._holds(twin)

    @precondition(lambda self: self.twins)
    @rule()
    def look(self) -> None:
        """What others did to pages that are shared must not show."""
        for twin in self.twins:
            self._holds(twin)

    def teardown(self) -> None:
        for twin in self.twins:
            self._holds(twin)
        super().teardown()

    def _holds(self, twin: Twin) -> None:
        """Byte by byte what a recompute holds."""
        if self.shows:
            cache: Any = twin.cache
            for at in range(len(twin.text)):
                wanted = self.scratch.row(twin.text[: at + 1]).stored
                assert cache.keys_values(at) == wanted, f"position {at} of {len(twin.text)} holds something else"

    def _keep(self, data: st.DataObject, twin: Twin) -> None:
        super()._keep(data, twin)
        self._holds(twin)

    def _score(self, data: st.DataObject) -> list[Twin]:
        """As the kit's, with the logits of some rows and all taps."""
        fit = [twin for twin in self.twins if len(twin.text) < self.longest]
        chosen = [twin for twin in fit if data.draw(st.booleans())] or fit[:1]
        layers, queries = tuple(range(self.model.about.layers + 1)), []
        for twin in chosen:
            twin.rows = self._rows(data, self.longest - len(twin.text))
            count = len(twin.rows[0])
            wanted = tuple(row for row in range(count) if data.draw(st.integers(0, 3)))
            queries.append(Query(twin.cache, *twin.rows, wanted, 0, layers))
        found = self.model.score(queries) if chosen else []
        said = []
        for query, scores in zip(queries, found, strict=True):
            taps = np.stack([scores.taps(layer) for layer in layers], axis=1)
            said.append((taps, {row: scores.logits(row).copy() for row in query.logits}))
        for twin, (taps, logits) in zip(chosen, said, strict=True):
            for row, path in enumerate(paths(twin.text, twin.rows)):
                what, wanted_row = f"row {row} behind {len(twin.text)} tokens", self.scratch.row(path)
                assert_same(taps[row], wanted_row.taps, self.allowed, f"taps of {what}")
                if row in logits:
                    assert_same(logits[row], wanted_row.logits, self.allowed, f"logits of {what}")
        return chosen


def machine(make_model: Callable[[], Model], tolerance: float = 0.0, *, shows: bool = True) -> type[FarMachine]:
    body = {"make_model": staticmethod(make_model), "tolerance": tolerance, "shows": shows}
    return type("Caches", (FarMachine,), body)


def histories(examples: int, steps: int, *, shrink: bool = True) -> settings:
    """The same ones in every run."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        suppress_health_check=slow,
    )


def played(kind: type[FarMachine], examples: int, steps: int) -> type[unittest.TestCase]:
    case: type[unittest.TestCase] = kind.TestCase  # type: ignore[attr-defined]
    case.settings = histories(examples, steps)  # type: ignore[attr-defined]
    return case


@functools.cache
def tiny(load: Callable[..., Model], name: str, kind: str, **options: Any) -> Model:
    """The model of a file that is gone again: a loaded model must not need it by name."""
    with TemporaryDirectory() as folder:
        return load(write_gguf(Path(folder) / "tiny.gguf", name, kind).path, **options)


TestToy = played(machine(StandIn), 40, 25)
TestTightToy = played(machine(lambda: StandIn(context=33)), 15, 25)

TestNativeLlama = played(machine(lambda: tiny(load_native, "llama3", "Q4_0", threads=2)), 40, 30)
TestNativeBiases = played(machine(lambda: tiny(load_native, "qwen2", "Q4_1", threads=1, isa="portable")), 20, 30)
TestNativeWindow = played(machine(lambda: tiny(load_native, "mistral-window", "Q8_0", threads=3)), 40, 30)
TestNativeGemma = played(machine(lambda: tiny(load_native, "gemma3", "Q5_0", threads=2)), 40, 30)
TestNativeFloat = played(machine(lambda: tiny(load_native, "gemma3", "BF16", activations="f32", kv="f32")), 15, 30)
TestNativeTight = played(machine(lambda: tiny(load_native, "qwen3", "Q5_1", context=33, threads=2)), 20, 30)
TestNativeView = played(machine(lambda: tiny(load_native, "gemma3", "Q5_0", threads=2).view((5, 0))), 15, 30)


@pytest.fixture
def hf() -> Callable[[str], Model]:
    """Builds on torch, which may be missing."""
    pytest.importorskip("torch")
    return lambda name: tiny(load_hf, name, "F32")


@pytest.mark.parametrize("name", ["qwen2", "gemma3"])
def test_caches_of_the_hf_backend(hf: Callable[[str], Model], one_thread: None, name: str) -> None:
    """Rows are summed in another order each time, in float32; a wrong key is off by a thousand times as much."""
    kind = machine(lambda: hf(name), 1e-3, shows=False)
    run_state_machine_as_test(kind, settings=histories(5, 12))


@pytest.mark.parametrize("flaw", CACHE_FLAWS)
def test_every_flaw_is_caught(flaw: str) -> None:
    with pytest.raises((AssertionError, IndexError)):
        run_state_machine_as_test(machine(lambda: StandIn(flaw)), settings=histories(60, 25, shrink=False))
