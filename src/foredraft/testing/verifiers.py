"""A conformance kit for verifiers: subclass `VerifierChecks` and supply the fixture `verifier`.

A verifier is handed random trees, drafted as it asks for, over random laws of target and draft; every chance of the
draft and of the verifier is followed, and what it emits, continued by the target alone, must have the target's joint
law. A verifier that is not lossless is only asked to keep to the tree.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from foredraft.core.errors import DraftError
from foredraft.core.law import Dense, Law, Point, of_weights, without
from foredraft.core.protocols import Laws, Request, Verdict, Verifier
from foredraft.core.rules import Rules
from foredraft.core.stop import Stop, StopState
from foredraft.core.stream import KeyedStream, Purpose
from foredraft.core.tree import EMPTY, ROOT, DraftTree
from foredraft.draft.model import ModelDrafter
from foredraft.models.toy import Tables, ToyModel
from foredraft.policy.constant import Constant
from foredraft.testing.exact import BranchingStream, Chooser, distance, outcomes, plain, speculated
from foredraft.testing.recompute import refuses

SIZE = 3
Text = tuple[int, ...]
Shape = tuple[int, ...]
"""Parents of the nodes of a tree."""

SHAPES: tuple[Shape, ...] = (
    (-1, 0, 1),
    (-1, -1),
    (-1, -1, -1, -1),
    (-1, -1, 0, 0),
    (-1, 0, 0, -1, 3),
    (-1, 0, -1, 2, 1),
)
# How siblings are drawn: each from the draft's law, each from what is left of it, or without chance.
Kind = str
KINDS: tuple[Kind, ...] = ("independent", "without replacement", "points", "mixed")


@dataclass
class World:
    """Random laws of target and draft at every text: some dense, some with zeros, some points, some equal."""

    seed: int
    greedy: bool = False
    known: dict[tuple[str, Text], Law] = field(default_factory=dict)

    def target(self, text: Text) -> Law:
        return self._law("target", text, points=1.0 if self.greedy else 0.15)

    def draft(self, text: Text) -> Law:
        agree = np.random.default_rng([self.seed, 2, *text]).random() < 0.2
        return self.target(text) if agree else self._law("draft", text, points=0.15)

    def _law(self, whose: str, text: Text, points: float) -> Law:
        if (whose, text) not in self.known:
            generator = np.random.default_rng([self.seed, len(whose), *text])
            if generator.random() < points:
                law: Law = Point(int(generator.integers(SIZE)), SIZE)
            else:
                weights = generator.random(SIZE) ** 2
                weights[generator.random(SIZE) < 0.3] = 0.0
                weights[generator.integers(SIZE)] += 0.1
                law = of_weights(np.arange(SIZE), weights, SIZE)
            self.known[whose, text] = law
        return self.known[whose, text]

    def laws(self, tree: DraftTree) -> Laws:
        """The target's law at each node; behind a token that cannot be said, where rules leave none, any law."""

        def law(node: int) -> Law:
            text: Text = ()
            for step in tree.path(node):
                if self.target(text).prob(tree.tokens[step]) <= 0:
                    return Point(0, SIZE)
                text += (tree.tokens[step],)
            return self.target(text)

        return law


def drafted(world: World, shape: Shape, kind: Kind, chooser: Chooser, with_laws: bool) -> DraftTree:
    """A tree of this shape with drawn tokens; where a draft without replacement runs dry, nodes are missing."""
    stream = BranchingStream(chooser)
    tokens: list[int] = []
    parents: list[int] = []
    laws: list[Law] = []
    place: dict[int, int] = {ROOT: ROOT}
    text_of: dict[int, Text] = {ROOT: ()}
    left: dict[int, Law | None] = {}
    for node, parent in enumerate(shape):
        if parent not in place:
            continue
        own = place[parent]
        law = left.setdefault(own, world.draft(text_of[own]))
        if law is None:
            continue
        if kind == "points" or (kind == "mixed" and node % 2):
            law = Point(law.mode(), SIZE)
        token = stream.draw(law, Purpose.DRAFT)
        if kind in ("without replacement", "mixed"):
            left[own] = without(left[own] or law, token)
        place[node] = len(tokens)
        text_of[place[node]] = (*text_of[own], token)
        tokens.append(token)
        parents.append(own)
        laws.append(law)
    return DraftTree.of(tokens, parents, "test", laws=laws if with_laws else None)


