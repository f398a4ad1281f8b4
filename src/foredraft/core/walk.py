"""What a verifier's walk reads of a pass: rules and laws along a draft tree, log probabilities of what was said."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from foredraft.core.errors import RuleError
from foredraft.core.events import TokenLogprob
from foredraft.core.law import Law, Point
from foredraft.core.native import TWINS
from foredraft.core.protocols import Laws, Scores
from foredraft.core.rules import Rules
from foredraft.core.tree import ROOT, DraftTree

RulesAt = Callable[[int], Rules]
"""node (or ROOT) -> the rules there."""


def laws_of(root: Rules, drafts: DraftTree, scores: Scores, first_node: int) -> tuple[RulesAt, Laws, set[int]]:
    """The rules and the target's law at every node, each computed when first asked for, and the dead ends met.

    After a draft where the rules leave no token (past the end of a grammar) the text has stopped or is about to fail:
    any law will do there, for nothing drawn from it is said; the next round raises if the text goes on.
    """
    rules = {ROOT: root}
    known: dict[int, Law] = {}
    ends: set[int] = set()

    def rules_at(node: int) -> Rules:
        if node not in rules:
            rules[node] = rules_at(drafts.parents[node]).after(drafts.tokens[node])
        return rules[node]

    def law(node: int) -> Law:
        if node not in known:
            try:
                known[node] = rules_at(node).law(scores, first_node + node)
            except RuleError:
                if node == ROOT:
                    raise
                known[node] = Point(0, scores.vocab_size)
                ends.add(node)
        return known[node]

    return rules_at, law, ends


def logprobs_of(
    count: int | None, scores: Scores, first_node: int, emitting: Sequence[int], tokens: Sequence[int]
) -> tuple[TokenLogprob, ...]:
    """log softmax of the model's own logits at the rows that judged the emitted tokens."""
    if count is None:
        return ()
    found = []
    for node, token in zip(emitting, tokens, strict=True):
        logits = scores.logits(first_node + node)
        logprobs = TWINS.log_softmax(logits)
        top = tuple((int(other), float(logprobs[other])) for other in TWINS.top(logits, count))
        found.append(TokenLogprob(token, float(logprobs[token]), top))
    return tuple(found)
