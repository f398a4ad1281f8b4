"""Whether asking a source pays: the tokens its drafts add, beside what others drafted, less the time it takes.

A source is asked while what it adds, as it seems, is worth its time. What asking brought is averaged on two levels, as
acceptance is: what a tenant's requests have shown, and on top of it this request; and apart by how strong the others
were. Tokens and seconds are kept apart, for what a second is worth changes: a text that begins with luck makes every
second look dear. A new one is hoped to add something, and where little was seen it is thought to add somewhat less than
beside weaker ones: it is tried first where it would add the most. One that does not pay is tried again the sooner the
less that loses, so that trying takes a small share of the tokens.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from math import exp, log

from foredraft.policy.acceptance import Tally

# Rounds in which a source was asked that its averages reach back.
MEMORY = 20.0
ACCEPTANCE_MEMORY = 100.0
LEAST_MODESTY = 0.1
# A source is judged apart by how much the others have drafted: expected tokens accepted of it.
STRENGTHS = (0.3, 0.8, 1.6, 3.2)
PLACES = len(STRENGTHS) + 1
# Times a new source is asked before it is judged, if that takes less than is hoped of it; rounds it waits for one in
# which the others have found nothing.
TRIALS = 5
WAIT = 4
# Times asked that what is known before counts for.
PRIOR = 3.0
# Tokens expected that have to be seen for what came of them to weigh as much as the belief in them, and rounds of them.
# What comes of a draft scatters more than what claims are worth differs from text to text.
DOUBT = 8.0
TRUTH_MEMORY = 100.0
# Tokens a round that a source is hoped to add before anything was seen, and never thought to fall below.
HOPE, LEAST = 0.5, 0.01
# Of what it adds so much is thought to be added beside the next stronger others.
SPILL = 0.7
# Rounds until a source that does not pay is tried again: doubled each time, and as many as make trying lose this share
# of a token a round at most.
PATIENCE = 4
TRYING = 0.005
# Rounds that the balance reaches back, and rounds until it counts.
ACCOUNT_MEMORY = 40.0
TOLD = 40


class Wanted(Enum):
    """Whether to ask a source, and why."""

    NOT = "it does not pay"
    FOR_ITS_WORTH = "it pays"
    TO_FIND_OUT = "it may"

    def __bool__(self) -> bool:
        return self is not Wanted.NOT


@dataclass(frozen=True)
class Brought:
    """What asking a source brought in a round: tokens that were expected of its nodes, as many as came of them, and the
    seconds that this took, its own and those of the rows."""

    expected: float
    came: float
    seconds: float


@dataclass(slots=True)
class Mean:
    """Of what asking brought. asked: times."""

    expected: float = 0.0
    seconds: float = 0.0
    asked: int = 0

    def add(self, brought: Brought) -> None:
        self.asked += 1
        weight = 1.0 / min(self.asked, MEMORY)
        self.expected += (brought.expected - self.expected) * weight
        self.seconds += (brought.seconds - self.seconds) * weight

    def estimate(self, seen: float, prior: float) -> float:
        """The mean of what was `seen`, starting from `prior`."""
        return (self.asked * seen + PRIOR * prior) / (self.asked + PRIOR)


@dataclass
class Gains:
    """Tokens a round that a source adds beyond what its seconds bring otherwise, by how strong the others are.

    What is expected of its nodes hardly scatters and rests on claims; what comes of them is chance and true. So means
    are those of the expected, and the share of it that came, over all strengths together, corrects them.
    below: where the estimates start from; without it, from HOPE. expected, came: tokens. asked: times; usual: seconds
    of asking, whatever the others have drafted.
    """

    below: Gains | None = None
    means: list[Mean] = field(default_factory=lambda: [Mean() for _ in range(PLACES)])
    expected: float = 0.0
    came: float = 0.0
    asked: int = 0
    usual: float = 0.0

    @property
    def truth(self) -> float:
        """What came, as a share of what was expected."""
        before = self.below.truth if self.below is not None else 1.0
        return (self.came + DOUBT * before) / (self.expected + DOUBT)

    def tokens(self, place: int, rate: float) -> list[float]:
        """That it adds to a round in which it is asked, by how strong the others are, up to this class of strength.

        A dear one is hoped to bring no less than its seconds do otherwise, so that what it is seen to add decides.
        """
        below = self.below.tokens(place, rate) if self.below is not None else None
        truth, more, hope = self.truth, 0.0, max(HOPE, rate * self.usual)
        found: list[float] = []
        for reached, mean in enumerate(self.means[: place + 1]):
            before = below[reached] if below is not None else hope * SPILL**reached
            found.append(max(LEAST, mean.estimate(truth * mean.expected, before + more)))
            more = SPILL * (found[-1] - before)
        return found

    def seconds(self, place: int) -> float:
        """That asking takes, its own and those of its rows."""
        mean = self.means[place]
        return mean.estimate(mean.seconds, self.below.seconds(place) if self.below is not None else self.usual)

    def net(self, place: int, rate: float) -> float:
        """Tokens that asking adds, less those that its seconds bring otherwise at `rate` tokens a second."""
        return self.tokens(place, rate)[-1] - rate * self.seconds(place)

    def add(self, place: int, brought: Brought) -> None:
        keep = 1.0 - 1.0 / TRUTH_MEMORY
        self.expected = keep * self.expected + max(0.0, brought.expected)
        self.came = keep * self.came + max(0.0, brought.came)
        self.means[place].add(brought)
        self.asked += 1
        self.usual = sum([mean.asked * mean.seconds for mean in self.means]) / self.asked
        if self.below is not None:
            self.below.add(place, brought)


@dataclass(slots=True)
class Wait:
    """Rounds of one class of strength since it was judged in one, those held in between among them, and how many that
    should be where it does not pay."""

    idle: int = 0
    patience: int = PATIENCE

    def pause(self, net: float) -> float:
        """Rounds for which one that loses so many tokens where it is asked is left alone."""
        return min(self.patience, -net / TRYING)


@dataclass
class Worth:
    """One source. seconds: of a round in which it is asked, beyond `rest`, those of one in which it is not (a drafter
    learns from every round). step: of one more level of its tree.

    brought, taken: tokens and seconds of a round, all of its own; told: of how many rounds they tell,
    by so many accounts.
    modesty: log of its chances as they come true / log of those it claims; below 1 for one that claims too little.
    idle: rounds since it was judged when asked last. waits: where it does not pay, by how strong the others are.
    """

    seconds: float = 0.0
    rest: float = 0.0
    rests: int = 0
    step: float = 0.0
    modesty: float = 1.0
    rounds: int = 0
    acceptance: Tally = field(default_factory=Tally)
    brought: float = 0.0
    taken: float = 0.0
    told: int = 0
    accounts: int = 0
    gains: Gains = field(default_factory=Gains)
    idle: int = 0
    waits: list[Wait] = field(default_factory=lambda: [Wait() for _ in range(PLACES)])

    @property
    def new(self) -> bool:
        """Whether it was not asked often enough to be judged."""
        return self.gains.asked < TRIALS

    def wanted(
        self, gains: Gains, strength: float, rate: float, plain: float, joining: float = 0.0, rounds: int = 1
    ) -> Wanted:
        """Whether to ask, given the tokens expected of what others drafted; now and then to find out.

        gains: this request's. rate: tokens that a second brings otherwise. plain: seconds of a pass of one row.
        joining: those in which it would have to catch up with the text first. rounds: since sources were
        judged last, this one included.
        """
        place = place_of(strength)
        wait = self.waits[place]
        self.idle, wait.idle = self.idle + rounds, wait.idle + rounds
        net = gains.net(place, rate)
        if not self.gains.asked or (self.new and rate * self.gains.usual < HOPE):
            if place == 0 or self.idle > WAIT:
                return Wanted.TO_FIND_OUT
            if not self.gains.asked:
                return Wanted.NOT
        if net > 0:
            return Wanted.FOR_ITS_WORTH
        return Wanted.TO_FIND_OUT if wait.idle > wait.pause(net) and self.due(joining, plain) else Wanted.NOT

    def due(self, seconds: float, plain: float) -> bool:
        """Whether it was left alone for so long that `seconds` spent on it now are a small share of the time."""
        return self.idle > seconds / (TRYING * plain)

    def gain(self, gains: Gains, strength: float, rate: float) -> float:
        """Tokens a round that it adds, beyond what its seconds bring otherwise."""
        return gains.net(place_of(strength), rate)

    def claimed(self, chance: float) -> float:
        """What it claims of a path that has this chance."""
        return exp(log(chance) / self.modesty) if chance > 0 else 0.0

    def came_true(self, claims: Sequence[float], chances: Sequence[float]) -> None:
        """Its nodes' chances given their parents, as claimed and as calibrated."""
        claimed, calibrated = sum(map(log, claims)), sum(map(log, chances))
        if claimed < 0:
            ratio = min(max(calibrated / claimed, LEAST_MODESTY), 1.0 / LEAST_MODESTY)
            self.modesty += (ratio - self.modesty) / MEMORY

    def burden(self, least: float, rate: float) -> bool:
        """Whether it takes `least` seconds of rounds in which it is not asked, and does not make up for them."""
        return self.rest >= least and self.told >= TOLD and self.brought < rate * self.taken

    def rested(self, seconds: float, sequences: int = 1, rounds: int = 1) -> None:
        """What a round took in which it was not asked, while so many sequences waited. rounds: that it stands for."""
        self._account(0.0, sequences * seconds, rounds)
        self.rests += 1
        self.rest += (seconds - self.rest) / min(self.rests, MEMORY)

    def spent(self, seconds: float, depth: int) -> float:
        """What a round took in which it drafted a tree so deep (0: none); what of it was for having been asked."""
        asked = max(0.0, seconds - self.rest)
        self.rounds += 1
        weight = 1.0 / min(self.rounds, MEMORY)
        self.seconds += (asked - self.seconds) * weight
        if depth:
            step = asked / depth
            self.step += (step - self.step) * (weight if self.step else 1.0)
        return asked

    def earned(
        self, gains: Gains, strength: float, brought: Brought, rate: float, sequences: int = 1, rounds: int = 1
    ) -> None:
        """What a round in which it was asked brought, others being so strong; its seconds are those of being asked."""
        self._account(brought.came, brought.seconds + sequences * self.rest, rounds)
        place = place_of(strength)
        gains.add(place, brought)
        wait = self.waits[place]
        wait.patience = PATIENCE if gains.net(place, rate) > 0 else 2 * wait.patience
        self.idle = wait.idle = 0

    def _account(self, tokens: float, seconds: float, rounds: int) -> None:
        self.told += rounds
        self.accounts += 1  # what comes of a round scatters: one that stands for others weighs no more for it
        weight = 1.0 / min(self.accounts, ACCOUNT_MEMORY)
        self.brought += (tokens - self.brought) * weight
        self.taken += (seconds - self.taken) * weight


def place_of(strength: float) -> int:
    """The class of what other sources have drafted."""
    return bisect_left(STRENGTHS, strength)
