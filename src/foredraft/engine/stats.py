"""Statistics, all derived from steps: nothing is counted elsewhere, so no two figures can disagree."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from foredraft.core.events import Step, Times


@dataclass(frozen=True)
class Stats:
    """Totals over steps; rates are derived when read.

    passes: target passes that emitted tokens. drafts: passes that verified at least one draft. by_depth: for depth 1,
    2, … how many passes drafted and how many accepted a token there (a tree counts once a depth). by_source: source,
    nodes drafted, nodes accepted; a node counts for every source that drafted it.
    """

    tokens: int
    passes: int
    drafts: int
    drafted: int
    accepted: int
    by_depth: tuple[tuple[int, int], ...]
    by_source: tuple[tuple[str, int, int], ...]
    faults: tuple[str, ...]
    seconds: Times

    @property
    def mean_acceptance_length(self) -> float:
        """Tokens emitted per target pass, bonus included; 1 for plain decoding."""
        return self.tokens / self.passes if self.passes else 0.0

    @property
    def draft_acceptance_rate(self) -> float:
        """Accepted / drafted; 0 when nothing was drafted."""
        return self.accepted / self.drafted if self.drafted else 0.0

    @property
    def acceptance_by_position(self) -> tuple[float, ...]:
        """For each depth, the share of drafts that reached it whose token there was accepted."""
        return tuple(accepted / drafted for drafted, accepted in self.by_depth)


def stats(steps: Iterable[Step]) -> Stats:
    """The totals of some steps, of one sequence or of many."""
    tokens = passes = drafts = drafted = accepted = 0
    by_depth: list[list[int]] = []
    by_source: dict[str, list[int]] = {}
    faults: list[str] = []
    draft = verify = sample = other = 0.0
    for step in steps:
        tokens += len(step.tokens)
        passes += bool(step.tokens)
        drafts += step.drafted > 0
        drafted += step.drafted
        accepted += step.accepted
        _count_depths(by_depth, step)
        _count_sources(by_source, step)
        if step.fault is not None:
            faults.append(step.fault)
        seconds = step.seconds
        draft, verify = draft + seconds.draft, verify + seconds.verify
        sample, other = sample + seconds.sample, other + seconds.other
    return Stats(
        tokens,
        passes,
        drafts,
        drafted,
        accepted,
        tuple((reached, taken) for reached, taken in by_depth),
        tuple((source, reached, taken) for source, (reached, taken) in by_source.items()),
        tuple(faults),
        Times(draft, verify, sample, other),
    )


def _count_depths(by_depth: list[list[int]], step: Step) -> None:
    deepest = max((d for d, probe in zip(step.tree.depths, step.tree.probes, strict=True) if not probe), default=0)
    while len(by_depth) < deepest:
        by_depth.append([0, 0])
    for depth in range(deepest):
        by_depth[depth][0] += 1
        by_depth[depth][1] += depth < step.accepted


def _count_sources(by_source: dict[str, list[int]], step: Step) -> None:
    """A node that several sources agree on counts for each of them."""
    for sources, probe in zip(step.tree.sources, step.tree.probes, strict=True):
        if not probe:
            for source in sources.split("+"):
                by_source.setdefault(source, [0, 0])[0] += 1
    for node in step.path[: step.accepted]:
        for source in step.tree.sources[node].split("+"):
            by_source[source][1] += 1
