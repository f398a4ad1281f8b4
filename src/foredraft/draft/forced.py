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

from foredraft.core.protocols import Ask, Budget, Needs, News, Request
from foredraft.core.rules import Constraint, Rules
from foredraft.core.tree import EMPTY, ROOT, DraftTree
from foredraft.draft.family import Family

# Prior chance of the token that spells the end of a forced text: what follows the text may be joined to it.
LAST = 0.7


@dataclass(frozen=True)
class Options:
    """None: a grammar says all there is to say."""


class Forced:
    """Drafts what the grammar of the request forces; nothing for requests without one."""

    needs = Needs()

    def open(self, request: Request, parent: Request | None = None) -> Request:
        return request

    def propose(self, asks: Sequence[Ask[Request]]) -> list[DraftTree]:
        return [self._propose(ask) for ask in asks]

    def update(self, news: Sequence[News[Request]]) -> None:
        """Nothing to learn: the rules of an ask say where the text stands."""

    def close(self, state: Request) -> None:
        """Nothing to give back."""

    def _propose(self, ask: Ask[Request]) -> DraftTree:
        tree = extended(EMPTY, ask.rules, ask.budget)
        return tree.with_point_laws(ask.vocab_size) if ask.draw == "sampled" else tree


def extended(tree: DraftTree, rules: Rules, budget: Budget) -> DraftTree:
    """`tree`, and below its root and every leaf what the grammar forces there, while the budget lasts.

    rules: those at the root. Under the root a forced token joins the branch that begins with it. Likely leaves come
    first. A tree with laws or probes is returned as it is: nothing may join one.
    """
    if rules.grammar is None or any(law is not None for law in tree.laws) or any(tree.probes):
        return tree
    grown = _Grown(list(tree.tokens), list(tree.parents), list(tree.score), list(tree.sources))
    inner = set(tree.parents)
    leaves = [node for node in range(len(tree)) if node not in inner]
    for start in (ROOT, *sorted(leaves, key=lambda node: -tree.score[node])):
        path = () if start == ROOT else tree.path(start)
        state = rules.grammar
        for node in path:
            state = state.after(tree.tokens[node])
        grown.follow(state, start, len(path), budget)
    size = len(grown.tokens)
    return DraftTree(
        tuple(grown.tokens),
        tuple(grown.parents),
        tuple(grown.score),
        tuple(grown.sources),
        (None,) * size,
        (False,) * size,
    )


@dataclass
class _Grown:
    """A tree under construction, its fields as lists."""

    tokens: list[int]
    parents: list[int]
    score: list[float]
    sources: list[str]

    def follow(self, state: Constraint, node: int, depth: int, budget: Budget) -> None:
        """Adds what `state`, that of `node`, forces."""
        tokens, certain = state.forced()
        score = 0.0 if node == ROOT else self.score[node]
        for place, token in enumerate(tokens[: max(0, budget.depth - depth)]):
            score += 0.0 if place < certain else math.log(LAST)
            known = self._child(node, token)
            if known is None:
                if len(self.tokens) >= budget.rows:
                    return
                known = len(self.tokens)
                self.tokens.append(token)
                self.parents.append(node)
                self.score.append(score)
                self.sources.append("forced")
            node = known

    def _child(self, node: int, token: int) -> int | None:
        nodes = range(node + 1, len(self.tokens))
        return next((one for one in nodes if self.parents[one] == node and self.tokens[one] == token), None)


FAMILY = Family(
    name="forced",
    summary="tokens that the request's grammar forces; nothing without a grammar",
    options=Options,
    needs=lambda options: Needs(),
    build=lambda options, provided: Forced(),
    num_speculative_tokens=8,
    requires="a grammar in the request",
)
