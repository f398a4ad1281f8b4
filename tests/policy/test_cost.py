"""Costs of a round: the curve between measured counts, and the best nodes against every set there is."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foredraft.core.protocols import Costs
from foredraft.core.tree import ROOT, DraftTree
from foredraft.policy.cost import chain_length, choices, pass_seconds


def test_the_curve_is_linear_between_measured_counts_and_beyond_them() -> None:
    curve = pass_seconds(Costs((1, 2, 4, 8), (1.0, 1.2, 1.4, 2.2)), 12)
    assert curve == pytest.approx((0.0, 1.0, 1.2, 1.3, 1.4, 1.6, 1.8, 2.0, 2.2, 2.4, 2.6, 2.8, 3.0))


def test_a_slow_moment_does_not_make_fewer_rows_dearer_than_more() -> None:
    assert pass_seconds(Costs((1, 2, 4), (1.0, 9.0, 2.0)), 4) == pytest.approx((0.0, 1.0, 2.0, 2.0, 2.0))


def test_one_measured_count_is_a_flat_curve_and_none_is_refused() -> None:
    assert pass_seconds(Costs((1,), (0.5,)), 3) == (0.0, 0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="nothing was measured"):
        pass_seconds(Costs(), 3)


@st.composite
def drafts(draw: st.DrawFn) -> tuple[DraftTree, list[float]]:
    """A tree of up to six nodes, and for each the chance that its path is accepted."""
    size = draw(st.integers(0, 6))
    parents = [draw(st.integers(ROOT, node - 1)) for node in range(size)]
    chances: list[float] = []
    for parent in parents:
        chances.append((1.0 if parent == ROOT else chances[parent]) * draw(st.floats(0.0, 1.0)))
    return DraftTree.of(list(range(size)), parents, "a"), chances


def closed(tree: DraftTree) -> list[tuple[int, ...]]:
    """Every set of nodes that holds the parents of its nodes."""
    sets = itertools.chain.from_iterable(itertools.combinations(range(len(tree)), n) for n in range(len(tree) + 1))
    return [nodes for nodes in sets if all(tree.parents[node] in (ROOT, *nodes) for node in nodes)]


@given(
    st.lists(drafts(), min_size=1, max_size=2), st.lists(st.floats(0.0, 1.0), min_size=15, max_size=15), st.floats(0, 9)
)
def test_no_set_of_nodes_gains_more(
    pairs: list[tuple[DraftTree, list[float]]], rises: list[float], rate: float
) -> None:
    curve = [0.0, *itertools.accumulate(rises)]
    trees, chances = [tree for tree, _ in pairs], [own for _, own in pairs]
    choice = choices(trees, chances, curve.__getitem__, 12).best(rate)

    def gain(sets: tuple[tuple[int, ...], ...]) -> float:
        tokens = sum(1 + sum(own[node] for node in nodes) for own, nodes in zip(chances, sets, strict=True))
        return tokens - rate * curve[len(trees) + sum(map(len, sets))]

    assert gain(choice.nodes) == pytest.approx(max(gain(sets) for sets in itertools.product(*map(closed, trees))))
    assert choice.tokens - rate * choice.seconds == pytest.approx(gain(choice.nodes))
    assert all(nodes in closed(tree) for nodes, tree in zip(choice.nodes, trees, strict=True))


def test_probes_are_paid_for_and_kept() -> None:
    """Their rows make the next one dear: 1 row more costs what it brings only without them."""
    tree = DraftTree.of([1, 2, 3], [ROOT, ROOT, ROOT], "w", probes=[True, True, False])
    curve = (0.0, 1.0, 1.1, 1.2, 3.0)
    assert choices([tree], [[0.0, 0.0, 0.9]], curve.__getitem__, 8).best(1.0).nodes == ((0, 1),)
    assert choices([tree.select([2])], [[0.9]], curve.__getitem__, 8).best(1.0).nodes == ((0,),)


def test_probes_below_a_draft_are_left_out() -> None:
    """Whether there is a row for them to follow is not known before the drafts are chosen."""
    tree = DraftTree.of([1, 2, 3, 4], [ROOT, 0, ROOT, 2], "w", probes=[False, True, True, True])
    chosen = choices([tree], [[0.0] * 4], (0.0, 1.0, 1.1, 1.2, 3.0).__getitem__, 8).best(1.0).nodes
    assert chosen == ((2, 3),)
    assert tree.select(chosen[0]).tokens == (3, 4)


# c, a -> the best g and its speed-up, of Leviathan et al. (2211.17192), theorem 3.8, for g up to 15 and a flat pass.
LEVIATHAN = {
    (0.02, 0.5): (4, 1.79),
    (0.02, 0.8): (11, 3.82),
    (0.05, 0.6): (4, 1.92),
    (0.05, 0.9): (13, 4.67),
    (0.1, 0.5): (2, 1.46),
    (0.1, 0.7): (4, 1.98),
    (0.2, 0.6): (2, 1.40),
    (0.2, 0.9): (7, 2.37),
}


@pytest.mark.parametrize(("cost", "acceptance"), LEVIATHAN)
def test_chains_are_as_long_as_leviathans(cost: float, acceptance: float) -> None:
    """At the rate that the best length attains, that length is the best: the fixed point."""
    length, speedup = LEVIATHAN[cost, acceptance]
    assert chain_length(acceptance, cost, lambda rows: 1.0, speedup, 15) == length
    rate = 1.0
    for _ in range(20):  # Dinkelbach's iteration finds it from plain decoding on
        found = chain_length(acceptance, cost, lambda rows: 1.0, rate, 15)
        rate = (1 - acceptance ** (found + 1)) / (1 - acceptance) / (found * cost + 1)
    assert (found, rate) == (length, pytest.approx(speedup, abs=0.006))


def test_nothing_is_drafted_where_a_step_costs_what_it_brings() -> None:
    assert chain_length(0.3, 0.3, lambda rows: 1.0, 1.0, 15) == 0
    assert chain_length(0.9, 0.0, float, 1.0, 15) == 0
