"""Predicted outputs: the caller says what it expects back, and the text is drafted along it.

The idea of OpenAI's Predicted Outputs (platform.openai.com/docs/guides/predicted-outputs): an edited file is mostly the
file. The prediction is followed token by token. Where the text departs from it, its last few tokens are looked up in
the prediction, the places nearest to where the text left first; until one is found, the draft bets that as many tokens
were replaced as were said since, or that something was put in and the prediction goes on where it was left.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from foredraft.core.errors import UsageError
from foredraft.core.protocols import Ask, Needs, News, Request
from foredraft.core.tokens import Tokens
from foredraft.core.tree import EMPTY, DraftTree
from foredraft.draft.family import Family, Provided
from foredraft.draft.merge import merge

Context = tuple[int, ...]

# Tokens that must agree before a new place is followed as the only one.
ANCHOR = 2
# Prior chances, of which only the order depends: that the first token of a bet is right, by the tokens that agreed
# there; that it is right nowhere in particular; and that each later one is.
AGREED = (0.25, 0.6, 0.8, 0.9, 0.95)
BLIND = 0.3
GOES_ON = 0.93
# Tokens said since the text left the prediction after which no bet is made without a match.
LOST = 12


@dataclass(frozen=True)
class Options:
    n: int = field(default=3, metadata={"help": "tokens looked up to find the place again, at most"})
    branches: int = field(default=3, metadata={"help": "places tried at once, as a tree"})
    file: str = field(
        default="", metadata={"help": "text that every request is expected to give, unless it says itself"}
    )

    def __post_init__(self) -> None:
        if self.n < 1:
            raise UsageError(f"n of prediction must be at least 1, not {self.n}")
        if not 1 <= self.branches <= 16:
            raise UsageError(f"branches of prediction must be from 1 to 16, not {self.branches}")


@dataclass(frozen=True)
class Predicted:
    """A prediction and where each of its runs of up to n tokens ends: run -> places after it, ascending."""

    tokens: tuple[int, ...]
    ends: Mapping[Context, Sequence[int]]

    @staticmethod
    def of(tokens: Sequence[int], n: int) -> Predicted:
        ends: dict[Context, list[int]] = {}
        for end in range(1, len(tokens)):  # after the last token there is nothing to draft
            for size in range(1, min(n, end) + 1):
                ends.setdefault(tuple(tokens[end - size : end]), []).append(end)
        return Predicted(tuple(tokens), ends)


@dataclass
class Place:
    """Where a text stands in its prediction. at: the place of the token expected next, or where the text left it.

    agreed: tokens that agreed up to `at`; 0 for a text that has left. since: tokens said since it left. said: tokens of
    output followed so far.
    """

    predicted: Predicted
    at: int = 0
    agreed: int = ANCHOR
    since: int = 0
    said: int = 0

    def follow(self, token: int, recent: Sequence[int], n: int) -> None:
        """Takes in one token of output; `recent` ends with it and holds no token before the output."""
        self.said += 1
        text = self.predicted.tokens
        if self.agreed and self.at < len(text) and text[self.at] == token:
            self.at += 1
            self.agreed += 1
            return
        self.agreed = 0
        self.since += 1
        for size in range(min(n, len(recent)), min(ANCHOR, n) - 1, -1):
            near = nearest(self.predicted.ends.get(tuple(recent[-size:]), ()), self.at, 1)
            if near:
                self.at, self.agreed, self.since = near[0], size, 0
                return


def nearest(places: Sequence[int], at: int, count: int) -> list[int]:
    """The `count` of ascending `places` nearest to `at`, nearest first, the later one of two as near."""
    above = bisect_left(places, at)
    below = above - 1
    found: list[int] = []
    while len(found) < count and (below >= 0 or above < len(places)):
        if above < len(places) and (below < 0 or places[above] - at <= at - places[below]):
            found.append(places[above])
            above += 1
        else:
            found.append(places[below])
            below -= 1
    return found


def bets(place: Place, recent: Sequence[int], n: int, count: int) -> list[tuple[int, float]]:
    """Places where the text may go on, the first `count` of them, and the chance of each."""
    found: dict[int, float] = {}
    if place.agreed:
        found[place.at] = AGREED[min(place.agreed, len(AGREED) - 1)]
    for size in range(min(n, len(recent)), 0, -1):
        near = nearest(place.predicted.ends.get(tuple(recent[-size:]), ()), place.at, count)
        for rank, end in enumerate(near, 1):
            # A place that is not followed and not the nearest is held half as likely, and so on.
            found.setdefault(end, AGREED[min(size, len(AGREED) - 1)] / 2 ** (rank if place.agreed else rank - 1))
    if not place.agreed and place.since <= LOST:
        found.setdefault(place.at + place.since, BLIND)
        found.setdefault(place.at, BLIND / 2)
    inside = [(at, chance) for at, chance in found.items() if at < len(place.predicted.tokens)]
    return sorted(inside, key=lambda bet: -bet[1])[:count]


class Prediction:
    """Drafts along what the caller expects."""

    def __init__(self, options: Options, vocabulary: Tokens | None = None) -> None:
        """Raises UsageError for a file that is no text."""
        self.options = options
        self.needs = _needs(options)
        tokens = vocabulary.encode(_read(options.file)) if options.file and vocabulary is not None else []
        self._expected = Predicted.of(tokens, options.n)

    def open(self, request: Request, parent: Place | None = None) -> Place:
        if parent is not None:
            return replace(parent)
        if request.prediction is None:
            return Place(self._expected)
        return Place(Predicted.of(request.prediction, self.options.n))

    def propose(self, asks: Sequence[Ask[Place]]) -> list[DraftTree]:
        return [self._propose(ask) for ask in asks]

    def update(self, news: Sequence[News[Place]]) -> None:
        for told in news:
            text, n, before = told.committed, self.options.n, len(told.committed) - len(told.tokens)
            for end, token in enumerate(told.tokens, before + 1):
                reach = min(n, told.state.said + 1)
                told.state.follow(token, text[end - reach : end], n)

    def close(self, state: Place) -> None:
        """Nothing to give back."""

    def _propose(self, ask: Ask[Place]) -> DraftTree:
        place, text, n = ask.state, ask.committed, self.options.n
        recent = text[len(text) - min(n, place.said) :]
        count = min(ask.budget.rows, ask.budget.depth)
        chains: list[DraftTree] = []
        for at, chance in bets(place, recent, n, self.options.branches):
            tokens = place.predicted.tokens[at : at + max(count, 0)]
            score = [math.log(chance) + step * math.log(GOES_ON) for step in range(len(tokens))]
            chains.append(DraftTree.chain(tokens, "prediction", score=score))
        if count < 1 or not chains:
            return EMPTY
        tree = chains[0] if len(chains) == 1 else merge(chains, ask.budget.rows, ask.budget.depth)
        return tree.with_point_laws(ask.vocab_size) if ask.draw == "sampled" else tree


def _read(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the prediction {name} cannot be read ({error}): name a file of UTF-8 text") from None


def _needs(options: Options) -> Needs:
    return Needs(tokenizer=bool(options.file), prediction=not options.file)


def _build(options: Options, provided: Provided) -> Prediction:
    return Prediction(options, provided.tokenizer)


FAMILY = Family(
    name="prediction",
    summary="follows the output that the caller expects, and finds its place again after a difference",
    options=Options,
    needs=_needs,
    build=_build,
    requires="a prediction",
)
