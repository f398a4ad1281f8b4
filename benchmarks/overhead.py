"""What a round costs outside the model: whole rounds minus the time inside `score`, on a model that computes nothing.

    overhead.py [--tokens N] [--repeats N] [--out FILE.json]

The model says a prepared text whose phrases come back with small changes, so that lookup's chains of 8 nodes are partly
right; its logits are written inside `score`, as an engine would. Two cases: greedy at a vocabulary of 49,152 (argmax
over the logits included, though an engine finds it in its pass), and sampled (T = 0.7, top-p 0.9) at 152,064. Only
rounds with 8 drafted nodes count. For a noisy machine: the median of every repeat, and the least of these medians.
FOREDRAFT_NATIVE=0 measures the numpy twins. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import foredraft
from foredraft.core.events import Step
from foredraft.core.native import TWINS
from foredraft.core.protocols import About, Query, Request, Scores
from foredraft.core.rules import Rules
from foredraft.core.stop import Stop, StopState
from foredraft.draft.lookup import Lookup, Options
from foredraft.engine.loop import generate
from foredraft.engine.sequence import open_sequence
from foredraft.policy.constant import Constant
from foredraft.verify.match import Match

NODES = 8
PHRASES, LENGTH = 24, 16
# Share of tokens that differ from the phrase they stand in: where a draft is rejected.
CHANGED = 0.08
# Logits: noise of this width, the text's own token above it, and rivals that are close to it in some rows.
WIDTH, PEAK, RIVALS = 2.5, 18.0, 40
# Name -> vocabulary, rules, and the milliseconds that a round may cost.
CASES = {
    "greedy": (49_152, Rules(), 0.35),
    "sampled": (152_064, Rules(temperature=0.7, top_p=0.9), 1.0),
}


@dataclass
class Rows:
    """A cache that counts."""

    length: int = 0
    nbytes: int = 0

    def keep(self, rows: Sequence[int]) -> None:
        self.length += len(rows)

    def trim(self, length: int) -> None:
        self.length = length

    def fork(self) -> Rows:
        return Rows(self.length)

    def close(self) -> None:
        """Nothing to give back."""


@dataclass(frozen=True)
class Written:
    """Scores of one pass: views of the logits [wanted rows, vocab] that the model wrote, from row `first` on."""

    written: NDArray[np.float32]
    first: int

    @property
    def vocab_size(self) -> int:
        return int(self.written.shape[1])

    def logits(self, row: int) -> NDArray[np.float32]:
        return self.written[row - self.first]

    def argmax(self, row: int) -> int:
        return int(self.written[row - self.first].argmax())

    def top(self, row: int) -> Any:
        raise NotImplementedError("no drafter here asks for it")

    def taps(self, layer: int) -> Any:
        raise NotImplementedError("no drafter here asks for it")


class Recited:
    """Says `text` whatever it is fed: the logits of a row depend on its position alone. seconds: those in `score`."""

    abilities: frozenset[Any] = frozenset()

    def __init__(self, text: Sequence[int], vocab_size: int) -> None:
        generator = np.random.default_rng(0)
        noise = generator.normal(scale=WIDTH, size=(16, vocab_size))
        rivals = generator.integers(0, vocab_size, size=(16, RIVALS))
        behind = np.linspace(1.5, 9.0, 16)[:, None] + generator.exponential(3.0, size=rivals.shape)
        np.put_along_axis(noise, rivals, PEAK - behind, axis=1)
        self.about = About("recited", vocab_size, len(text) + 64, 1, 1, row_invariant=True)
        self.text, self.noise, self.seconds = text, noise.astype(np.float32), 0.0

    def open(self) -> Rows:
        return Rows()

    def score(self, queries: Sequence[Query]) -> list[Scores]:
        begun = time.perf_counter()
        scores: list[Scores] = [self._written(query) for query in queries]
        self.seconds += time.perf_counter() - begun
        return scores

    def _written(self, query: Query) -> Written:
        depths: list[int] = []
        for parent in query.parents:
            depths.append(0 if parent < 0 else depths[parent] + 1)
        positions = [query.cache.length + depths[row] for row in query.logits]
        written = self.noise[[position % len(self.noise) for position in positions]]
        for logits, position in zip(written, positions, strict=True):
            logits[self.text[position + 1]] = PEAK
        return Written(written, query.logits[0] if query.logits else 0)

    def embed(self, tokens: Sequence[int]) -> Any:
        raise NotImplementedError("no drafter here asks for it")

    head = view = embed

    def close(self) -> None:
        """Nothing to give back."""


@dataclass(frozen=True)
class Round:
    """Milliseconds of a round outside `score`, the parts the round itself counted, and what it decided."""

    outside: float
    draft: float
    sample: float
    other: float
    accepted: int


def recited_text(tokens: int, vocab_size: int) -> list[int]:
    """Phrases in random order, each time with a few tokens changed."""
    generator = np.random.default_rng(1)
    phrases = generator.integers(0, vocab_size, size=(PHRASES, LENGTH))
    text = phrases[generator.integers(0, PHRASES, size=tokens // LENGTH + 1)].ravel()
    changed = generator.random(len(text)) < CHANGED
    return [int(token) for token in np.where(changed, generator.integers(0, vocab_size, size=len(text)), text)]


def rounds(case: str, tokens: int) -> list[Round]:
    """Every round of one generation that drafted NODES nodes."""
    vocab_size, rules, _ = CASES[case]
    prompt = PHRASES * LENGTH
    text = recited_text(prompt + tokens + 64, vocab_size)
    model = Recited(text, vocab_size)
    request = Request(tuple(text[:prompt]), seed=7, rules=rules)
    ending = StopState(Stop(frozenset({0}), (), tokens))
    sequence = open_sequence(model, Lookup(Options()), Match(), request, ending)
    steps, found = generate(model, Constant(NODES), [sequence]), []
    while True:
        before, begun = model.seconds, time.perf_counter()
        step: Step | None = next((step for _, step in steps), None)
        outside = time.perf_counter() - begun - (model.seconds - before)
        if step is None:
            return found
        if step.drafted == NODES:
            parts = (outside, step.seconds.draft, step.seconds.sample, step.seconds.other)
            found.append(Round(*(1000 * part for part in parts), step.accepted))


def measured(case: str, tokens: int, repeats: int) -> dict[str, Any]:
    """One case: medians over the rounds of each repeat, and how many drafts were accepted."""
    runs = [rounds(case, tokens) for _ in range(repeats + 1)][1:]  # the first warms up
    medians = [statistics.median(each.outside for each in run) for run in runs]
    every = [each for run in runs for each in run]
    vocab_size, rules, target = CASES[case]
    parts = {part: statistics.median(getattr(each, part) for each in every) for part in ("draft", "sample", "other")}
    return {
        "vocab_size": vocab_size,
        "temperature": rules.temperature,
        "top_p": rules.top_p,
        "nodes": NODES,
        "rounds": len(every),
        "accepted_per_round": statistics.mean(each.accepted for each in every),
        "rejected_in": statistics.mean(each.accepted < NODES for each in every),
        "median_ms": statistics.median(each.outside for each in every),
        "mean_ms": statistics.mean(each.outside for each in every),
        "least_median_ms": min(medians),
        "medians_ms": medians,
        "parts_median_ms": parts,
        "target_ms": target,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=1500)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out")
    options = parser.parse_args()
    report = {case: measured(case, options.tokens, options.repeats) for case in CASES}
    line = json.dumps(
        {
            "cases": report,
            "options": vars(options),
            "machine": platform.processor() or platform.machine(),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "twins": TWINS.__name__,
            "version": foredraft.__version__,
        }
    )
    if options.out:
        Path(options.out).write_text(line + "\n", encoding="utf-8")
    print(line)


if __name__ == "__main__":
    main()
