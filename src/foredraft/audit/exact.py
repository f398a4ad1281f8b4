"""Exact: whatever is drafted, the joint law of the text is that of plain decoding, by enumeration.

A case is one small world (target, draft net, rules, stop), one way of drafting in it and one verifier: every draft,
every verdict on it, then plain decoding to the end. The other side is `testing.exact.plain`, which knows model, rules
and stop and nothing else. Where several verifiers judge the same drafts their expected tokens are compared as well:
block verification promises no fewer than token by token, traversal no fewer than top down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from foredraft.audit.doubles import Iid, Mixed, Random, Spam, Top, Twice, Without, Wrong
from foredraft.audit.worlds import EXACT, NETS, VARIANTS, World, make_world, one_round
from foredraft.core.protocols import AnyDrafter, Budget
from foredraft.draft.lookup import Lookup
from foredraft.draft.lookup import Options as LookupOptions
from foredraft.draft.model import ModelDrafter
from foredraft.draft.none import Nothing
from foredraft.models.toy import ToyModel
from foredraft.testing.exact import distance, plain
from foredraft.verify import VERIFIERS, make_verifier

SEED = 20_260_801
LOSSLESS = tuple(name for name in VERIFIERS if make_verifier(name, allow_lossy=True).lossless)
# Where rounding may put two equal expectations.
SLACK = 1e-11
# verifier -> the one that must not be expected to yield more tokens, from the same drafts.
NO_LESS_THAN = {"block": "recursive", "traversal": "recursive"}


@dataclass(frozen=True)
class Kind:
    """A way of drafting: the drafter, the nodes it may use, and the vocabulary it is affordable with."""

    make: Callable[[World], AnyDrafter]
    rows: int
    depth: int
    vocab_size: int = 3


def model(*widths: int) -> Callable[[World], AnyDrafter]:
    return lambda world: ModelDrafter(ToyModel(world.draft, context=24), widths)


DRAFTERS: dict[str, Kind] = {
    "none": Kind(lambda world: Nothing(), 0, 0, 4),
    "model_chain": Kind(model(), 2, 2, 4),
    "model_long_chain": Kind(model(), 3, 3),
    "model_siblings": Kind(model(3), 3, 1, 4),
    "model_tree": Kind(model(2, 1), 4, 2),
    "model_late_tree": Kind(model(1, 2), 3, 2),
    "model_cramped_tree": Kind(model(2, 2), 3, 2),
    "iid_siblings": Kind(lambda world: Iid(world.draft, (3,)), 3, 1, 4),
    "iid_tree": Kind(lambda world: Iid(world.draft, (2, 1)), 4, 2),
    "without_exhausted": Kind(lambda world: Without(world.draft, (5,)), 5, 1),
    "without_tree": Kind(lambda world: Without(world.draft, (2, 1)), 4, 2),
    "top_tree": Kind(lambda world: Top(world.draft, (2, 2, 1)), 8, 3, 4),
    "mixed_siblings": Kind(lambda world: Mixed(world.draft, (3,)), 3, 1, 4),
    "mixed_tree": Kind(lambda world: Mixed(world.draft, (2, 1)), 4, 2),
    "mixed_duplicates": Kind(lambda world: Mixed(world.draft, (2, 1), fresh=False), 4, 2),
    "duplicates": Kind(lambda world: Twice(world.draft, (2, 2)), 6, 2, 4),
    "lookup_chain": Kind(lambda world: Lookup(LookupOptions()), 3, 3, 4),
    "lookup_tree": Kind(lambda world: Lookup(LookupOptions(branches=3)), 5, 3, 4),
    "always_wrong": Kind(lambda world: Wrong(world.draft, (2, 1, 1)), 6, 3, 4),
    "end_of_text": Kind(lambda world: Spam(world.draft, (2, 1)), 4, 2, 4),
    "random_tree": Kind(lambda world: Random(world.draft, (2, 1)), 4, 2),
}


def worlds(
    name: str, turns: int = 1, step: int = 1, vocab_size: int = 0, most: int = 4, seed: int = SEED
) -> Iterator[World]:
    """Worlds for a way of drafting: every `step`-th variant of the rules, nets, length and stops by a seeded generator.

    turns: how often each variant is met, every time with other nets. most: tokens of a text.
    """
    offset, kind = list(DRAFTERS).index(name), DRAFTERS[name]
    for index, variant in enumerate([*VARIANTS] * turns):
        if index % step == offset % step:
            own = seed + 1000 * offset + index
            nets, length, stops = np.random.default_rng(own).integers(0, (len(NETS), 4, 3))
            size, longest = vocab_size or kind.vocab_size, min(most, 1 + int(length))
            yield make_world(NETS[nets], variant, vocab_size=size, max_tokens=longest, stops=int(stops), seed=own)


@dataclass
class Enumerated:
    """What was found of one verifier. worst: the largest total variation, `at` the case it was met in.

    least_gain: the least of (tokens expected a pass) - (those of the verifier it promises to yield no less than).
    """

    cases: int = 0
    worst: float = 0.0
    at: str = ""
    least_gain: float | None = None

    @property
    def passed(self) -> bool:
        return self.cases > 0 and self.worst <= EXACT and (self.least_gain is None or self.least_gain >= -SLACK)


@dataclass
class Exact:
    """Of every lossless verifier, and with which seed the worlds were made."""

    seed: int = SEED
    verifiers: dict[str, Enumerated] = field(default_factory=lambda: {name: Enumerated() for name in LOSSLESS})

    @property
    def cases(self) -> int:
        return sum(found.cases for found in self.verifiers.values())

    @property
    def max_tv(self) -> float:
        return max(found.worst for found in self.verifiers.values())

    @property
    def passed(self) -> bool:
        return all(found.passed for found in self.verifiers.values())


def enumerate_cases(
    step: int = 1, seed: int = SEED, each: Callable[[int, int], None] = lambda done, total: None
) -> Exact:
    """Every way of drafting in every `step`-th of its worlds, judged by every lossless verifier in turn."""
    found = Exact(seed)
    places = [(name, world) for name in DRAFTERS for world in worlds(name, step=step, seed=seed)]
    for done, (name, world) in enumerate(places):
        each(done, len(places))
        _judge(found, world, DRAFTERS[name], f"{name}/{world.name}")
    return found


def _judge(found: Exact, world: World, kind: Kind, case: str) -> None:
    """Adds one world with all verifiers."""
    right = plain(world.target, world.request, world.stop)
    tokens: dict[str, float] = {}
    for name, own in found.verifiers.items():
        verifier = make_verifier(name)
        round_ = one_round(world, kind.make(world), verifier, Budget(kind.rows, kind.depth))
        off = distance(round_.texts, right)
        own.cases += 1
        tokens[name] = round_.mean_tokens
        if not off <= own.worst:  # what is no number is wrong
            own.worst, own.at = off, case
        if name in NO_LESS_THAN:
            gain = round_.mean_tokens - tokens[NO_LESS_THAN[name]]
            own.least_gain = gain if own.least_gain is None else min(own.least_gain, gain)
