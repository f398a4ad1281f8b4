"""Wrong drafters: they draw one thing and tell another, or look at what they drew before they hand it over."""

from __future__ import annotations

from typing import Any

import numpy as np

from foredraft.audit.doubles import Double, best, lane
from foredraft.audit.worlds import Text, net_logits, rules_after
from foredraft.core.law import Dense, Law, of_weights, without
from foredraft.core.protocols import Ask
from foredraft.core.rules import Logits
from foredraft.core.stream import Purpose, Stream

Children = list[tuple[int, Law | None]]


class Sampled(Double):
    """Siblings without replacement, each draw in a method of its own; as it stands it is right."""

    def drawn(self, ask: Ask[Any], path: Text) -> Law:
        """The law that tokens are drawn from."""
        return self.q(ask, path)

    def told(self, ask: Ask[Any], path: Text) -> Law:
        """The law that the verifier is told of."""
        return self.drawn(ask, path)

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> Children:
        left, told = self.drawn(ask, path), self.told(ask, path)
        found: Children = []
        for sibling in range(count):
            token = here.draw(left, Purpose.DRAFT, lane(node, sibling))
            found.append((token, told))
            rest, told_rest = without(left, token), without(told, token)
            if rest is None or told_rest is None:
                break
            left, told = rest, told_rest
        return found


class Truncated(Sampled):
    """Right: draws from the two likeliest tokens and says so."""

    def drawn(self, ask: Ask[Any], path: Text) -> Law:
        law = self.q(ask, path)
        kept = np.array(sorted(best(law, 2)))
        return of_weights(kept, law.dense()[kept], law.size)


class RawLaw(Truncated):
    """Draws from the two likeliest tokens and tells the law before truncation: the residual comes from raw q."""

    def told(self, ask: Ask[Any], path: Text) -> Law:
        return self.q(ask, path)


class OtherTemperature(Sampled):
    """Draws at a higher temperature than it says."""

    def drawn(self, ask: Ask[Any], path: Text) -> Law:
        law = self.q(ask, path)
        return of_weights(np.arange(law.size), law.dense() ** 0.4, law.size)

    def told(self, ask: Ask[Any], path: Text) -> Law:
        return self.q(ask, path)


class Sorted(Sampled):
    """Siblings in the order of their probability instead of the order of their draws."""

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> Children:
        law = self.q(ask, path)
        return sorted(super().children(ask, here, path, node, count), key=lambda child: -law.prob(child[0]))


class Dropped(Sampled):
    """A draft that looks unlikely is dropped after it was drawn."""

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> Children:
        law = self.q(ask, path)
        return [child for child in super().children(ask, here, path, node, count) if law.prob(child[0]) > 0.3]


class Independent(Sampled):
    """Right: siblings with replacement, equal ones kept."""

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> Children:
        law = self.q(ask, path)
        return [(here.draw(law, Purpose.DRAFT, lane(node, sibling)), law) for sibling in range(count)]


class Deduplicated(Independent):
    """Equal siblings are dropped after they were drawn with replacement."""

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> Children:
        return list(dict(super().children(ask, here, path, node, count)).items())


class NotRenormalised(Sampled):
    """The second of two siblings without replacement is told to come from the law of the first."""

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> Children:
        law = self.q(ask, path)
        return [(token, law) for token, _ in super().children(ask, here, path, node, count)]


class Coupled(Sampled):
    """Draws with the target's own noise and pretends to have drawn independently."""

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> Children:
        law = self.q(ask, path)
        return [(here.draw(law, Purpose.TARGET), law)]


class Padded(Sampled):
    """Right: a draft vocabulary that is padded; padding is cut off before the draw."""

    def padded(self, ask: Ask[Any], path: Text) -> Logits:
        logits = net_logits(self.net, (*ask.committed, *path))
        return np.append(logits, [1.0, 1.0])

    def q(self, ask: Ask[Any], path: Text) -> Law:
        return rules_after(ask.rules, path).law_of(self.padded(ask, path)[: ask.vocab_size])


class PaddingDrawn(Padded):
    """A padding token is thrown away when it was drawn, and its mass stays in the law of those that are kept."""

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> Children:
        law = rules_after(ask.rules, path).law_of(self.padded(ask, path))
        token = here.draw(law, Purpose.DRAFT, lane(node, 0))
        if token >= ask.vocab_size:
            return []
        return [(token, Dense(law.dense()[: ask.vocab_size]))]
