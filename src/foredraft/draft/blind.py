"""Blind guessing: drafts that know nothing of the model. The lower bound that every other drafter must beat.

`source=random` guesses uniformly: each guess is right with probability 1/V over a vocabulary of V tokens, whatever the
target's law, for sum_x p(x) / V = 1 / V. `source=frequent` guesses what is frequent in the text so far: what followed
the last token, by a count of pairs, smoothed with how often each token came at all.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field

from foredraft.core.errors import UnknownName
from foredraft.core.protocols import AnyDrafter, Ask, Needs, News, Request
from foredraft.core.sampling import uniforms
from foredraft.core.stream import Purpose
from foredraft.core.tree import DraftTree
from foredraft.draft.family import Family, Provided
from foredraft.draft.successors import Context, Row, Trust, best_first

SOURCES = ("random", "frequent")
# Successors of a token considered, and what all tokens' frequency weighs beside counted pairs.
WIDTH = 8
SMOOTHING = 1.0
# A frequency is taken at its word.
FREQUENCY = Trust(1.0, 0.0)
# Of the draft noise: far above those that siblings use.
LANE = 1 << 20


@dataclass(frozen=True)
class Options:
    source: str = field(default="random", metadata={"help": "random: uniform guesses; frequent: of the text so far"})

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise UnknownName("source of drafter 'blind':", self.source, SOURCES)


@dataclass
class Counts:
    """How often tokens came, and what followed each; `length` tokens are counted."""

    tokens: Counter[int] = field(default_factory=Counter)
    after: defaultdict[int, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    length: int = 0

    def extend(self, text: Sequence[int]) -> None:
        for place in range(self.length, len(text)):
            self.tokens[text[place]] += 1
            if place:
                self.after[text[place - 1]][text[place]] += 1
        self.length = len(text)

    def likeliest(self, last: int, frequent: Sequence[int]) -> Row:
        """P(t) = (count(last t) + s count(t) / n) / (count(last .) + s), for followers of `last` and the frequent."""
        after = self.after.get(last, Counter())
        among = {*(token for token, _ in top(after)), *frequent}
        total, share = after.total() + SMOOTHING, SMOOTHING / self.length
        chance = {token: (after[token] + share * self.tokens[token]) / total for token in among}
        best = sorted(chance, key=lambda token: (-chance[token], token))[:WIDTH]
        return Row(tuple(best), tuple(chance[token] for token in best))


def top(counts: Counter[int]) -> list[tuple[int, int]]:
    """The WIDTH most frequent, the lower id among equals."""
    return heapq.nsmallest(WIDTH, counts.items(), key=lambda pair: (-pair[1], pair[0]))


def guesses(count: int, seed: int, choice: int, position: int, size: int) -> list[int]:
    """`count` tokens, each uniform over `size`: a function of seed, choice and position, like all randomness here.

    A lane of its own keeps them independent of the target's noise and of every verifier's.
    """
    drawn = uniforms(count, seed, choice, position, int(Purpose.DRAFT) + (LANE << 8), 0)
    return [int(each * size) for each in drawn]


@dataclass
class Key:
    """What a sequence's uniform guesses are computed from."""

    seed: int
    choice: int


class Uniform:
    """Guesses uniformly. Known before the target's noise is looked at, its tokens are points, not drawn ones."""

    needs = Needs()

    def open(self, request: Request, parent: Key | None = None) -> Key:
        return Key(request.seed, request.choice)

    def propose(self, asks: Sequence[Ask[Key]]) -> list[DraftTree]:
        return [self._propose(ask) for ask in asks]

    def update(self, news: Sequence[News[Key]]) -> None:
        """There is nothing to learn."""

    def close(self, state: Key) -> None:
        """There is nothing to give back."""

    def _propose(self, ask: Ask[Key]) -> DraftTree:
        count, key = max(0, min(ask.budget.rows, ask.budget.depth)), ask.state
        tokens = guesses(count, key.seed, key.choice, len(ask.committed), ask.vocab_size)
        score = [-math.log(ask.vocab_size) * depth for depth in range(1, count + 1)]
        tree = DraftTree.chain(tokens, "blind", score=score)
        return tree.with_point_laws(ask.vocab_size) if ask.draw == "sampled" else tree


class Frequent:
    """Guesses what has been frequent in this text."""

    needs = Needs()

    def open(self, request: Request, parent: Counts | None = None) -> Counts:
        if parent is not None:
            return deepcopy(parent)
        counts = Counts()
        counts.extend(request.prompt)
        return counts

    def propose(self, asks: Sequence[Ask[Counts]]) -> list[DraftTree]:
        return [self._propose(ask) for ask in asks]

    def update(self, news: Sequence[News[Counts]]) -> None:
        for told in news:
            told.state.extend(told.committed)

    def close(self, state: Counts) -> None:
        state.after.clear()

    def _propose(self, ask: Ask[Counts]) -> DraftTree:
        counts, known = ask.state, dict[Context, tuple[Row, Trust]]()
        frequent = [token for token, _ in top(counts.tokens)]

        def follow(context: Context) -> tuple[Row, Trust]:
            if context not in known:
                known[context] = counts.likeliest(context[-1], frequent), FREQUENCY
            return known[context]

        tree = best_first(follow, ask.committed, 1, ask.budget, "blind")
        return tree.with_point_laws(ask.vocab_size) if ask.draw == "sampled" else tree


def _build(options: Options, provided: Provided) -> AnyDrafter:
    return Uniform() if options.source == "random" else Frequent()


FAMILY = Family(
    name="blind",
    summary="guesses without looking at the model: the lower bound",
    options=Options,
    needs=lambda options: Needs(),
    build=_build,
    positional="source",
)
