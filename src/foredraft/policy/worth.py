"""Whether asking a source pays: the tokens its drafts add, beside what others drafted, less the time it takes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp, log

from foredraft.policy.acceptance import Tally

# Rounds in which a source was asked that its averages reach back.
MEMORY = 20.0
ACCEPTANCE_MEMORY = 100.0
LEAST_MODESTY = 0.1
# A source is judged apart by how much the others have drafted: expected tokens accepted of it.
STRENGTHS = (0.3, 0.8, 1.6, 3.2)
# Trials after which a source that does not pay is left alone, and rounds until it is tried again: doubled each time, up
# to where trying takes this share of the time.
TRIALS = 4
PATIENCE = 2
TRYING = 0.005
# Tokens a round that a source is hoped to add before anything was seen.
HOPE = 0.5
# Rounds that the balance reaches back, and rounds until it counts.
ACCOUNT_MEMORY = 40.0
TOLD = 6


@dataclass
class Verdict:
    """What asking brought at one strength of the others. net: tokens beyond what its seconds bring otherwise."""

    net: float = 0.0
    asked: int = 0
    idle: int = 0
    patience: int = PATIENCE

    @property
    def pays(self) -> bool:
        return self.asked < TRIALS or self.net > 0

    def add(self, net: float, surprising: bool) -> None:
        """surprising: more came true than was expected, so one that does not pay is tried once more at once."""
        self.asked += 1
        self.net += (net - self.net) / min(self.asked, MEMORY)
        self.patience = PATIENCE if self.pays else 2 * self.patience
        self.idle = self.patience if surprising else 0


@dataclass
class Worth:
    """One source. seconds: of a round in which it is asked, beyond `rest`, those of one in which it is not (a drafter
    learns from every round). step: of one more level of its tree.

    balance: tokens a round beyond what its seconds, all of them, bring otherwise; told: of how many rounds it tells.
    modesty: log of its chances as they come true / log of those it claims; below 1 for one that claims too little.
    """

    seconds: float = 0.0
    rest: float = 0.0
    rests: int = 0
    step: float = 0.0
    modesty: float = 1.0
    rounds: int = 0
    acceptance: Tally = field(default_factory=Tally)
    balance: float = 0.0
    told: int = 0
    verdicts: dict[int, Verdict] = field(default_factory=dict)

    def wanted(self, strength: float, plain: float, joining: float = 0.0) -> bool:
        """Whether to ask, given the tokens expected of what others drafted; now and then to find out.

        plain: seconds of a pass of one row, which tell how often finding out is cheap. joining: seconds in which it
        would have to catch up with the text first.
        """
        verdict = self._verdict(strength)
        verdict.idle += 1
        patience = max(min(verdict.patience, self.seconds / (TRYING * plain)), joining / (TRYING * plain))
        return verdict.pays or verdict.idle > patience

    def gain(self, strength: float) -> float:
        """Tokens a round that it adds, beyond what its seconds bring otherwise; a hope where little was seen."""
        verdict = self._verdict(strength)
        return verdict.net if verdict.asked >= TRIALS else max(HOPE, verdict.net)

    def claimed(self, chance: float) -> float:
        """What it claims of a path that has this chance."""
        return exp(log(chance) / self.modesty) if chance > 0 else 0.0

    def came_true(self, claims: Sequence[float], chances: Sequence[float]) -> None:
        """Its nodes' chances given their parents, as claimed and as calibrated."""
        claimed, calibrated = sum(map(log, claims)), sum(map(log, chances))
        if claimed < 0:
            ratio = min(max(calibrated / claimed, LEAST_MODESTY), 1.0 / LEAST_MODESTY)
            self.modesty += (ratio - self.modesty) / MEMORY

    def burden(self, least: float) -> bool:
        """Whether it takes `least` seconds of rounds in which it is not asked, and does not make up for them."""
        return self.rest >= least and self.told >= TOLD and self.balance < 0

    def rested(self, seconds: float, rate: float = 0.0) -> None:
        """What a round took in which it was not asked, where `rate` tokens come in a second."""
        self._account(-rate * seconds)
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

    def earned(self, strength: float, net: float, surprising: bool = False, rate: float = 0.0) -> None:
        """What a round in which it was asked brought, others being so strong, beyond its seconds for being asked."""
        self._account(net - rate * self.rest)
        self._verdict(strength).add(net, surprising)

    def _verdict(self, strength: float) -> Verdict:
        return self.verdicts.setdefault(bisect_left(STRENGTHS, strength), Verdict())

    def _account(self, net: float) -> None:
        self.told += 1
        self.balance += (net - self.balance) / min(self.told, ACCOUNT_MEMORY)
