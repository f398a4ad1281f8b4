"""Statistics, all derived from steps: nothing is counted elsewhere, so no two figures can disagree."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from foredraft.core.events import Step, Times


@dataclass(frozen=True)
class Forecast:
    """What the policy expected of the rounds it said something about, and what came: totals.

    A round counts for each of its sequences, seconds of the whole round on both sides. expected_seconds: of the pass
    and of drafting; beyond: seconds that came on top of them, for sampling and the rest.
    """

    rounds: int
    expected_tokens: float
    tokens: int
    expected_seconds: float
    seconds: float
    beyond: float

    @property
    def expected_tok_s(self) -> float:
        return self.expected_tokens / self.expected_seconds if self.expected_seconds else 0.0

    @property
    def tok_s(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Stats:
    """Totals over steps; rates are derived when read.

    passes: target passes that emitted tokens. drafts: passes that verified at least one draft. by_depth: for depth 1,
    2, … how many passes drafted and how many accepted a token there (a tree counts once a depth). by_source: source,
    nodes drafted, nodes accepted; a node counts for every source that drafted it. spent: source, seconds it drafted and
    learnt. forecast: None where the policy expected nothing in particular. lossless: False where a verifier may have
    changed what the model says.
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
    spent: tuple[tuple[str, float], ...] = ()
    forecast: Forecast | None = None
    lossless: bool = True

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
    spent: dict[str, float] = {}
    foreseen: list[Step] = []
    faults: list[str] = []
    draft = verify = sample = other = 0.0
    lossless = True
    for step in steps:
        lossless = lossless and step.lossless
        tokens += len(step.tokens)
        passes += bool(step.tokens)
        drafts += step.drafted > 0
        drafted += step.drafted
        accepted += step.accepted
        _count_depths(by_depth, step)
        _count_sources(by_source, step)
        for source, used in step.spent:
            spent[source] = spent.get(source, 0.0) + used
        # A pass that also took in the prompt costs more than anybody expects of a round.
        foreseen += [step] if step.expected is not None and step.rows == 1 + len(step.tree) else []
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
        tuple(spent.items()),
        _forecast(foreseen) if foreseen else None,
        lossless,
    )


def by_source_json(found: Stats) -> dict[str, dict[str, float]]:
    """source -> nodes drafted and accepted, and the seconds it took; those that drafted nothing too."""
    counts = {source: (drafted, accepted) for source, drafted, accepted in found.by_source}
    spent = dict(found.spent)
    return {
        source: {
            "drafted": counts.get(source, (0, 0))[0],
            "accepted": counts.get(source, (0, 0))[1],
            "seconds": spent.get(source, 0.0),
        }
        for source in dict.fromkeys((*spent, *counts))
    }


def forecast_json(found: Forecast | None) -> dict[str, float] | None:
    """A forecast beside what came, means of a round."""
    if found is None:
        return None
    return {
        "rounds": found.rounds,
        "expected_tokens": found.expected_tokens / found.rounds,
        "tokens": found.tokens / found.rounds,
        "expected_seconds": found.expected_seconds / found.rounds,
        "seconds": found.seconds / found.rounds,
        "beyond_seconds": found.beyond / found.rounds,
        "expected_tok_s": found.expected_tok_s,
        "tok_s": found.tok_s,
    }


def _forecast(steps: Sequence[Step]) -> Forecast:
    expected = [step.expected for step in steps if step.expected is not None]
    walls = math.fsum(step.wall for step in steps)
    foreseeable = math.fsum(_share(step) * (step.seconds.draft + step.seconds.verify) for step in steps)
    return Forecast(
        len(steps),
        math.fsum(tokens for tokens, _ in expected),
        sum(len(step.tokens) for step in steps),
        math.fsum(seconds for _, seconds in expected),
        walls,
        walls - foreseeable,
    )


def _share(step: Step) -> float:
    """How often a step's seconds go into its round: once for each sequence."""
    return step.wall / step.seconds.total if step.seconds.total else 0.0


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
