"""Verifiers: how much they accept, where the two agree, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from cases import EXACT, NETS, Double, Iid, Top, Twice, Without, World, best, chain_length, make_world, one_round
from foredraft.core.errors import DraftError, UnknownName
from foredraft.core.law import Law, Point, of_weights, overlap, residual, without
from foredraft.core.protocols import Budget, Verdict, Verifier
from foredraft.core.stream import KeyedStream, Purpose
from foredraft.core.tree import EMPTY, ROOT, DraftTree
from foredraft.testing.exact import BranchingStream, outcomes
from foredraft.verify import VERIFIERS, make_verifier
from foredraft.verify.match import Match
from foredraft.verify.recursive import Recursive

VARIANTS = ("greedy", "warm", "top_p", "frequency", "bad_words")
WORLDS = [
    make_world(nets, variant, vocab_size=3, max_tokens=4, stops=0, seed=500 + 10 * row + column)
    for row, nets in enumerate(NETS)
    for column, variant in enumerate(VARIANTS)
]


def ids(world: World) -> str:
    return world.name


def law_of(*weights: float) -> Law:
    return of_weights(np.arange(len(weights)), np.array(weights, dtype=np.float64), len(weights))


def verdicts(verifier: Verifier, tree: DraftTree, world: World) -> dict[Verdict, float]:
    laws = world.laws(tree)
    return outcomes(lambda chooser: verifier(tree, laws, BranchingStream(chooser)))


# --- how much is accepted -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", WORLDS, ids=ids)
def test_a_sampled_chain_yields_the_sum_of_products_of_overlaps(world: World) -> None:
    drafter = Without(world.draft, (1, 1))
    found = one_round(world, drafter, Recursive(), Budget(2, 2))
    assert found.mean_tokens == pytest.approx(chain_length(world, drafter, 2), abs=EXACT)


@pytest.mark.parametrize("verifier", [Match(), Recursive()], ids=["match", "recursive"])
@pytest.mark.parametrize("world", WORLDS, ids=ids)
def test_a_tree_without_chance_yields_the_probability_of_its_paths(world: World, verifier: Verifier) -> None:
    """E[tokens] = 1 + sum over nodes of p(path)."""
    found = one_round(world, Top(world.draft, (2, 2)), verifier, Budget(6, 2))
    ((tree, _, _),) = found.verdicts
    paths = (tuple(tree.tokens[step] for step in tree.path(node)) for node in range(len(tree)))
    expected = 1 + sum(math.prod(world.p(path[:end]).prob(token) for end, token in enumerate(path)) for path in paths)
    assert found.mean_tokens == pytest.approx(expected, abs=EXACT)


@pytest.mark.parametrize("world", WORLDS[::2], ids=ids)
def test_siblings_yield_what_earlier_ones_left_over(world: World) -> None:
    """2305.09781: each sibling passes with the overlap of its law and what earlier rejections left of p."""
    for drafter, redraw in ((Without(world.draft, (3,)), False), (Iid(world.draft, (3,)), True)):
        found = one_round(world, drafter, Recursive(), Budget(3, 1))
        ask = world.ask(drafter, Recursive(), Budget(3, 1), KeyedStream(0))
        q = drafter.q(ask, ())

        def passes(p: Law, left: Law | None, siblings: int, q: Law = q, redraw: bool = redraw) -> float:
            if left is None or siblings == 0:
                return 0.0
            rest = 0.0
            for token, prob in zip(*left.support(), strict=True):
                rejected = float(prob) - min(p.prob(int(token)), float(prob))
                if rejected > 1e-13:
                    after = q if redraw else without(left, int(token))
                    rest += rejected * passes(residual(p, left), after, siblings - 1)
            return overlap(p, left) + rest

        assert found.mean_tokens == pytest.approx(1 + passes(world.p(()), q, 3), abs=EXACT)


def test_match_meets_an_independent_draft_less_often_than_a_ratio() -> None:
    """Which is why it asks for coupled or pointlike drafts: sum p q against sum min(p, q)."""
    world = WORLDS[1]
    drafter = Without(world.draft, (1,))
    ask = world.ask(drafter, Match(), Budget(1, 1), KeyedStream(0))
    p, q = world.p(()), drafter.q(ask, ())
    matched = one_round(world, drafter, Match(), Budget(1, 1)).mean_tokens - 1
    tested = one_round(world, drafter, Recursive(), Budget(1, 1)).mean_tokens - 1
    assert matched == pytest.approx(float(p.dense() @ q.dense()), abs=EXACT)
    assert tested == pytest.approx(overlap(p, q), abs=EXACT)
    assert matched < tested


def test_a_draft_law_equal_to_the_targets_is_always_accepted() -> None:
    for world in WORLDS:
        if world.name.startswith("equal"):
            found = one_round(world, Without(world.draft, (1, 1, 1)), Recursive(), Budget(3, 3))
            assert found.mean_tokens == pytest.approx(4.0, abs=EXACT)


# --- where the two agree --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", WORLDS, ids=ids)
@pytest.mark.parametrize("double", [Top, Twice])
def test_on_a_tree_without_chance_both_have_the_same_law_of_verdicts(world: World, double: type[Double]) -> None:
    ((tree, _, first),) = one_round(world, double(world.draft, (2, 2)), Match(), Budget(6, 2)).verdicts
    second = verdicts(Recursive(), tree.with_point_laws(world.vocab_size), world)
    for verdict in first.keys() | second.keys():
        assert first.get(verdict, 0.0) == pytest.approx(second.get(verdict, 0.0), abs=EXACT)


@pytest.mark.parametrize("world", [world for world in WORLDS if "/greedy/" in world.name], ids=ids)
def test_greedy_is_the_longest_path_of_argmaxes(world: World) -> None:
    tree = DraftTree.of([0, 1, 2, 0, 1, 2, 0, 1, 2], [ROOT] * 3 + [0, 1, 2] + [3, 4, 5], "x")
    path, text = [], ()
    node = ROOT
    while (child := tree.child(node, world.p(text).mode())) is not None:
        path.append(child)
        text, node = (*text, tree.tokens[child]), child
    expected = Verdict(tuple(path), world.p(text).mode())
    for verifier in (Match(), Recursive()):
        assert verifier(tree.with_point_laws(3), world.laws(tree), KeyedStream(1)) == expected


# --- by hand --------------------------------------------------------------------------------------------------------


def constant(law: Law):  # type: ignore[no-untyped-def]
    return lambda node: law


def test_leviathan_by_hand() -> None:
    """p = (.5, .3, .2), q = (.2, .2, .6): token 2 passes with 1/3, its correction is (.3, .1) / .4."""
    p, q = law_of(5, 3, 2), law_of(2, 2, 6)
    tree = DraftTree.chain([2], "x", laws=[q])
    found = outcomes(lambda chooser: Recursive()(tree, constant(p), BranchingStream(chooser)))
    expected = {
        Verdict((), 0): 2 / 3 * 0.75,
        Verdict((), 1): 2 / 3 * 0.25,
        Verdict((0,), 0): 1 / 3 * 0.5,
        Verdict((0,), 1): 1 / 3 * 0.3,
        Verdict((0,), 2): 1 / 3 * 0.2,
    }
    assert found == pytest.approx(expected)


def test_a_sibling_is_judged_by_what_is_left() -> None:
    """p = (.5, .5, 0), q = (0, .5, .5): 2 is impossible; then 1 without replacement is certain under what is left."""
    p, q = law_of(1, 1, 0), law_of(0, 1, 1)
    second = without(q, 2)
    assert second == Point(1, 3)
    tree = DraftTree.of([2, 1], [ROOT, ROOT], "x", laws=[q, second])
    found = outcomes(lambda chooser: Recursive()(tree, constant(p), BranchingStream(chooser)))
    # After 2 is rejected (p - q)+ is all on token 0: sibling 1 can no longer pass.
    assert found == pytest.approx({Verdict((), 0): 1.0})


def test_equal_draws_are_tested_as_often_as_drawn() -> None:
    p, q = law_of(1, 3), law_of(1, 1)
    tree = DraftTree.of([0, 0], [ROOT, ROOT], "x", laws=[q, q])
    found = outcomes(lambda chooser: Recursive()(tree, constant(p), BranchingStream(chooser)))
    assert found == pytest.approx({Verdict((0,), 0): 0.125, Verdict((0,), 1): 0.375, Verdict((), 1): 0.5})


def test_the_empty_tree_is_plain_decoding() -> None:
    p = law_of(1, 2, 5)
    for verifier in (Match(), Recursive()):
        found = outcomes(lambda chooser, verifier=verifier: verifier(EMPTY, constant(p), BranchingStream(chooser)))
        assert found == pytest.approx({Verdict((), token): prob for token, prob in enumerate(p.dense())})


# --- which laws and draws are asked for -----------------------------------------------------------------------------


def test_only_laws_on_the_walk_are_computed() -> None:
    asked: list[int] = []

    def laws(node: int) -> Law:
        asked.append(node)
        return Point({ROOT: 2, 2: 1}.get(node, 0), 3)

    tree = DraftTree.of([0, 1, 2, 1, 1], [ROOT, ROOT, ROOT, 0, 2], "x")
    assert Match()(tree, laws, KeyedStream(0)) == Verdict((2, 4), 0)
    assert asked == [ROOT, 2, 4]


def test_match_draws_each_token_with_the_noise_of_its_position() -> None:
    laws: list[Law] = [law_of(1, 2, 3), law_of(3, 2, 1), law_of(1, 1, 1)]
    for seed in range(40):
        stream = KeyedStream(seed).at(6)
        said = [stream.ahead(depth).draw(law, Purpose.TARGET) for depth, law in enumerate(laws)]
        tree = DraftTree.chain(said[:2], "x")
        assert Match()(tree, lambda node: laws[node + 1], stream) == Verdict((0, 1), said[2])


def test_probes_are_never_accepted() -> None:
    tree = DraftTree.of([1, 1], [ROOT, 0], "x", probes=[True, True])
    for verifier in (Match(), Recursive()):
        assert verifier(tree, constant(Point(1, 3)), KeyedStream(0)) == Verdict((), 1)


def test_a_node_without_a_law_is_refused_where_laws_are_needed() -> None:
    with pytest.raises(DraftError, match="node 0 carries no law"):
        Recursive()(DraftTree.chain([1], "x"), constant(law_of(1, 1)), KeyedStream(0))


@pytest.mark.parametrize(("name", "draw", "needs_laws"), [("match", "coupled", False), ("recursive", "sampled", True)])
def test_the_table_makes_verifiers_by_name(name: str, draw: str, needs_laws: bool) -> None:
    made = make_verifier(name)
    assert (made.draw, made.needs_laws, made.lossless) == (draw, needs_laws, True)
    assert isinstance(made, VERIFIERS[name])


def test_an_unknown_verifier_is_refused_by_name() -> None:
    with pytest.raises(UnknownName, match="unknown verifier 'topdown': choose from .*match.*recursive"):
        make_verifier("topdown")


def test_best_breaks_ties_by_id() -> None:
    """The order in which doubles draft, which the laws above rely on."""
    tokens: Sequence[int] = best(law_of(1, 3, 3, 1), 4)
    assert tokens == [1, 2, 0, 3]
