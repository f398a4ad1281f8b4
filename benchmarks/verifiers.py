"""What judging a draft costs beyond `match`: laws, tests and the last token, from logits that lie ready.

    verifiers.py [--rounds N] [--repeats N] [--out FILE.json]

The round's own parts are timed together: `tree.check`, which looks at every law, then `laws_of` and the verifier.
Drafting is not: a drafter that draws makes its laws in any case. Vocabulary 49,152, 8 nodes: a chain, and a tree of
two children twice (2 + 4) and one more (8 in all, where siblings are alike for `kseq`, without replacement for the
others). Laws of target and draft are those of top-k 64 at temperature 1, or dense. Logits are made so that about as
much is accepted as of a fair draft model: the draft's are the target's with noise of half their width. For a noisy
machine: every repeat times all verifiers in turn on the same rounds; the median of each repeat, the least of these
medians, and the least over repeats of the difference to `match`. FOREDRAFT_NATIVE=0 measures the numpy twins.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import foredraft
from foredraft.core.law import Law, without
from foredraft.core.native import TWINS
from foredraft.core.protocols import Verifier
from foredraft.core.rules import Rules
from foredraft.core.stream import KeyedStream, Purpose
from foredraft.core.tree import ROOT, DraftTree, check
from foredraft.core.walk import laws_of
from foredraft.verify import make_verifier

VOCAB, NODES = 49_152, 8
PARENTS = {"chain": tuple(range(-1, NODES - 1)), "tree": (-1, -1, 0, 0, 1, 1, 2, 4)}
RULES = {"top-k 64": Rules(temperature=1.0, top_k=64), "dense": Rules(temperature=1.0)}
VERIFIERS = ("match", "recursive", "specinfer", "block", "traversal", "kseq")
# Milliseconds over `match` that a round may take.
TARGETS = {"top-k 64": 0.3, "dense": 3.0}
WIDTH, NOISE, PEAKS = 2.0, 1.0, 12


@dataclass(frozen=True)
class Rows:
    """The logits of one pass, root first, as an engine would hand them over."""

    written: NDArray[np.float32]

    @property
    def vocab_size(self) -> int:
        return int(self.written.shape[1])

    def logits(self, row: int) -> NDArray[np.float32]:
        return self.written[row]

    def argmax(self, row: int) -> int:
        return TWINS.argmax(self.written[row])

    def top(self, row: int) -> Any:
        raise NotImplementedError("no verifier asks for it")

    taps = top


@dataclass(frozen=True)
class Case:
    """A round: its logits, and the draft without laws, with siblings without replacement, and with it."""

    rows: Rows
    coupled: DraftTree
    without: DraftTree
    replaced: DraftTree
    stream: KeyedStream

    def tree(self, verifier: Verifier) -> DraftTree:
        if not verifier.needs_laws:
            return self.coupled
        return self.replaced if verifier.replacement else self.without


def made(shape: str, rules: Rules, seed: int) -> Case:
    """A round whose draft knows the target's logits, but for noise."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(scale=WIDTH, size=(1 + NODES, VOCAB)).astype(np.float32)
    for row in logits:
        row[draw.integers(0, VOCAB, size=PEAKS)] += np.linspace(16.0, 9.0, PEAKS, dtype=np.float32)
    stream = KeyedStream(seed).at(5)
    noise = draw.normal(scale=NOISE, size=logits.shape).astype(np.float32)
    laws = [rules.law_of(row) for row in logits + noise]
    parents = PARENTS[shape]
    trees = [_drawn(parents, laws, stream, replacement) for replacement in (False, True)]
    tokens = list[int]()
    for node, parent in enumerate(parents):
        older = sum(1 for other in parents[:node] if other == parent)
        depth = _depth(parents, node)
        tokens.append(stream.ahead(depth).rank(laws[1 + parent], older + 1, Purpose.TARGET)[-1])
    return Case(Rows(logits), DraftTree.of(tokens, parents, "draft"), *trees, stream)


def _depth(parents: tuple[int, ...], node: int) -> int:
    depth = 0
    while parents[node] != ROOT:
        node, depth = parents[node], depth + 1
    return depth


def _drawn(parents: tuple[int, ...], laws: list[Law], stream: KeyedStream, replacement: bool) -> DraftTree:
    tokens, own, left = list[int](), list[Law](), dict(enumerate(laws, start=-1))
    for node, parent in enumerate(parents):
        law = left[parent]
        tokens.append(stream.ahead(_depth(parents, node)).draw(law, Purpose.DRAFT, lane=node))
        own.append(law)
        rest = law if replacement else without(law, tokens[-1])
        assert rest is not None
        left[parent] = rest
    return DraftTree.of(tokens, parents, "draft", laws=own)


def timed(cases: list[Case], verifier: Verifier, rules: Rules) -> tuple[float, float]:
    """Median milliseconds of a round, and the mean number of accepted drafts."""
    spent, accepted = list[float](), 0
    for case in cases:
        # A fresh tree: what it remembers of its shape is part of the round's work.
        drafts = DraftTree(**{name: getattr(case.tree(verifier), name) for name in FIELDS})
        begun = time.perf_counter()
        check(drafts, VOCAB, NODES, NODES, verifier.needs_laws)
        _, laws, _ = laws_of(rules, drafts, case.rows, 1)
        verdict = verifier(drafts, lambda node, laws=laws: laws(node), case.stream)  # type: ignore[misc]
        spent.append(time.perf_counter() - begun)
        accepted += len(verdict.path)
    return 1000 * statistics.median(spent), accepted / len(cases)


FIELDS = ("tokens", "parents", "score", "sources", "laws", "probes")


def measured(shape: str, kind: str, rounds: int, repeats: int) -> list[dict[str, Any]]:
    """All verifiers on the same rounds."""
    rules = RULES[kind]
    cases = [made(shape, rules, seed) for seed in range(rounds)]
    verifiers = {name: make_verifier(name) for name in VERIFIERS}
    medians: dict[str, list[float]] = {name: [] for name in VERIFIERS}
    accepted = {}
    for repeat in range(repeats + 1):  # the first warms up
        for name, verifier in verifiers.items():
            found, accepted[name] = timed(cases, verifier, rules)
            if repeat:
                medians[name].append(found)
    return [
        {
            "shape": shape,
            "laws": kind,
            "verifier": name,
            "least_median_ms": min(medians[name]),
            "over_match_ms": min(own - base for own, base in zip(medians[name], medians["match"], strict=True)),
            "median_over_match_ms": statistics.median(
                own - base for own, base in zip(medians[name], medians["match"], strict=True)
            ),
            "accepted": accepted[name],
            "target_ms": TARGETS[kind],
        }
        for name in VERIFIERS
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out")
    options = parser.parse_args()
    found = [
        row for shape in PARENTS for kind in RULES for row in measured(shape, kind, options.rounds, options.repeats)
    ]
    for row in found:
        print(
            f"{row['shape']:6} {row['laws']:9} {row['verifier']:10} {row['least_median_ms']:7.3f} ms, "
            f"{row['median_over_match_ms']:+7.3f} over match, {row['accepted']:.2f} accepted"
        )
    line = json.dumps(
        {
            "rows": found,
            "vocab_size": VOCAB,
            "nodes": NODES,
            "options": {"rounds": options.rounds, "repeats": options.repeats},
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
