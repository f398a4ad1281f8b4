"""From a draft model's logits to the children of a node: which tokens, how likely, drawn from which law.

A draft step should cost little more than the model's own pass, so nothing is computed over the whole vocabulary that
the draw does not need: without chance it is the few largest logits and one sum, and where the model says only some of
the tokens (a draft head) all of it happens among those.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from foredraft.core.errors import WeightsError
from foredraft.core.law import Ids, Law, Point, of_probs, without
from foredraft.core.native import TWINS
from foredraft.core.protocols import Ask
from foredraft.core.rules import Logits, Rules
from foredraft.core.stream import Purpose, Stream
from foredraft.draft.fitted import fit

# Siblings a node may have: lanes of the draft noise are numbered by node and sibling.
LANES = 256
LEAST = 1e-9  # chance that a score may stand for


@dataclass(frozen=True)
class Child:
    """prob: what the draft law gives the token. chance: the estimate that it is accepted, once its parent was.

    entropy: of the draft law, in nats. law: the one it was drawn from, for ratio verifiers.
    """

    token: int
    prob: float
    chance: float
    entropy: Callable[[], float]
    law: Law | None = None


@dataclass(frozen=True)
class Spoken:
    """Logits of what may be said, after the rules' steps: logits[i] is that of token ids[i], or of i without ids."""

    logits: Logits
    ids: Ids | None

    @staticmethod
    def of(rules: Rules, logits: Logits, says: Ids | None, vocab_size: int) -> Spoken:
        """logits: the draft model's, over its own vocabulary, which is cut to the target's or lacks some of it.

        says: the tokens it can say at all, ascending; None for every one.
        """
        if rules.steps or rules.grammar is not None:
            logits = fit(logits, vocab_size)
            for step in rules.steps:
                logits = step.apply(logits)
            if rules.grammar is not None:
                few = rules.grammar.few()
                if few is not None:
                    return Spoken(logits[few], few)
                logits = rules.grammar.apply(logits)
        elif says is None and len(logits) < vocab_size:
            says = np.arange(len(logits))
        return Spoken(logits[:vocab_size] if says is None else logits[says], says)

    def above(self, below: float) -> Spoken:
        """Those of the tokens alone whose logits are at most so far `below` the largest, where that is a number."""
        if not len(self.logits):
            return self
        largest = float(self.logits[TWINS.argmax(self.logits)])
        if not math.isfinite(largest):
            return self
        places = np.flatnonzero(self.logits >= largest - below)
        return Spoken(self.logits[places], places if self.ids is None else self.ids[places])

    @property
    def silent(self) -> bool:
        """True where nothing may follow. Raises WeightsError for what is no number."""
        if not len(self.logits):
            return True
        best = self.logits[TWINS.argmax(self.logits)]
        if np.isnan(best) or best == np.inf:
            raise WeightsError("the draft model's logits are not numbers: its weights are damaged")
        return bool(best == -np.inf)

    def law(self, rules: Rules, vocab_size: int) -> Law:
        """After temperature > 0, top-k, top-p and min-p."""
        places, probs = TWINS.warp(self.logits, rules.temperature, rules.top_k, rules.top_p, rules.min_p)
        if self.ids is None:
            return of_probs(places, probs, vocab_size)
        return of_probs(self.ids if places is None else self.ids[places], probs, vocab_size)

    def largest(self, count: int) -> tuple[list[int], Logits]:
        """Up to `count` tokens, the likeliest first, lower id among equals, and their logits."""
        places = TWINS.top(self.logits, count)
        logits = self.logits[places]
        return (places if self.ids is None else self.ids[places]).tolist(), logits

    def likeliest(self, count: int) -> Iterator[Child]:
        """The tokens at temperature 1, where the rules would leave only one: how sure the model is still tells."""
        tokens, logits = self.largest(count)
        every = float(np.exp(self.logits - logits[0]).sum())
        for token, prob in zip(tokens, (np.exp(logits - logits[0]) / every).tolist(), strict=True):
            if prob > 0:
                yield Child(token, prob, prob, self.entropy)

    def entropy(self) -> float:
        """In nats, at temperature 1."""
        logits = self.logits[np.isfinite(self.logits)]
        weights = np.exp(logits - logits.max())
        return float(np.log(weights.sum()) - (weights @ (logits - logits.max())) / weights.sum())


def children(
    ask: Ask[Any],
    rules: Rules,
    logits: Logits,
    says: Ids | None,
    *,
    depth: int,
    node: int,
    count: int,
    chance: bool = True,
) -> list[Child]:
    """Up to `count` children of a node, in the order drawn; the likeliest, best first, where there is no chance.

    chance: False for a shape that depends on what is drawn, which a ratio verifier must not be shown.
    """
    spoken = Spoken.of(rules, logits, says, ask.vocab_size)
    return spoken_children(ask, rules, spoken, depth=depth, node=node, count=count, chance=chance)


def spoken_children(
    ask: Ask[Any], rules: Rules, spoken: Spoken, *, depth: int, node: int, count: int, chance: bool = True
) -> list[Child]:
    """The same of logits that the rules' steps have been through."""
    if spoken.silent:  # the draft model sees nothing that may follow: the target decides
        return []
    law = spoken.law(rules, ask.vocab_size) if rules.temperature > 0 else None
    here = ask.stream.ahead(depth)
    if law is not None and not isinstance(law, Point):
        entropy = partial(entropy_of, law)
        if ask.draw == "coupled":
            ranked = here.rank(law, count, Purpose.TARGET)
            return list(chances(((token, law.prob(token), None) for token in ranked), entropy))
        if ask.draw == "sampled" and chance:
            return list(chances(_sampled(law, here, node, count, ask.replacement), entropy))
        tokens = spoken.largest(count)[0]
        found = [Child(token, prob, prob, entropy) for token in tokens if (prob := law.prob(token)) > 0]
    else:
        found = list(spoken.likeliest(count))
    if ask.draw != "sampled":
        return found
    return [replace(child, law=Point(child.token, ask.vocab_size)) for child in found]


def _sampled(law: Law, here: Stream, node: int, count: int, replacement: bool) -> Iterator[tuple[int, float, Law]]:
    """Siblings with replacement or without: each token, its probability by `law`, and the law it was drawn from."""
    left: Law | None = law
    for sibling in range(count):
        if left is None:
            return
        token = here.draw(left, Purpose.DRAFT, lane=(node + 1) * LANES + sibling)
        yield token, law.prob(token), left
        left = left if replacement else without(left, token)


def chances(drawn: Iterator[tuple[int, float, Law | None]], entropy: Callable[[], float]) -> Iterator[Child]:
    """The estimate for tokens drawn by chance, in their order.

    A token drawn from q, or with shared noise, stands with probability about min(1, p/q), not q. Where p scatters
    about q the mean of that is near the square root of q: sure for a sure token, better than q for a rare one. The
    next sibling has its chance where the earlier ones fell, by the law that is left.
    """
    left = rest = 1.0
    for token, prob, law in drawn:
        stands = math.sqrt(min(1.0, prob / rest)) if rest > prob else 1.0
        yield Child(token, prob, max(left * stands, LEAST), entropy, law)
        left, rest = left * (1 - stands), rest - prob


def entropy_of(law: Law) -> float:
    probs = law.support()[1]
    return float(-(probs @ np.log(probs)))
