"""Sampled: the user's model cut to a few tokens, so that counts of whole texts can be held against their law.

The target is the model itself after a prompt, with all but its few likeliest tokens forbidden; what drafts is the same
with its tokens mixed up, so that it is often wrong whatever the model. Each of the possible texts is scored once by the
real model, then thousands of generations go through the real loop with keyed randomness, one seed each. Two tests a
verifier: Pearson's chi-square, and the total variation against a bound that holds for any count. Each has a known-bad
twin, judged by the same tests: a verifier with a bug, or noise that is not independent.

A right verifier fails with probability FALSE_ALARM at most, over all tests of one audit together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from foredraft.audit.chances import chi_square, distance_limit
from foredraft.audit.exact import LOSSLESS
from foredraft.audit.worlds import JointLaw, Text, World
from foredraft.audit.wrong import ratio, verifiers
from foredraft.core.protocols import Model, Query, Request, Verifier
from foredraft.core.rules import Rules
from foredraft.core.stop import Stop, StopState
from foredraft.core.stream import KeyedStream
from foredraft.draft.model import ModelDrafter
from foredraft.models.toy import Array, Net, ToyModel
from foredraft.policy.constant import Constant
from foredraft.testing.exact import distance, plain, said
from foredraft.verify import make_verifier

FALSE_ALARM = 1e-6
TOKENS, LENGTH = 5, 3  # vocabulary and length of the texts
# At the temperature of the test the likeliest of the tokens is e^SPREAD times as likely as the least, after the prompt.
SPREAD = 2.0
TINY = 0.1  # that far apart, logits are no longer scaled up
ROOT_TOKEN = 0  # stands for the whole prompt


@dataclass(frozen=True)
class Trial:
    """How one verifier is tried. widths: of the draft tree, level by level. twin: a wrong one that must be rejected."""

    widths: tuple[int, ...]
    twin: Callable[[], Verifier]


TRIALS: dict[str, Trial] = {
    "match": Trial((2, 1), ratio.NextQ),
    "recursive": Trial((2, 1), ratio.InvertedRatio),
    "specinfer": Trial((2, 1), ratio.NextP),
    "sequoia": Trial((2, 1), ratio.NextQ),
    "block": Trial((1, 1), verifiers.ResidualWithoutRelu),
    "traversal": Trial((2, 1), verifiers.ParentsRow),
    "kseq": Trial((3,), verifiers.RowOfTheRoot),
}


@dataclass(frozen=True, eq=False)
class Cut:
    """A model behind `prompt` as a net over a few of its tokens. ids: which, ascending; scored once for every text."""

    model: Model
    prompt: tuple[int, ...]
    ids: tuple[int, ...]
    known: dict[Text, Array] = field(default_factory=dict)
    layers: int = 0
    abilities: frozenset[Any] = frozenset()

    @property
    def vocab_size(self) -> int:
        return len(self.ids)

    def states(self, path: Sequence[int]) -> Array:
        """[1, tokens]: the logits after the prompt and what `path` says behind its first token."""
        key = tuple(path)
        if key not in self.known:
            logits = after(self.model, (*self.prompt, *(self.ids[token] for token in key[1:])))
            self.known[key] = logits[list(self.ids)][None]
        return self.known[key]

    def embed(self, tokens: Sequence[int]) -> Array:
        raise NotImplementedError("a model that was cut shows no embeddings")

    def head(self, hidden: Array) -> Array:
        return hidden

    def select(self, layers: Sequence[int]) -> Net:
        raise NotImplementedError("a model that was cut shows no layers")


@dataclass(frozen=True, eq=False)
class MixedUp(Cut):
    """The same for drafting: every token has its neighbour's logit."""

    def head(self, hidden: Array) -> Array:
        return np.roll(hidden, 1)


def after(model: Model, text: tuple[int, ...]) -> Array:
    """The model's logits after a text, in a pass of its own."""
    cache = model.open()
    try:
        last = len(text) - 1
        (scores,) = model.score([Query(cache, text, tuple(range(-1, last)), (last,))])
        return np.array(scores.logits(last), dtype=np.float64)
    finally:
        cache.close()


def cut_world(model: Model, prompt: tuple[int, ...]) -> World:
    """A request to the model cut to its likeliest tokens after `prompt`."""
    logits = after(model, prompt)
    likeliest = np.argsort(-logits, kind="stable")[:TOKENS]
    temperature = max(float(logits[likeliest[0]] - logits[likeliest[-1]]), TINY) / SPREAD
    ids = tuple(sorted(int(token) for token in likeliest))
    target = Cut(model, prompt, ids)
    draft = MixedUp(model, prompt, ids, target.known)
    request = Request((ROOT_TOKEN,), 0, rules=Rules(temperature=temperature))
    return World("cut", ToyModel(target, context=LENGTH + 2), draft, request, StopState(Stop(frozenset(), (), LENGTH)))


@dataclass(frozen=True)
class Counted:
    """Texts of one verifier. chance: of counts at least as far off; limit: what `distance` may be."""

    verifier: str
    texts: int
    chance: float
    distance: float
    limit: float
    alarm: float

    @property
    def rejected(self) -> bool:
        """By one of the two tests, which a right verifier must not be."""
        return self.chance < self.alarm or self.distance > self.limit

    @property
    def caught(self) -> bool:
        """By both tests, which a known-bad twin must be: each shows that it would have noticed."""
        return self.chance < self.alarm and self.distance > self.limit


@dataclass(frozen=True)
class Sampled:
    """What was counted of the verifiers, which must pass, and of their known-bad twins, which must not."""

    right: tuple[Counted, ...]
    wrong: tuple[Counted, ...]
    false_alarm: float = FALSE_ALARM

    @property
    def passed(self) -> bool:
        return not any(one.rejected for one in self.right) and all(one.caught for one in self.wrong)


def count_texts(
    model: Model, prompt: tuple[int, ...], texts: int, each: Callable[[int, int], None] = lambda done, total: None
) -> Sampled:
    """Generates `texts` texts with every lossless verifier and with its twin, on the model cut to a few tokens."""
    world = cut_world(model, prompt)
    law = plain(world.target, world.request, world.stop)
    alarm = FALSE_ALARM / (2 * len(LOSSLESS))  # two tests a verifier
    right, wrong = list[Counted](), list[Counted]()
    for name in LOSSLESS:
        trial = TRIALS[name]
        for found, verifier in ((right, make_verifier(name)), (wrong, trial.twin())):
            each(len(right) + len(wrong), 2 * len(LOSSLESS))
            found.append(_counted(name, law, _texts(world, verifier, trial.widths, texts), alarm))
    return Sampled(tuple(right), tuple(wrong))


def _texts(world: World, verifier: Verifier, widths: tuple[int, ...], texts: int) -> Counter[Text]:
    drafter, rows = ModelDrafter(ToyModel(world.draft, context=LENGTH + 2), widths), 4
    return Counter(
        said(world.target, drafter, verifier, Constant(rows), world.request, world.stop, KeyedStream(seed))
        for seed in range(texts)
    )


def _counted(name: str, law: JointLaw, seen: Mapping[Text, int], alarm: float) -> Counted:
    count = sum(seen.values())
    shares = {text: number / count for text, number in seen.items()}
    return Counted(name, count, chi_square(seen, law), distance(shares, law), distance_limit(count, law, alarm), alarm)
