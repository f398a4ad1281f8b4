"""Typical acceptance (Medusa, Cai et al. 2401.10774): what the target finds plausible stands. LOSSY.

A draft is accepted when p(token) > min(epsilon, delta exp(-H(p))), with H the entropy of p in nats: the less certain
the target, the less a token needs. Of all paths of accepted drafts the longest is taken, of equals the likeliest; the
token after it is drawn from p. The text does not have the target's law, and depends on what was drafted. At
temperature 0, where p is a point, only the target's own token passes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from foredraft.core.errors import UsageError
from foredraft.core.law import Law
from foredraft.core.protocols import Draw, Laws, Verdict
from foredraft.core.stream import Purpose, Stream
from foredraft.core.tree import ROOT, DraftTree


@dataclass(frozen=True)
class Typical:
    """epsilon: a probability that always suffices. delta: the share of exp(-entropy) that does where that is less."""

    epsilon: float = 0.09
    delta: float = 0.3
    draw: ClassVar[Draw] = "point"
    replacement: ClassVar[bool] = False
    needs_laws: ClassVar[bool] = False
    lossless: ClassVar[bool] = False

    def __post_init__(self) -> None:
        # From 1 on nothing would pass, not even what is certain.
        if not (0 <= self.epsilon < 1 and 0 <= self.delta < 1):
            given = f"{self.epsilon:g} and {self.delta:g}"
            raise UsageError(f"epsilon and delta of verifier 'typical' must be in [0, 1), not {given}")

    def __call__(self, tree: DraftTree, laws: Laws, stream: Stream) -> Verdict:
        path, _ = self._longest(tree, laws)
        return Verdict(path, stream.ahead(len(path)).draw(laws(path[-1] if path else ROOT), Purpose.TARGET))

    def _longest(self, tree: DraftTree, laws: Laws) -> tuple[tuple[int, ...], float]:
        """The longest path of accepted drafts, of equals the likeliest, and its log probability."""
        best: tuple[tuple[int, ...], float] = (), 0.0
        waiting = [best]
        while waiting:
            path, logprob = waiting.pop()
            if (len(path), logprob) > (len(best[0]), best[1]):
                best = path, logprob
            children = tree.children(path[-1] if path else ROOT)
            if not children:
                continue
            p = laws(path[-1] if path else ROOT)
            least = self.threshold(p)
            for child in reversed(children):
                if (chance := p.prob(tree.tokens[child])) > least:
                    waiting.append(((*path, child), logprob + math.log(chance)))
        return best

    def threshold(self, p: Law) -> float:
        """What a token must be more likely than."""
        probs = p.support()[1]
        return min(self.epsilon, self.delta * math.exp(float(np.sum(probs * np.log(probs)))))
