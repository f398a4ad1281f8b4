"""How often drafts are accepted, by who drafted them, how deep they stand and how sure the drafter was.

Every node whose parent was committed is a trial, whether or not it was scored: the committed token says whether the
node guessed it (full information, as in 2510.20064), so a source can be judged that has not been verified for long.
Counts are forgotten exponentially. Two levels: what a tenant's requests have shown, and on top of it this request.

`Acceptance` is the specification of a native twin (native/src/acceptance.cpp); `policy/native.py` chooses.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from foredraft.core.tree import ROOT, DraftTree

Bin = tuple[str, int, int]
"""(sources of the node, depth class, negative where the node is doubted, confidence class)."""
Trait = tuple[Bin, float]
"""A node's bin, and the chance that its drafter claims."""

# Where a drafter's own estimate of P(node | parent) is cut into classes.
EDGES = (0.03, 0.08, 0.15, 0.25, 0.4, 0.55, 0.7, 0.85, 0.95)
DEPTHS = 4  # deeper nodes are of one class
# What the estimate before counts for: so many hits, in as many trials as it expects them in, and no more of these than
# that. Counted in trials alone it would be forgotten soonest where little is claimed and one hit in ten is chance.
PRIOR, MOST_PRIOR = 8.0, 200.0
# Who knows more of what comes next: one that sees the target's states or has a model's law, than one that remembers
# what the target held likely, and that than one that looks up what followed before. Where the better informed have
# drafted, but not this node, it is doubted. Of others nothing is known: they cast no doubt, and none is cast on them.
LEARNT = (
    *("block", "eagle", "eagle3", "hydra", "medusa", "mtp", "mtp_sequential"),
    *("ahead", "early_exit", "model", "staged", "translate"),
)
MOST_INFORMED = 2
INFORMED = {"suffix": 0, "recycling": 1, **dict.fromkeys(LEARNT, MOST_INFORMED)}
# What is believed of a claim before any was tested is a power of it: of one that is doubted, and of what was looked up
# by depth, for where a text has said again what it said before it goes on doing so (development prompts, SmolLM2 and
# Qwen2.5-Coder; LOG.md, 2026-11-28).
DOUBT, SUFFIX_ALONE = 2.0, 1.2
LOOKED_UP = frozenset({"suffix", "recycling"})
FURTHER = (1.0, 0.85, 0.75, 0.6)
CEILING = 0.995  # no draft is certain
FLOOR = 1e-200  # nor is a path impossible: what hangs below it has a chance beside it, whatever its drafter claims


@dataclass(slots=True)
class Tally:
    """Trials and hits, forgotten as new ones come."""

    trials: float = 0.0
    hits: float = 0.0

    def add(self, hit: bool, memory: float) -> None:
        """memory: how many trials back the counts reach."""
        keep = 1.0 - 1.0 / memory
        self.trials = self.trials * keep + 1.0
        self.hits = self.hits * keep + hit

    def estimate(self, prior: float, most: float = MOST_PRIOR) -> float:
        """P(hit), starting from `prior`, which counts for so many trials at most."""
        before = PRIOR / prior if prior * most > PRIOR else most
        return (self.hits + before * prior) / (self.trials + before)


