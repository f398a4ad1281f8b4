"""Small worlds whose laws can be enumerated: targets, draft nets, rules and stops.

A `World` is one request to one toy target with everything that shapes its law; `one_round` enumerates what a single
round followed by plain decoding says in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from foredraft.core import stop as stopping
from foredraft.core.law import Law
from foredraft.core.params import SamplingParams
from foredraft.core.protocols import AnyDrafter, Ask, Budget, Laws, Request, Verdict, Verifier
from foredraft.core.rules import Rules, rules_of
from foredraft.core.stop import StopState, stop_of
from foredraft.core.stream import Stream
from foredraft.core.tree import ROOT, DraftTree
from foredraft.models.toy import Array, Net, Tables, ToyModel
from foredraft.testing.exact import BranchingStream, Chooser, outcomes

Text = tuple[int, ...]
JointLaw = dict[Text, float]

# What float64 leaves of an exact equality after a few hundred products and sums.
EXACT = 1e-12


@dataclass(frozen=True, eq=False)
class Memo:
    """A net that remembers the states of every path: enumeration asks for the same few thousands of times."""

    net: Net
    known: dict[Text, Array] = field(default_factory=dict)

    @property
    def vocab_size(self) -> int:
        return self.net.vocab_size

    @property
    def layers(self) -> int:
        return self.net.layers

    @property
    def abilities(self) -> frozenset[Any]:
        return self.net.abilities

    def states(self, path: Sequence[int]) -> Array:
        key = tuple(path)
        if key not in self.known:
            self.known[key] = self.net.states(key)
        return self.known[key]

    def embed(self, tokens: Sequence[int]) -> Array:
        return self.net.embed(tokens)

    def head(self, hidden: Array) -> Array:
        return self.net.head(hidden)

    def select(self, layers: Sequence[int]) -> Memo:
        return Memo(self.net.select(layers))


@dataclass(frozen=True, eq=False)
class World:
    """A request, the target that answers it and the net that drafts for it."""

    name: str
    target: ToyModel
    draft: Net
    request: Request
    stop: StopState
    known: dict[Text, Law] = field(default_factory=dict)

    @property
    def vocab_size(self) -> int:
        return self.target.about.vocab_size

    def p(self, said: Text) -> Law:
        """The target's law after the prompt and `said`."""
        if said not in self.known:
            rules = rules_after(self.request.rules, said)
            self.known[said] = rules.law_of(net_logits(self.target.net, (*self.request.prompt, *said)))
        return self.known[said]

    def laws(self, tree: DraftTree) -> Laws:
        """The target's law at every node of `tree`, whose root is the last token of the prompt."""
        return lambda node: self.p(() if node == ROOT else tuple(tree.tokens[step] for step in tree.path(node)))

    def ask(self, drafter: AnyDrafter, verifier: Verifier, budget: Budget, stream: Stream) -> Ask[Any]:
        request = self.request
        state, said = drafter.open(request), list(request.prompt)
        draw, replacement = verifier.draw, verifier.replacement
        return Ask(state, said, request.rules, budget, draw, stream, self.vocab_size, replacement)


def net_logits(net: Net, path: Sequence[int]) -> Array:
    return net.head(net.states(tuple(path))[-1])


def rules_after(rules: Rules, said: Sequence[int]) -> Rules:
    for token in said:
        rules = rules.after(token)
    return rules


# How the rules of a world are made: sampling parameters, and bad words as the tokenizer would give them.
VARIANTS: dict[str, tuple[dict[str, Any], tuple[Text, ...]]] = {
    "greedy": ({}, ()),
    "warm": ({"temperature": 1.0}, ()),
    "cool": ({"temperature": 0.7}, ()),
    "hot": ({"temperature": 1.3}, ()),
    "top_k": ({"temperature": 1.0, "top_k": 2}, ()),
    "top_p": ({"temperature": 1.0, "top_p": 0.6}, ()),
    "min_p": ({"temperature": 1.2, "min_p": 0.3}, ()),
    "narrow": ({"temperature": 1.1, "top_k": 3, "top_p": 0.9, "min_p": 0.05}, ()),
    "repetition": ({"temperature": 1.0, "repetition_penalty": 1.6}, ()),
    "presence": ({"temperature": 1.0, "presence_penalty": 1.1}, ()),
    "frequency": ({"temperature": 0.9, "frequency_penalty": 0.8, "top_p": 0.9}, ()),
    "bias": ({"temperature": 1.0, "logit_bias": {0: 1.5, 2: -2.0}}, ()),
    "bad_words": ({"temperature": 1.0}, ((0, 1), (1, 1), (2, 0, 2))),
    "min_tokens": ({"temperature": 1.0, "min_tokens": 2}, ()),
    "allowed": ({"temperature": 1.0, "allowed_token_ids": (0, 2)}, ()),
    "greedy_penalties": ({"repetition_penalty": 1.7, "frequency_penalty": 0.7, "min_tokens": 1}, ((0, 1),)),
    "everything": (
        {
            "temperature": 1.4,
            "top_k": 3,
            "top_p": 0.95,
            "min_p": 0.02,
            "presence_penalty": 0.5,
            "frequency_penalty": 0.3,
            "repetition_penalty": 1.2,
            "logit_bias": {1: 0.7},
            "min_tokens": 1,
        },
        ((0, 1),),
    ),
}

