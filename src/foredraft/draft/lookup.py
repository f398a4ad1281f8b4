"""Prompt lookup: what followed the last few tokens earlier in the text follows them again.

Prompt lookup decoding (Saxena 2023, github.com/apoorvumang/prompt-lookup-decoding): free drafts wherever output repeats
input. Ours differs in three ways: the longest context matches first and the most recent place wins (code and chat
refer to what was just said), several continuations can fill one tree, and a match that reaches the end of the text
goes on with what it drafted itself, so a loop of any period is drafted to full length.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from foredraft.core.errors import UsageError
from foredraft.core.protocols import Ask, Needs, News, Request
from foredraft.core.tree import EMPTY, DraftTree
from foredraft.draft.family import Family
from foredraft.draft.merge import merge

# Places remembered for one context, the most recent last.
PLACES = 8
# Prior chance that a token is accepted, by how many tokens matched; only the order of branches depends on it.
TRUST = (0.4, 0.6, 0.8, 0.9)


@dataclass(frozen=True)
class Options:
    n: int = field(default=3, metadata={"help": "tokens of context that must match, at most"})
    min: int = field(default=1, metadata={"help": "tokens of context that must match, at least"})
    branches: int = field(default=1, metadata={"help": "continuations tried at once, as a tree"})

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.n:
            raise UsageError(f"lookup needs 1 <= min <= n, not min={self.min} and n={self.n}")
        if not 1 <= self.branches <= PLACES:
            raise UsageError(f"branches of lookup must be from 1 to {PLACES}, not {self.branches}")


@dataclass
class Index:
    """Where each context of n tokens was followed by something.

    places[n - min]: context -> positions of the tokens that followed it, the last PLACES of them. indexed: tokens whose
    contexts are in. Each new token costs one entry for every n.
    """

    places: list[dict[tuple[int, ...], list[int]]]
    indexed: int = 0

    def extend(self, text: Sequence[int], shortest: int) -> None:
        for end in range(self.indexed, len(text)):
            for offset, places in enumerate(self.places):
                size = shortest + offset
                if size <= end:
                    found = places.setdefault(tuple(text[end - size : end]), [])
                    found.append(end)
                    if len(found) > PLACES:
                        del found[0]
        self.indexed = len(text)

    def copy(self) -> Index:
        places = [{context: found.copy() for context, found in table.items()} for table in self.places]
        return Index(places, self.indexed)


class Lookup:
    """Drafts what followed the same context before."""

    needs = Needs()

    def __init__(self, options: Options) -> None:
        self.options = options

    def open(self, request: Request, parent: Index | None = None) -> Index:
        if parent is not None:
            return parent.copy()
        index = Index([{} for _ in range(self.options.min, self.options.n + 1)])
        index.extend(request.prompt, self.options.min)
        return index

    def propose(self, asks: Sequence[Ask[Index]]) -> list[DraftTree]:
        return [self._propose(ask) for ask in asks]

    def update(self, news: Sequence[News[Index]]) -> None:
        for told in news:
            told.state.extend(told.committed, self.options.min)

    def close(self, state: Index) -> None:
        state.places.clear()

    def _propose(self, ask: Ask[Index]) -> DraftTree:
        text, budget = ask.committed, ask.budget
        chains: list[DraftTree] = []
        seen: set[tuple[int, ...]] = set()
        for size in range(self.options.n, self.options.min - 1, -1):
            context = tuple(text[len(text) - size :])
            for place in reversed(ask.state.places[size - self.options.min].get(context, ())):
                if len(chains) == self.options.branches:
                    break
                trust = math.log(TRUST[min(size, len(TRUST)) - 1])
                tokens = _continue(text, place, min(budget.rows, budget.depth, _reach(trust, budget.min_gain)))
                if tuple(tokens) not in seen:
                    seen.add(tuple(tokens))
                    score = [trust * depth for depth in range(1, len(tokens) + 1)]
                    chains.append(DraftTree.chain(tokens, "lookup", score=score))
        if not chains:
            return EMPTY
        tree = chains[0] if len(chains) == 1 else merge(chains, budget.rows, budget.depth)
        return tree.with_point_laws(ask.vocab_size) if ask.draw == "sampled" else tree


def _reach(trust: float, least: float) -> int:
    """How long a chain may get before its chance falls below `least`; at least 1."""
    return max(1, int(math.log(least) / trust)) if least > 0 else sys.maxsize


def _continue(text: Sequence[int], place: int, count: int) -> list[int]:
    """`count` tokens from `place` on; past the end of the text the draft continues itself."""
    tokens = list(text[place : place + count])
    while len(tokens) < count:
        tokens.append(tokens[place + len(tokens) - len(text)])
    return tokens


FAMILY = Family(
    name="lookup",
    summary="prompt lookup: what followed the last tokens earlier in the text",
    options=Options,
    needs=lambda options: Needs(),
    build=lambda options, provided: Lookup(options),
)