@dataclass
class Acceptance:
    """Estimates of P(node accepted | parent accepted). below: where the estimates start from; memory: in trials."""

    memory: float
    below: Acceptance | None = None
    tallies: dict[Bin, Tally] = field(default_factory=dict)

    def _levels(self) -> list[tuple[dict[Bin, Tally], float]]:
        """Counts from the lowest level up, and for how many trials what is below counts at most."""
        below = self.below._levels() if self.below is not None else []
        return [*below, (self.tallies, min(MOST_PRIOR, self.memory / 2))]  # or what was seen could never outweigh it

    def counts(self) -> dict[Bin, tuple[float, float]]:
        """Trials and hits of this level."""
        return {where: (tally.trials, tally.hits) for where, tally in self.tallies.items()}

    def look(self, tree: DraftTree) -> tuple[list[float], list[float]]:
        """Of every node P(node | its parent is accepted) as its drafter claims, and P(its path is accepted).

        Siblings never promise more than 1 together.
        """
        traits = traits_of(tree)
        return [claimed for _, claimed in traits], self._paths(tree, traits)

    def learn(self, tree: DraftTree, tokens: Sequence[int]) -> None:
        """What `tree` guessed, held against the tokens that came; the text may end inside it."""
        node, traits = ROOT, traits_of(tree)
        for token in tokens:
            follows = None
            for child in tree.children(node):
                hit = tree.tokens[child] == token
                self._add(traits[child][0], hit)
                follows = child if hit and follows is None else follows
            if follows is None:
                return
            node = follows

    def _add(self, where: Bin, hit: bool) -> None:
        tally = self.tallies.get(where)
        if tally is None:
            tally = self.tallies[where] = Tally()
        tally.add(hit, self.memory)
        if self.below is not None:
            self.below._add(where, hit)

    def _paths(self, tree: DraftTree, traits: Sequence[Trait]) -> list[float]:
        chances, levels = list[float](), self._levels()
        for parent, (where, claimed) in zip(tree.parents, traits, strict=True):
            above = 1.0 if parent == ROOT else chances[parent]
            chances.append(max(FLOOR, above * _chance(levels, where, claimed)))
        _share_out(tree, chances)
        return chances


def _chance(levels: Sequence[tuple[dict[Bin, Tally], float]], where: Bin, claimed: float) -> float:
    """What is believed of a claim, corrected level by level."""
    found = believed(where, claimed)
    for tallies, most in levels:
        tally = tallies.get(where)
        found = min(CEILING, tally.estimate(found, most) if tally is not None else found)
    return found


@lru_cache(1024)
def informed(sources: str, unknown: int) -> int:
    """How much the best informed of these sources knows; `unknown`: one that is not in the order."""
    return max(INFORMED.get(source, unknown) for source in sources.split("+"))


def doubted(tree: DraftTree) -> list[bool]:
    """Of every node whether the better informed drafted at its place, but not it."""
    best = dict[int, int]()
    for node, parent in enumerate(tree.parents):
        if not tree.probes[node]:
            best[parent] = max(best.get(parent, 0), informed(tree.sources[node], 0))
    return [
        informed(source, MOST_INFORMED) < best.get(parent, 0)
        for source, parent in zip(tree.sources, tree.parents, strict=True)
    ]


@lru_cache(1024)
def power(sources: str, depth: int) -> float:
    """To which the claims of these sources together are raised; depth: a class, as in a bin."""
    if depth < 0:
        return DOUBT
    own = SUFFIX_ALONE if sources == "suffix" else 1.0
    return own * FURTHER[depth - 1] if LOOKED_UP.intersection(sources.split("+")) else own


def believed(where: Bin, claimed: float) -> float:
    """What a claim is taken for before any was tested."""
    raised = power(where[0], where[1])
    return claimed if raised == 1.0 else float(claimed**raised)


LEAST = -60.0  # log of the least chance that a claim stands for: what is called impossible may be drafted all the same


def traits_of(tree: DraftTree) -> list[Trait]:
    """Every node's bin and what its drafter claims: P(node | its parent is accepted)."""
    found, doubts = [], doubted(tree)
    for node, (source, depth, parent) in enumerate(zip(tree.sources, tree.depths, tree.parents, strict=True)):
        above = 0.0 if parent == ROOT else tree.score[parent]
        claimed = math.exp(max(LEAST, min(0.0, tree.score[node] - above)))
        depth = -min(depth, DEPTHS) if doubts[node] else min(depth, DEPTHS)
        found.append(((source, depth, bisect_left(EDGES, claimed)), claimed))
    return found


def _share_out(tree: DraftTree, chances: list[float]) -> None:
    """Scales siblings (and what hangs below) that together promise more than their parent can keep."""
    promised: dict[int, float] = {}
    for node, parent in enumerate(tree.parents):
        if not tree.probes[node]:
            promised[parent] = promised.get(parent, 0.0) + chances[node]
    scale: list[float] = []
    for node, parent in enumerate(tree.parents):
        above, inherited = (1.0, 1.0) if parent == ROOT else (chances[parent] / scale[parent], scale[parent])
        own = CEILING * above / promised[parent] if promised.get(parent, 0.0) > CEILING * above else 1.0
        scale.append(inherited * own)
        chances[node] *= scale[node]
