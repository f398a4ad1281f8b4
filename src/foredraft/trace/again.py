"""Every pass of a finished generation once more, off the clock, to read what the walk had no need of.

A round computes the laws along its walk alone, and greedily none at all. A page about it wants the target's probability
of every drafted token, rejected branches included. Asked for in the round, that would be in its time; so the passes are
made again afterwards, each with the same rows over the same cache, and their laws read in full.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from foredraft.core.events import Step
from foredraft.core.law import Law
from foredraft.core.protocols import Cache, Model, Query, Scores
from foredraft.core.rules import Rules
from foredraft.core.tree import ROOT
from foredraft.core.walk import laws_of

TOP = 5  # likeliest tokens kept beside an emitted one


@dataclass(frozen=True)
class Judged:
    """An emitted token under the target's law: its probability, the law's entropy in bits, its likeliest tokens."""

    prob: float
    entropy: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Seen:
    """What the target gave the rows of one pass. drafts: the probability of every node's token after its parent;
    tokens: one entry an emitted token."""

    drafts: tuple[float, ...] = ()
    tokens: tuple[Judged, ...] = ()


def seen_again(model: Model, prompt: Sequence[int], rules: Rules, steps: Sequence[Step]) -> list[Seen]:
    """What the target held of each step, in order. rules: those at the end of the prompt.

    Laws are those that tokens are drawn from; where nothing is drawn, at temperature 0, the model's own at temperature
    1, for the others are certain of everything. Raises ValueError for steps that are not those of `prompt`.
    """
    committed, cache = list(prompt), model.open()
    rules = telling(rules)
    seen = []
    try:
        for step in steps:
            found, rules = _seen(model, cache, committed, rules, step)
            seen.append(found)
            committed += step.tokens
    finally:
        cache.close()
    return seen


def telling(rules: Rules) -> Rules:
    """The same rules with a law that tells likely tokens from unlikely ones."""
    return rules if rules.temperature > 0 else replace(rules, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0)


def entropy(law: Law) -> float:
    """- sum p log2 p, in bits."""
    probs = law.support()[1]
    return abs(float(np.dot(probs, np.log2(probs))))


def _seen(model: Model, cache: Cache, committed: Sequence[int], rules: Rules, step: Step) -> tuple[Seen, Rules]:
    """One pass, kept as the round kept it, and the rules after what it said."""
    drafts, first_node = step.tree, step.rows - len(step.tree)
    start = cache.length
    chain = tuple(committed[start : start + first_node])
    chunk = not step.tokens  # of the prompt; or the end of a text that nothing may follow
    if not chunk and start + first_node != len(committed):
        raise ValueError(
            f"a pass of {step.rows} rows does not fit a text of {len(committed)} tokens: are they its own?"
        )
    parents = (*range(-1, first_node - 1), *(first_node + parent for parent in drafts.parents))
    wanted = () if chunk else tuple(range(first_node - 1, step.rows))
    (scores,) = model.score([Query(cache, chain + drafts.tokens, parents, wanted)])
    if chunk:
        cache.keep(range(first_node))
        return Seen(), rules
    found, after = _read(rules, step, scores, first_node)
    kept = (first_node + node for node in step.path[: len(step.tokens) - 1])
    cache.keep((*range(first_node), *kept))
    return found, after


def _read(rules: Rules, step: Step, scores: Scores, first_node: int) -> tuple[Seen, Rules]:
    rules_at, laws, _ = laws_of(rules, step.tree, scores, first_node)
    tree, emitting = step.tree, (ROOT, *step.path)[: len(step.tokens)]
    drafts = (laws(parent).prob(token) for parent, token in zip(tree.parents, tree.tokens, strict=True))
    tokens = (_judged(laws(node), token) for node, token in zip(emitting, step.tokens, strict=True))
    return Seen(tuple(drafts), tuple(tokens)), rules_at(emitting[-1]).after(step.tokens[-1])


def _judged(law: Law, token: int) -> Judged:
    ids, probs = law.support()
    best = np.argsort(-probs, kind="stable")[:TOP]
    return Judged(law.prob(token), entropy(law), tuple((int(ids[at]), float(probs[at])) for at in best))
