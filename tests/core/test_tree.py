"""Draft trees: checking, merging, cutting."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foredraft.core.errors import DraftError
from foredraft.core.law import Point, of_weights
from foredraft.core.tree import EMPTY, ROOT, DraftTree, check, join
from foredraft.draft.merge import merge

VOCAB = 5


@st.composite
def trees(draw: st.DrawFn, probes: bool = False) -> DraftTree:
    """A tree of up to ten nodes whose scores never rise from parent to child."""
    size = draw(st.integers(0, 10))
    tokens, parents, score = [], [], []
    for node in range(size):
        parent = draw(st.integers(ROOT, node - 1))
        parents.append(parent)
        tokens.append(draw(st.integers(0, VOCAB - 1)))
        score.append((0.0 if parent == ROOT else score[parent]) - draw(st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0])))
    flags = [probes and draw(st.booleans()) for _ in range(size)]
    return DraftTree.of(tokens, parents, draw(st.sampled_from("ab")), score=score, probes=flags)


def paths(tree: DraftTree) -> dict[tuple[int, ...], float]:
    """The token path of every node, and the best score of the nodes that say it."""
    found: dict[tuple[int, ...], float] = {}
    for node in range(len(tree)):
        path = tuple(tree.tokens[step] for step in tree.path(node))
        found[path] = max(found.get(path, -math.inf), tree.score[node])
    return found


def test_a_chain_is_a_tree_of_one_branch() -> None:
    chain = DraftTree.chain([4, 2, 2], "a")
    assert chain.parents == (ROOT, 0, 1)
    assert chain.depths == (1, 2, 3)
    assert chain.depth == 3
    assert chain.path(2) == (0, 1, 2)
    assert chain.children(ROOT) == (0,)
    assert chain.sources == ("a", "a", "a")
    assert chain.laws == (None, None, None)
    assert (len(EMPTY), EMPTY.depth, EMPTY.drafted, EMPTY.children(ROOT)) == (0, 0, 0, ())


def test_children_stand_in_draft_order_and_the_first_of_equals_answers() -> None:
    tree = DraftTree.of([3, 1, 1, 3], [ROOT, ROOT, ROOT, 0], "a")
    assert tree.children(ROOT) == (0, 1, 2)
    assert tree.child(ROOT, 1) == 1
    assert tree.child(ROOT, 2) is None
    assert tree.child(0, 3) == 3


def test_probes_are_never_children_and_not_drafts() -> None:
    tree = DraftTree.of([1, 1, 2], [ROOT, ROOT, 0], "a", probes=[True, False, False])
    assert tree.children(ROOT) == (1,)
    assert tree.child(ROOT, 1) == 1
    assert tree.drafted == 2


@given(trees(probes=True))
def test_children_and_parents_agree(tree: DraftTree) -> None:
    for node in range(-1, len(tree)):
        for child in tree.children(node):
            assert tree.parents[child] == node
            assert not tree.probes[child]
    children = [child for node in range(-1, len(tree)) for child in tree.children(node)]
    assert sorted(children) == [node for node in range(len(tree)) if not tree.probes[node]]
    for node in range(len(tree)):
        assert len(tree.path(node)) == tree.depths[node]


def test_point_laws_turn_guesses_into_drafts_a_ratio_can_judge() -> None:
    tree = DraftTree.chain([4, 2], "a", score=[-1.0, -2.0]).with_point_laws(VOCAB)
    assert tree.laws == (Point(4, VOCAB), Point(2, VOCAB))
    assert tree.score == (-1.0, -2.0)
    check(tree, VOCAB, 2, 2, needs_laws=True)


@given(trees(probes=True), st.data())
def test_select_keeps_the_chosen_nodes_and_their_order(tree: DraftTree, data: st.DataObject) -> None:
    chosen = data.draw(st.sets(st.integers(0, len(tree) - 1))) if len(tree) else set()
    closed = {step for node in chosen for step in tree.path(node)}
    kept = tree.select(closed)
    assert len(kept) == len(closed)
    for new, old in enumerate(sorted(closed)):
        assert [kept.tokens[step] for step in kept.path(new)] == [tree.tokens[step] for step in tree.path(old)]
        assert (kept.score[new], kept.probes[new]) == (tree.score[old], tree.probes[old])


SAMPLED = of_weights(np.array([0, 1]), np.array([1.0, 1.0]), VOCAB)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (DraftTree((1, 2), (ROOT,), (0.0,), ("a",), (None,), (False,)), "tuples of one length"),
        (DraftTree.chain([1, 1, 1], "a"), "3 nodes were drafted where 2 were asked for"),
        (DraftTree.of([1.0], [ROOT], "a"), "node 0 is 1.0 after -1: tokens and parents are plain ints"),  # type: ignore
        (DraftTree.of([1, 1], [ROOT, None], "a"), "node 1 is 1 after None"),  # type: ignore[list-item]
        (DraftTree.of([1, 1], [1, ROOT], "a"), "node 0 has parent 1"),
        (DraftTree.of([1], [0], "a"), "node 0 has parent 0"),
        (DraftTree.of([1], [-2], "a"), "node 0 has parent -2"),
        (DraftTree.of([VOCAB], [ROOT], "a"), f"token {VOCAB} lies outside the vocabulary of {VOCAB}"),
        (DraftTree.of([-1], [ROOT], "a"), "token -1 lies outside"),
        (DraftTree.of([2], [ROOT], "a", laws=[SAMPLED]), "node 0 carries a law from which its token 2"),
        (DraftTree.of([2], [ROOT], "a", laws=[Point(2, VOCAB + 1)]), "node 0 carries a law from which its token 2"),
    ],
)
def test_check_refuses_what_is_no_tree_within_the_budget(tree: DraftTree, message: str) -> None:
    with pytest.raises(DraftError, match=message):
        check(tree, VOCAB, rows=2, depth=2, needs_laws=False)


def test_check_refuses_deep_trees_and_missing_laws() -> None:
    chain = DraftTree.chain([1, 1], "a")
    check(chain, VOCAB, rows=2, depth=2, needs_laws=False)
    with pytest.raises(DraftError, match="reaches depth 2 where 1 was asked for"):
        check(chain, VOCAB, rows=2, depth=1, needs_laws=False)
    with pytest.raises(DraftError, match="node 0 carries no law, which the chosen verifier needs"):
        check(chain, VOCAB, rows=2, depth=2, needs_laws=True)
    probe = DraftTree.of([1], [ROOT], "a", probes=[True])
    check(probe, VOCAB, rows=1, depth=1, needs_laws=True)


@given(trees(), st.integers(0, 8), st.integers(0, 4))
def test_a_cut_is_the_best_tree_that_fits(tree: DraftTree, rows: int, depth: int) -> None:
    kept = merge([tree], rows, depth)
    check(kept, VOCAB, rows, depth, needs_laws=False)
    whole = {path: score for path, score in paths(tree).items() if len(path) <= depth}
    # With scores that never rise, the best closed set of nodes has the best scores of all.
    assert sorted(paths(kept).values()) == sorted(sorted(whole.values(), reverse=True)[:rows])


@given(trees(probes=True), trees(), st.integers(1, 12), st.integers(1, 5))
def test_merging_joins_equal_paths_and_keeps_ancestors(
    first: DraftTree, second: DraftTree, rows: int, depth: int
) -> None:
    joined = merge([first, second], rows, depth)
    check(joined, VOCAB, rows, depth, needs_laws=False)
    assert len(paths(joined)) == len(joined)  # no path twice
    assert not any(joined.probes)
    drafts = [node for node in range(len(first)) if not any(first.probes[step] for step in first.path(node))]
    offered = paths(first.select(drafts))
    for path, score in paths(second).items():
        offered[path] = max(offered.get(path, -math.inf), score)
    offered = {path: score for path, score in offered.items() if len(path) <= depth}
    for path, score in paths(joined).items():
        assert offered[path] == score
        assert len(path) == 1 or path[:-1] in paths(joined)
    assert len(joined) == min(rows, len(offered))


def test_merging_is_best_first_over_closed_sets() -> None:
    """Against every closed set of nodes of a small pair of trees: none of the same size has a better sum."""
    first = DraftTree.of([0, 1, 2], [ROOT, 0, ROOT], "a", score=[-1.0, -1.5, -2.0])
    second = DraftTree.of([2, 3, 0], [ROOT, 0, ROOT], "b", score=[-0.5, -0.75, -3.0])
    union = {(0,): -1.0, (0, 1): -1.5, (2,): -0.5, (2, 3): -0.75}
    for rows in range(1, 5):
        kept = paths(merge([first, second], rows, 4))
        closed = [
            nodes
            for nodes in itertools.combinations(union, rows)
            if all(len(path) == 1 or path[:-1] in nodes for path in nodes)
        ]
        assert sum(kept.values()) == max(sum(union[path] for path in nodes) for nodes in closed)


def test_a_joined_node_takes_its_best_score_and_all_its_sources() -> None:
    weak = DraftTree.chain([1, 2], "weak", score=[-2.0, -3.0])
    strong = DraftTree.chain([1, 3], "strong", score=[-1.0, -1.0])
    joined = merge([weak, strong], 3, 2)
    assert dict(zip(joined.tokens, joined.sources, strict=True)) == {1: "strong+weak", 2: "weak", 3: "strong"}
    assert joined.score[joined.tokens.index(1)] == -1.0


def test_a_tree_drawn_by_chance_is_neither_joined_nor_cut() -> None:
    tree = DraftTree.chain([1, 1], "a", laws=[SAMPLED, SAMPLED])
    assert merge([tree, EMPTY], 2, 2) == tree
    with pytest.raises(DraftError, match="cannot be joined"):
        merge([tree, DraftTree.chain([0], "b")], 4, 2)
    with pytest.raises(DraftError, match="cannot be cut"):
        merge([tree], 1, 2)


def test_point_laws_and_probes_survive_being_joined() -> None:
    first = DraftTree.chain([1, 2], "a").with_point_laws(4)
    window = DraftTree.of([3, 1], [ROOT, ROOT], "w", probes=[True, False]).with_point_laws(4)
    joined = join([first, window])
    assert joined.tokens == (1, 2, 3)
    assert joined.probes == (False, False, True)
    assert joined.laws == tuple(Point(token, 4) for token in (1, 2, 3))
    assert joined.sources == ("a+w", "a", "w")


def test_no_node_is_held_less_likely_than_one_below_it() -> None:
    weak = DraftTree.chain([1, 2], "weak", score=[-2.0, -3.0])
    strong = DraftTree.of([1, 2], [ROOT, 0], "strong", score=[-2.5, -1.0])
    assert join([weak, strong]).score == (-1.0, -1.0)