def emitted(tree: DraftTree, verdict: Verdict) -> Text:
    """The block a verdict commits. Raises AssertionError unless its path is one of drafts from the root down."""
    node = ROOT
    for step in verdict.path:
        assert 0 <= step < len(tree), f"node {step} is not in the tree"
        assert not tree.probes[step], f"the probe {step} was accepted"
        assert tree.parents[step] == node, f"{verdict.path} is not a path from the root"
        node = step
    assert 0 <= verdict.token < SIZE, f"token {verdict.token} is not in the vocabulary"
    return (*(tree.tokens[step] for step in verdict.path), verdict.token)


def continued(world: World, law: dict[Text, float], length: int) -> dict[Text, float]:
    """The law of texts of this length that begin as `law` says and go on as the target does."""
    full: dict[Text, float] = {}
    while law:
        longer: dict[Text, float] = {}
        for text, weight in law.items():
            if len(text) == length:
                full[text] = full.get(text, 0.0) + weight
                continue
            for token, prob in zip(*world.target(text).support(), strict=True):
                further = (*text, int(token))
                longer[further] = longer.get(further, 0.0) + weight * float(prob)
        law = longer
    return full


def greedy_text(world: World, length: int) -> Text:
    """The one text of a greedy world."""
    (text,) = continued(world, {(): 1.0}, length)
    return text


