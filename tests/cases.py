"""Small worlds for exact tests: targets, drafts, rules, stops and drafters that behave, misbehave or draw in odd ways.

A `World` is one request to one toy target with everything that shapes its law; `one_round` enumerates what a single
round followed by plain decoding says in it, `check_law` compares that with plain decoding alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from foredraft.core import stop as stopping
from foredraft.core.law import Law, Point, of_weights, without
from foredraft.core.params import SamplingParams
from foredraft.core.protocols import AnyDrafter, Ask, Budget, Laws, Needs, News, Request, Verdict, Verifier
from foredraft.core.rules import Rules, rules_of
from foredraft.core.stop import StopState, stop_of
from foredraft.core.stream import Purpose, Stream
from foredraft.core.tree import EMPTY, ROOT, DraftTree
from foredraft.models.toy import Array, Net, Tables, ToyModel
from foredraft.testing.exact import BranchingStream, Chooser, outcomes
from foredraft.verify.match import Match

Text = tuple[int, ...]
JointLaw = dict[Text, float]

# What float64 leaves of an exact equality after a few hundred products and sums.
EXACT = 1e-12


# --- worlds ---------------------------------------------------------------------------------------------------------


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


# --- enumeration of one round ---------------------------------------------------------------------------------------


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
        laws = (judged or world).laws(tree)
        found = outcomes(lambda chooser, tree=tree, laws=laws: verifier(tree, laws, BranchingStream(chooser)))
        verdicts.append((tree, weight, found))
        for verdict, chance in found.items():
            block = (*(tree.tokens[node] for node in verdict.path), verdict.token)
            blocks[block] = blocks.get(block, 0.0) + weight * chance
    mean = sum(len(block) * weight for block, weight in blocks.items())
    return Round(continued(world, blocks), blocks, mean, verdicts)


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


def chain_length(world: World, drafter: Double, depth: int) -> float:
    """Tokens a pass of a sampled chain, by the formula: 1 + sum over texts of the products of min(p, q)."""
    size, total, reached = world.vocab_size, 1.0, {(): 1.0}
    for _ in range(depth):
        ask = world.ask(drafter, Match(), Budget(depth, depth), BranchingStream(Chooser([])))
        both = {path: np.minimum(world.p(path).dense(), drafter.q(ask, path).dense()) for path in reached}
        reached = {
            (*path, token): weight * float(both[path][token])
            for path, weight in reached.items()
            for token in range(size)
            if both[path][token] > 0
        }
        total += sum(reached.values())
    return total


# --- drafters -------------------------------------------------------------------------------------------------------


class Double:
    """A drafter without state whose trees are grown by `children`, level by level."""

    needs = Needs()

    def __init__(self, net: Net, widths: Sequence[int]) -> None:
        self.net = net
        self.widths = tuple(widths)
        self.known: dict[Text, Law] = {}

    def open(self, request: Request, parent: object = None) -> object:
        return self  # anything but None, which would mean that the drafter has lost track

    def propose(self, asks: Sequence[Ask[Any]]) -> list[DraftTree]:
        return [self.grow(ask) for ask in asks]

    def update(self, news: Sequence[News[Any]]) -> None:
        """Nothing to learn."""

    def close(self, state: object) -> None:
        """Nothing to give back."""

    def q(self, ask: Ask[Any], path: Text) -> Law:
        """The draft's law after the committed text and `path`, by the request's own rules."""
        text = (*ask.committed, *path)
        if text not in self.known:
            self.known[text] = rules_after(ask.rules, path).law_of(net_logits(self.net, text))
        return self.known[text]

    def grow(self, ask: Ask[Any]) -> DraftTree:
        tokens: list[int] = []
        parents: list[int] = []
        laws: list[Law | None] = []
        paths: dict[int, Text] = {ROOT: ()}
        frontier = [ROOT]
        for depth, width in enumerate(self.widths[: ask.budget.depth]):
            level, frontier = frontier, []
            for node in level:
                room = min(width, ask.budget.rows - len(tokens))
                for token, law in self.children(ask, ask.stream.ahead(depth), paths[node], node, room):
                    paths[len(tokens)] = (*paths[node], token)
                    frontier.append(len(tokens))
                    tokens.append(token)
                    parents.append(node)
                    laws.append(law if ask.draw == "sampled" else None)
        return DraftTree.of(tokens, parents, "double", laws=laws)

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> list[tuple[int, Law | None]]:
        raise NotImplementedError


def lane(node: int, sibling: int) -> int:
    return 16 * (node + 1) + sibling


class Iid(Double):
    """Siblings drawn independently, with replacement: equal siblings happen."""

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> list[tuple[int, Law | None]]:
        law = self.q(ask, path)
        return [(here.draw(law, Purpose.DRAFT, lane(node, sibling)), law) for sibling in range(count)]


class Without(Double):
    """Siblings drawn without replacement."""

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> list[tuple[int, Law | None]]:
        left: Law | None = self.q(ask, path)
        found: list[tuple[int, Law | None]] = []
        for sibling in range(count):
            if left is None:
                break
            token = here.draw(left, Purpose.DRAFT, lane(node, sibling))
            found.append((token, left))
            left = without(left, token)
        return found


class Top(Double):
    """The likeliest tokens by the draft, chosen without chance."""

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> list[tuple[int, Law | None]]:
        return [(token, Point(token, ask.vocab_size)) for token in best(self.q(ask, path), count)]


class Mixed(Double):
    """The first child without chance, the others drawn from the rest; duplicates when `fresh` is false."""

    def __init__(self, net: Net, widths: Sequence[int], fresh: bool = True) -> None:
        super().__init__(net, widths)
        self.fresh = fresh

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> list[tuple[int, Law | None]]:
        law = self.q(ask, path)
        first = law.mode()
        found: list[tuple[int, Law | None]] = [(first, Point(first, ask.vocab_size))][:count]
        left = without(law, first) if self.fresh else law
        for sibling in range(1, count):
            if left is None:
                break
            token = here.draw(left, Purpose.DRAFT, lane(node, sibling))
            found.append((token, left))
            left = without(left, token)
        return found


class Twice(Double):
    """The same token again and again among siblings: legal, wasteful."""

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> list[tuple[int, Law | None]]:
        token = self.q(ask, path).mode()
        return [(token, Point(token, ask.vocab_size))] * count


class Wrong(Double):
    """The token the draft holds least likely of all, impossible ones first: always wrong when greedy and in tune."""

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> list[tuple[int, Law | None]]:
        order = np.argsort(self.q(ask, path).dense(), kind="stable")
        return [(int(token), Point(int(token), ask.vocab_size)) for token in order[:count]]


class Spam(Double):
    """The end of text, everywhere; then its neighbours."""

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> list[tuple[int, Law | None]]:
        tokens = range(ask.vocab_size - 1, -1, -1)
        return [(token, Point(token, ask.vocab_size)) for token in tokens[:count]]


class Random(Double):
    """Any token, uniformly, whatever the rules say; siblings with replacement."""

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> list[tuple[int, Law | None]]:
        law = of_weights(np.arange(ask.vocab_size), np.ones(ask.vocab_size), ask.vocab_size)
        return [(here.draw(law, Purpose.DRAFT, lane(node, sibling)), law) for sibling in range(count)]


class Broken(Double):
    """A drafter that does `what` instead of drafting."""

    def __init__(self, what: Callable[[Ask[Any]], DraftTree]) -> None:
        self.what = what

    def grow(self, ask: Ask[Any]) -> DraftTree:
        return self.what(ask)


class Fixed(Double):
    """The same tree every round, cut to the budget: for tests of what becomes of a tree."""

    def __init__(self, tree: DraftTree) -> None:
        self.tree = tree

    def grow(self, ask: Ask[Any]) -> DraftTree:
        tree = self.tree
        fits = [
            node
            for node in range(len(tree))
            if tree.depths[node] <= ask.budget.depth and max(tree.path(node)) < ask.budget.rows
        ]
        return tree.select(fits) if fits else EMPTY


def best(law: Law, count: int) -> list[int]:
    """The likeliest tokens, best first, lower ids first among equals."""
    ids, probs = law.support()
    return [int(token) for token in ids[np.argsort(-probs, kind="stable")[:count]]]


# --- statistics -----------------------------------------------------------------------------------------------------


def chi_square(observed: Mapping[Hashable, int], expected: Mapping[Any, float]) -> float:
    """The probability of counts at least as far from a law as `observed`, when they come from it (Pearson's test).

    Outcomes expected fewer than five times are counted as one cell; an outcome the law excludes gives 0.
    """
    count = sum(observed.values())
    if any(expected.get(outcome, 0.0) <= 0 for outcome in observed):
        return 0.0
    cells: list[tuple[float, float]] = []
    rare_seen = rare_expected = 0.0
    for outcome, prob in expected.items():
        if prob * count < 5:
            rare_seen, rare_expected = rare_seen + observed.get(outcome, 0), rare_expected + prob * count
        else:
            cells.append((observed.get(outcome, 0), prob * count))
    if rare_expected >= 5:
        cells.append((rare_seen, rare_expected))
    statistic = sum((seen - mean) ** 2 / mean for seen, mean in cells)
    return chi_square_tail(statistic, len(cells) - 1)


def chi_square_tail(statistic: float, degrees: int) -> float:
    """P(a chi-square variable >= statistic): the regularised upper incomplete gamma function."""
    a, x = degrees / 2, statistic / 2
    if x <= 0:
        return 1.0
    scale = math.exp(-x + a * math.log(x) - math.lgamma(a))
    if x < a + 1:  # the series of the lower function
        term = total = 1 / a
        for k in range(1, 10_000):
            term *= x / (a + k)
            total += term
            if term < total * 1e-16:
                break
        return 1 - total * scale
    b = x + 1 - a  # Lentz's continued fraction of the upper one
    c, d = 1e300, 1 / b
    value = d
    for k in range(1, 10_000):
        b += 2
        factor = -k * (k - a)
        d = 1 / (factor * d + b)
        c = b + factor / c
        value *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return value * scale