# How the target and the draft net of a world are related.
NETS = ("unlike", "zeros_p", "zeros_q", "zeros_both", "ties", "equal", "one_hot_q", "one_hot_p", "near")


def make_nets(kind: str, vocab_size: int, seed: int) -> tuple[Tables, Tables]:
    """(target, draft) of two random tables models."""

    def random(offset: int, **options: Any) -> Tables:
        return Tables.random(vocab_size, 2, seed=2 * seed + offset, context=24, **options)

    match kind:
        case "unlike":
            return random(0), random(1)
        case "zeros_p":
            return random(0, zeros=0.4), random(1)
        case "zeros_q":
            return random(0), random(1, zeros=0.4)
        case "zeros_both":
            return random(0, zeros=0.4), random(1, zeros=0.4)
        case "ties":
            return random(0, ties=True, scale=0.5), random(1, ties=True, scale=0.5)
        case "equal":
            return random(0), random(0)
        case "one_hot_q":
            return random(0), random(1, zeros=1.0)
        case "one_hot_p":
            return random(0, zeros=1.0), random(1)
        case "near":
            target = random(0)
            nudged = (*target.tables[:-1], target.tables[-1] + 1e-9 * random(1).tables[-1])
            return target, Tables(nudged, target.orders, target.positions, target.out)
    raise ValueError(kind)


def make_world(nets: str, variant: str, *, vocab_size: int, max_tokens: int, stops: int, seed: int) -> World:
    """stops: how many token ids end the text, from the highest id down (the first of them the model's own)."""
    target, draft = make_nets(nets, vocab_size, seed)
    options, bad_words = VARIANTS[variant]
    ends = tuple(range(vocab_size - 1, vocab_size - 1 - stops, -1))
    options = {**options, "max_tokens": max_tokens, "stop_token_ids": ends[1:]}
    options["min_tokens"] = min(options.get("min_tokens", 0), max_tokens)
    params = SamplingParams(**options)
    prompt = tuple(int(token) for token in np.random.default_rng(seed).integers(0, vocab_size, size=5))
    prompt = (*prompt, *prompt[:2])  # so that lookup finds something
    rules = rules_of(params, prompt=prompt, vocab_size=vocab_size, stop_ids=ends, bad_words=bad_words)
    request = Request(prompt, seed, rules=rules)
    stop = stop_of(params, ends[:1], room=16, text=None)
    name = f"{nets}/{variant}/V{vocab_size}/n{max_tokens}/stops{stops}/seed{seed}"
    return World(name, ToyModel(Memo(target), context=24), Memo(draft), request, stop)


# --- enumeration of one round -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Round:
    """What a round followed by plain decoding says, and what the round alone did."""

    texts: JointLaw
    blocks: JointLaw
    mean_tokens: float
    verdicts: list[tuple[DraftTree, float, dict[Verdict, float]]]


def trees_of(world: World, drafter: AnyDrafter, verifier: Verifier, budget: Budget) -> dict[DraftTree, float]:
    """Every tree the drafter may propose, and its probability."""

    def draft(chooser: Chooser) -> DraftTree:
        ask = world.ask(drafter, verifier, budget, BranchingStream(chooser))
        (tree,) = drafter.propose([ask])
        return tree

    return outcomes(draft)


def one_round(
    world: World, drafter: AnyDrafter, verifier: Verifier, budget: Budget, judged: World | None = None
) -> Round:
    """Enumerates the drafts, then the verdicts on each; what follows the round is plain.

    judged: the world whose laws the verifier is given, when it is another one.
    """
    blocks: dict[Text, float] = {}
    verdicts = []
    for tree, weight in trees_of(world, drafter, verifier, budget).items():
        found = verdicts_on(tree, verifier, (judged or world).laws(tree))
        verdicts.append((tree, weight, found))
        for verdict, chance in found.items():
            block = (*(tree.tokens[node] for node in verdict.path), verdict.token)
            blocks[block] = blocks.get(block, 0.0) + weight * chance
    mean = sum(len(block) * weight for block, weight in blocks.items())
    return Round(continued(world, blocks), blocks, mean, verdicts)


def verdicts_on(tree: DraftTree, verifier: Verifier, laws: Laws) -> dict[Verdict, float]:
    """verdict -> its probability, given the tree."""
    return outcomes(lambda chooser: verifier(tree, laws, BranchingStream(chooser)))


def continued(world: World, blocks: Mapping[Text, float]) -> JointLaw:
    """The joint law of texts that begin with a block and go on with the target's own laws."""
    texts: JointLaw = {}

    def follow(said: Text, state: StopState, weight: float) -> None:
        if state.finish is not None:
            texts[said] = texts.get(said, 0.0) + weight
            return
        for token, prob in zip(*world.p(said).support(), strict=True):
            kept, after = stopping.trim(state, (int(token),))
            follow((*said, *kept), after, weight * float(prob))

    for block, weight in blocks.items():
        kept, state = stopping.trim(world.stop, block)
        follow(kept, state, weight)
    return texts