class VerifierChecks:
    """One verifier against many worlds."""

    @pytest.fixture
    def verifier(self) -> Verifier:
        raise NotImplementedError("supply a fixture `verifier`")

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_the_joint_law_is_the_targets(self, verifier: Verifier, shape: Shape, kind: Kind) -> None:
        """For every way drafts and verdict can fall."""
        self._lossless(verifier)
        for seed in range(18 // len(shape)):
            self._exact(verifier, World(seed), shape, kind)

    @pytest.mark.parametrize("kind", KINDS)
    def test_greedy_emits_the_argmax_chain(self, verifier: Verifier, kind: Kind) -> None:
        """At temperature 0 the target's laws are points, and there is one text."""
        self._lossless(verifier)
        for seed, shape in enumerate(SHAPES * 2):
            world = World(seed, greedy=True)
            for tree in self._trees(verifier, world, shape, kind):
                block = emitted(tree, self._walk(verifier, tree, world, seed))
                for length, token in enumerate(block):
                    assert token == world.target(block[:length]).mode(), f"{block} is not the argmax chain"

    def test_an_empty_tree_is_plain_decoding(self, verifier: Verifier) -> None:
        for seed in range(20):
            world = World(seed)

            def run(chooser: Chooser, world: World = world) -> Text:
                return emitted(EMPTY, verifier(EMPTY, world.laws(EMPTY), BranchingStream(chooser)))

            law = outcomes(run)
            if verifier.lossless:
                assert distance(law, continued(world, {(): 1.0}, 1)) <= 1e-12

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_path_is_a_path(self, verifier: Verifier, kind: Kind) -> None:
        """From the root down; and, when nothing is lost, the token after it can follow."""
        for seed, shape in enumerate(SHAPES):
            world = World(100 + seed)
            for tree in self._trees(verifier, world, shape, kind):
                block = emitted(tree, self._walk(verifier, tree, world, seed))
                if verifier.lossless:
                    assert all(world.target(block[:at]).prob(token) > 0 for at, token in enumerate(block))

    def test_what_is_certain_is_accepted(self, verifier: Verifier) -> None:
        """Draft and target are the same point laws: all is accepted and the bonus follows."""
        for seed in range(10):
            world = World(seed, greedy=True)
            text = greedy_text(world, 4)
            laws = [world.target(text[:at]) for at in range(3)] if verifier.needs_laws else None
            tree = DraftTree.chain(text[:3], "test", laws=laws)
            assert self._walk(verifier, tree, world, seed) == Verdict((0, 1, 2), text[3])

    def test_probes_are_never_accepted(self, verifier: Verifier) -> None:
        """Beside the right drafts, before them, instead of them and behind them."""
        for seed in range(10):
            world = World(seed, greedy=True)
            one, two, three = greedy_text(world, 3)
            tokens, parents = (one, one, two, two, three), (-1, -1, 1, 1, 3)
            probes = (True, False, True, False, True)
            laws = tuple(None if probe else Point(token, SIZE) for probe, token in zip(probes, tokens, strict=True))
            tree = DraftTree.of(tokens, parents, "test", probes=probes, laws=laws if verifier.needs_laws else None)
            verdict = self._walk(verifier, tree, world, seed)
            assert emitted(tree, verdict) == (one, two, three)
            assert verdict.path == (1, 3)

    def test_nodes_without_laws_are_refused(self, verifier: Verifier) -> None:
        if not verifier.needs_laws:
            return
        world = World(3)
        law = Dense(np.full(SIZE, 1 / SIZE))
        for laws in ((None,), (None, law)):
            tree = DraftTree.of((0, 1)[: len(laws)], (-1, 0)[: len(laws)], "test", laws=laws)
            with refuses("a node without a law", DraftError):
                self._walk(verifier, tree, world, 0)

    def test_the_same_stream_gives_the_same_verdict(self, verifier: Verifier) -> None:
        for seed, kind in enumerate(KINDS):
            world = World(seed)
            for tree in self._trees(verifier, world, SHAPES[4], kind)[:20]:
                assert self._walk(verifier, tree, world, seed) == self._walk(verifier, tree, world, seed)

    @pytest.mark.parametrize("temperature", [0.0, 1.0])
    def test_through_the_round(self, verifier: Verifier, temperature: float) -> None:
        """With a model for a drafter, over several rounds, end tokens and the cap."""
        self._lossless(verifier)
        target = ToyModel(Tables.random(3, order=1, seed=5))
        drafter = ModelDrafter(ToyModel(Tables.random(3, order=0, seed=6)), (2, 1))
        request = Request((0, 1), 0, rules=Rules(temperature=temperature))
        stop = StopState(Stop(frozenset({2}), (), 3))
        found = speculated(target, drafter, verifier, Constant(2), request, stop)
        assert distance(found, plain(target, request, stop)) <= 1e-12

    # --- helpers --------------------------------------------------------------------------------------------------

    def _exact(self, verifier: Verifier, world: World, shape: Shape, kind: Kind) -> None:
        """What is emitted, continued by the target to a full length, has the joint law of that length."""
        length = DraftTree.of((0,) * len(shape), shape, "test").depth + 1

        def run(chooser: Chooser) -> Text:
            tree = drafted(world, shape, kind, chooser, verifier.needs_laws)
            return emitted(tree, verifier(tree, world.laws(tree), BranchingStream(chooser)))

        off = distance(continued(world, outcomes(run), length), continued(world, {(): 1.0}, length))
        assert off <= 1e-12, f"the law of the text is off by {off:g} in total variation (seed {world.seed})"

    def _trees(self, verifier: Verifier, world: World, shape: Shape, kind: Kind) -> list[DraftTree]:
        """All that can be drafted."""
        return list(outcomes(lambda chooser: drafted(world, shape, kind, chooser, verifier.needs_laws)))

    def _walk(self, verifier: Verifier, tree: DraftTree, world: World, seed: int) -> Verdict:
        return verifier(tree, world.laws(tree), KeyedStream(seed))

    def _lossless(self, verifier: Verifier) -> None:
        if not verifier.lossless:
            pytest.skip("the verifier does not claim to be lossless")
