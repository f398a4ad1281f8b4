"""A conformance kit for policies: subclass `PolicyChecks` and supply the fixture `policy`.

A policy may change the time a text takes and nothing else, so what is asked of it is little: budgets that are counts,
trees that are parts of those that were drafted, drawn trees left as they are, and a text that is plain decoding's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from foredraft.core.events import Step, Times
from foredraft.core.law import Dense
from foredraft.core.protocols import AnyPolicy, Load, Request
from foredraft.core.rules import Rules
from foredraft.core.stream import KeyedStream
from foredraft.core.tree import EMPTY, ROOT, DraftTree, check
from foredraft.draft.lookup import Lookup, Options
from foredraft.engine.loop import generate
from foredraft.engine.sequence import open_sequence
from foredraft.models.toy import Tables, ToyModel
from foredraft.testing.drafters import until
from foredraft.testing.watch import plain_text
from foredraft.verify.match import Match

VOCAB = 6
PROMPTS = ((0, 1, 2, 0, 1), (3, 1, 3, 1), (2, 2, 2))


def random_tree(draw: np.random.Generator, nodes: int, sources: Sequence[str]) -> DraftTree:
    """Of any form, some nodes drafted by several sources, scores that never rise along a path."""
    parents, score = [], list[float]()
    for node in range(nodes):
        parents.append(int(draw.integers(ROOT, node)))
        above = 0.0 if parents[node] == ROOT else score[parents[node]]
        score.append(above - float(draw.exponential(1.0)))
    tokens = tuple(map(int, draw.integers(0, VOCAB, nodes)))
    names = tuple(map(str, draw.choice([*sources, "+".join(sources)], nodes)))
    return DraftTree(tokens, tuple(parents), tuple(score), names, (None,) * nodes, (False,) * nodes)


def paths(tree: DraftTree) -> set[tuple[tuple[int, str], ...]]:
    """Every node as the tokens and sources from the root to it."""
    return {tuple((tree.tokens[at], tree.sources[at]) for at in tree.path(node)) for node in range(len(tree))}


class PolicyChecks:
    """Subclass it in a test file, as pytest collects classes whose names begin with Test."""

    @pytest.fixture
    def policy(self) -> AnyPolicy:
        raise NotImplementedError("the fixture `policy` must give a policy")

    @pytest.mark.parametrize("seed", range(5))
    def test_budgets_are_counts_and_what_is_scored_was_drafted(self, policy: AnyPolicy, seed: int) -> None:
        """Over made-up rounds: whatever was accepted and however long it took."""
        draw = np.random.default_rng(seed)
        state = policy.open(Request(PROMPTS[0], seed))
        policy.update(state, Step(0, (), rows=512, seconds=Times(verify=0.5), wall=0.5))
        for _ in range(60):
            so_far = EMPTY
            for source in ("a", "b"):
                budget = policy.budget(state, source, so_far, Load(1))
                assert min(budget.rows, budget.depth) >= 0
                so_far = random_tree(draw, int(draw.integers(0, min(budget.rows, 12) + 1)), ("a", "b"))
            (plan,) = policy.shape([state], [so_far], Load(1))
            check(plan.tree, VOCAB, len(so_far), max(so_far.depth, 1), needs_laws=False)
            assert paths(plan.tree) <= paths(so_far), "what is scored was not drafted"
            policy.update(state, _some_step(draw, plan.tree))

    def test_a_tree_that_was_drawn_stays_whole(self, policy: AnyPolicy) -> None:
        law = Dense(np.full(VOCAB, 1 / VOCAB))
        tree = DraftTree.chain([1] * 12, "a", score=[-2.0 * depth for depth in range(12)], laws=[law] * 12)
        state = policy.open(Request(PROMPTS[0], 0))
        policy.budget(state, "a", EMPTY, Load(1))
        assert policy.shape([state], [tree], Load(1))[0].tree == tree

    def test_sequences_of_a_round_get_a_plan_each(self, policy: AnyPolicy) -> None:
        draw = np.random.default_rng(3)
        states = [policy.open(Request(prompt, 0)) for prompt in PROMPTS]
        for state in states:
            policy.budget(state, "a", EMPTY, Load(len(states)))
        trees = [random_tree(draw, nodes, ("a",)) for nodes in (5, 0, 3)]
        plans = policy.shape(states, trees, Load(len(states)))
        assert len(plans) == len(trees)
        assert all(paths(plan.tree) <= paths(tree) for plan, tree in zip(plans, trees, strict=True))

    @pytest.mark.parametrize("temperature", [0.0, 1.0])
    def test_the_text_is_plain_decodings(self, policy: AnyPolicy, temperature: float) -> None:
        """Several sequences, chunks of the prompt, several sources."""
        target = ToyModel(Tables.random(VOCAB, seed=1), context=96)
        drafters = {"short": Lookup(Options(n=1, branches=2)), "long": Lookup(Options(n=3))}
        requests = [Request(prompt, 5, rules=Rules(temperature=temperature)) for prompt in PROMPTS]
        sequences = [open_sequence(target, drafters, Match(), request, until(40)) for request in requests]
        for _ in generate(target, policy, sequences):
            pass
        for sequence in sequences:
            assert all(step.fault is None for step in sequence.steps)
            assert sequence.output == list(plain_text(target, sequence.request, until(40), KeyedStream(5)))


def _some_step(draw: np.random.Generator, tree: DraftTree) -> Step:
    """A walk down the tree to somewhere, and the time it took."""
    node, path = ROOT, list[int]()
    while (children := tree.children(node)) and draw.random() < 0.6:
        node = int(draw.choice(children))
        path.append(node)
    tokens = (*(tree.tokens[at] for at in path), int(draw.integers(0, VOCAB)))
    seconds = Times(draft=float(draw.exponential(1e-3)), verify=float(draw.exponential(0.03)))
    spent = (("a", seconds.draft / 2), ("b", seconds.draft / 2))
    return Step(
        0, tokens, len(path), tree, tuple(path), 1 + len(tree), seconds=seconds, wall=seconds.total, spent=spent
    )
