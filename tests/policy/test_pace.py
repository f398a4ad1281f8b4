"""What is thought of a tree, and of one that it grew from."""

from __future__ import annotations

import math

import pytest

from foredraft.core.tree import ROOT, DraftTree, join
from foredraft.policy.acceptance import Acceptance
from foredraft.policy.cost import choices
from foredraft.policy.pace import Best, Look, Pace, Tenant, nothing


def tree_of(*tokens: int, source: str, claimed: float = 0.36, probes: int = 0) -> DraftTree:
    """Children of the root; the last `probes` of them are no drafts."""
    size = len(tokens)
    flags = (False,) * (size - probes) + (True,) * probes
    return DraftTree(tokens, (ROOT,) * size, (math.log(claimed),) * size, (source,) * size, (None,) * size, flags)


def best_of(tree: DraftTree) -> Best:
    """All of the tree, as passes that cost nothing have it."""
    chances = Acceptance(1e9).look(tree)[1]
    found = choices([tree], [chances], lambda rows: 0.0, 32)
    gains = found.gains(1.0)
    return Best(tree, found, gains, len(gains) - 1, found.of(len(gains) - 1), chances)


def test_who_shows_that_others_are_wrong_has_added_what_would_have_been_expected_of_them() -> None:
    alone, other = tree_of(1, source="recycling"), tree_of(2, source="block")
    before, after = best_of(alone), best_of(join([alone, other]))
    assert before.choice.tokens == pytest.approx(1.36)
    assert after.tokens_of(before) == pytest.approx(1.0 + 0.36**2)
    assert after.choice.tokens - after.tokens_of(before) == pytest.approx(0.36)


def test_where_nothing_was_added_nothing_is_gained() -> None:
    same = best_of(tree_of(1, 2, source="recycling"))
    assert same.tokens_of(same) == same.choice.tokens
    empty = nothing(1.0, 1.0)
    assert empty.tokens_of(empty) == same.tokens_of(empty) == 1.0


def test_probes_are_no_tokens() -> None:
    alone = tree_of(1, 2, source="jacobi", probes=1)
    before, after = best_of(alone), best_of(join([alone, tree_of(3, source="block")]))
    assert before.choice.nodes == ((0, 1),)
    assert after.tokens_of(before) == pytest.approx(before.choice.tokens) == pytest.approx(1.36)


def test_of_equal_siblings_that_became_one_stands_what_was_thought() -> None:
    alone = tree_of(1, 1, source="recycling")
    before, after = best_of(alone), best_of(join([alone, tree_of(3, source="block")]))
    assert after.tokens_of(before) == before.choice.tokens


def test_doubt_does_not_make_a_source_a_boaster() -> None:
    """Its claims are what they are worth where nobody who knows more has drafted."""
    pace = Pace(Acceptance(1e9), Tenant().worths, tokens=8.0, seconds=8.0, drawn=False)
    tree = join([tree_of(1, source="recycling"), tree_of(2, source="block")])
    pace.look = Look(tree, *pace.acceptance.look(tree))
    pace.asked = {"recycling": 0.0, "block": 0.0}
    for _ in range(50):
        pace.correct()
    assert pace.worth("recycling").modesty == pace.worth("block").modesty == 1.0
