"""Forced tokens: where the grammar leaves one way for the text to go on, that way is drafted.

The keys and the punctuation of a JSON object are decided by its schema, so the target need only be asked to confirm
them, all in one pass ("fast-forward tokens" of llguidance, "jump-forward decoding" of SGLang 2312.07104, section 4). A
forced text may be spelt by more than one run of tokens, so it is drafted like any other guess and never appended by
itself: the law stays the target's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from foredraft.core.protocols import Ask, Needs, News, Request
from foredraft.core.tree import EMPTY, DraftTree
from foredraft.draft.family import Family

# Prior chance of the token that spells the end of a forced text: what follows the text may be joined to it.
LAST = 0.7


@dataclass(frozen=True)
class Options:
    """None: a grammar says all there is to say."""


class Forced:
    """Drafts what the grammar of the request forces; nothing for requests without one."""

    needs = Needs(grammar=True)

    def open(self, request: Request, parent: Request | None = None) -> Request:
        return request

    def propose(self, asks: Sequence[Ask[Request]]) -> list[DraftTree]:
        return [self._propose(ask) for ask in asks]

    def update(self, news: Sequence[News[Request]]) -> None:
        """Nothing to learn: the rules of an ask say where the text stands."""

    def close(self, state: Request) -> None:
        """Nothing to give back."""

    def _propose(self, ask: Ask[Request]) -> DraftTree:
        if ask.rules.grammar is None:
            return EMPTY
        tokens, certain = ask.rules.grammar.forced()
        tokens = tokens[: min(ask.budget.rows, ask.budget.depth)]
        score = [math.log(LAST) * max(0, depth - certain) for depth in range(1, len(tokens) + 1)]
        tree = DraftTree.chain(tokens, "forced", score=score)
        return tree.with_point_laws(ask.vocab_size) if ask.draw == "sampled" else tree


FAMILY = Family(
    name="forced",
    summary="tokens that the request's grammar forces; nothing without a grammar",
    options=Options,
    needs=lambda options: Forced.needs,
    build=lambda options, provided: Forced(),
    requires="a grammar in the request",
)
