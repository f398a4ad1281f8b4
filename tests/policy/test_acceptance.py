"""Calibrated chances: from what drafters claim to what comes true."""

from __future__ import annotations

import math

import numpy as np
import pytest

from foredraft.core.tree import ROOT, DraftTree
from foredraft.policy.acceptance import CEILING, MOST_PRIOR, PRIOR, Acceptance, Tally


def chances(acceptance: Acceptance, tree: DraftTree) -> list[float]:
    return acceptance.look(tree)[1]


def learn(acceptance: Acceptance, tree: DraftTree, *tokens: int) -> None:
    acceptance.learn(tree, tokens)


def chain(*claimed: float, source: str = "a") -> DraftTree:
    """A chain whose drafter claims these chances, each given the one before."""
    score = np.cumsum(np.log(claimed))
    return DraftTree.chain(list(range(len(claimed))), source, score=list(map(float, score)))


def test_before_anything_was_seen_drafters_are_believed() -> None:
    assert chances(Acceptance(100), chain(0.5, 0.4)) == pytest.approx([0.5, 0.2])


def test_certainty_is_not_believed() -> None:
    assert chances(Acceptance(100), chain(1.0)) == [CEILING]


def test_a_path_that_its_drafter_calls_impossible_keeps_a_chance() -> None:
    """What hangs below has a chance given its parent, so that of the parent must not be nothing."""
    tree = DraftTree.chain([0] * 24, "a", score=[-100.0 * depth for depth in range(1, 25)])
    found = chances(Acceptance(100, Acceptance(100)), tree)
    assert all(0 < below <= above for above, below in zip(found, found[1:], strict=False))


@pytest.mark.parametrize(("claimed", "trials"), [(0.5, 2 * PRIOR), (0.1, 10 * PRIOR), (1e-6, MOST_PRIOR)])
def test_one_trial_counts_beside_as_many_as_hold_the_hits_of_the_prior(claimed: float, trials: float) -> None:
    """And beside no more than MOST_PRIOR, or what is called impossible could never be learnt."""
    acceptance = Acceptance(1e9)
    learn(acceptance, chain(claimed), 0)
    assert chances(acceptance, chain(claimed)) == pytest.approx([(1 + trials * claimed) / (1 + trials)])


def test_a_chain_teaches_up_to_where_it_is_wrong() -> None:
    """The first miss is a trial, what hangs below it is none."""
    acceptance = Acceptance(1e9)
    learn(acceptance, chain(0.5, 0.5, 0.5), 0, 9, 9)
    assert {where[1]: (tally.trials, tally.hits) for where, tally in acceptance.tallies.items()} == {
        1: (1, 1),
        2: (1, 0),
    }


def test_siblings_are_trials_all() -> None:
    tree = DraftTree.of([1, 2, 3], [ROOT, ROOT, 1], "a", score=[math.log(0.6), math.log(0.3), math.log(0.2)])
    acceptance = Acceptance(1e9)
    learn(acceptance, tree, 2, 3)
    assert sum(tally.trials for tally in acceptance.tallies.values()) == 3
    assert sum(tally.hits for tally in acceptance.tallies.values()) == 2


def test_siblings_promise_one_token_together() -> None:
    tree = DraftTree.of([1, 2, 3], [ROOT, ROOT, 1], "a", score=[math.log(0.9), math.log(0.9), math.log(0.45)])
    found = chances(Acceptance(100), tree)
    assert found[0] + found[1] == pytest.approx(CEILING)
    assert found[2] / found[1] == pytest.approx(0.5)


def test_estimates_come_to_the_truth_whatever_was_claimed() -> None:
    """Twin: a drafter that claims 0.9 and is right every third time, and one that claims 0.2 and is right mostly."""
    draw, acceptance = np.random.default_rng(0), Acceptance(500)
    for _ in range(1500):
        learn(acceptance, chain(0.9, source="boaster"), 0 if draw.random() < 1 / 3 else 9)
        learn(acceptance, chain(0.2, source="modest"), 0 if draw.random() < 0.8 else 9)
    assert chances(acceptance, chain(0.9, source="boaster")) == pytest.approx([1 / 3], abs=0.06)
    assert chances(acceptance, chain(0.2, source="modest")) == pytest.approx([0.8], abs=0.06)


def test_agreement_is_counted_apart() -> None:
    acceptance = Acceptance(1e9)
    for _ in range(100):
        learn(acceptance, chain(0.5, source="a+b"), 0)
        learn(acceptance, chain(0.5, source="a"), 9)
    assert chances(acceptance, chain(0.5, source="a+b"))[0] > 0.9
    assert chances(acceptance, chain(0.5, source="a"))[0] < 0.1


def test_what_a_request_has_not_seen_it_takes_from_its_tenant() -> None:
    tenant = Acceptance(1e9)
    for _ in range(1000):
        learn(tenant, chain(0.5), 9)
    request = Acceptance(1e9, tenant)
    assert chances(request, chain(0.5))[0] < 0.01
    for _ in range(int(4 * MOST_PRIOR)):
        learn(request, chain(0.5), 0)
    assert chances(request, chain(0.5))[0] > 0.8
    assert chances(tenant, chain(0.5))[0] < 0.5


def test_old_trials_are_forgotten() -> None:
    tally = Tally()
    for _ in range(200):
        tally.add(True, 20)
    for _ in range(60):
        tally.add(False, 20)
    assert tally.trials == pytest.approx(20, rel=0.01)
    assert tally.hits / tally.trials < 0.06


def siblings(*sources: str, claimed: float = 0.36, probes: tuple[bool, ...] = ()) -> DraftTree:
    """Of the root, each another token."""
    size = len(sources)
    probes = probes or (False,) * size
    return DraftTree(tuple(range(size)), (ROOT,) * size, (math.log(claimed),) * size, sources, (None,) * size, probes)


def test_who_looks_things_up_is_believed_less_alone_and_more_the_longer_it_was_right() -> None:
    """And what came true of claims decides soon after."""
    new = Acceptance(1e9)
    assert chances(new, chain(0.36, source="suffix")) == pytest.approx([0.36**1.2])
    for sources in ("block", "recycling", "recycling+suffix", "block+suffix"):
        assert chances(new, chain(0.36, source=sources)) == pytest.approx([0.36])
    for sources in ("recycling", "block+suffix"):
        found = chances(new, chain(*5 * [0.36], source=sources))
        given = [found[0], *(below / above for above, below in zip(found, found[1:], strict=False))]
        assert given == pytest.approx([0.36, 0.36**0.85, 0.36**0.75, 0.36**0.6, 0.36**0.6])
    assert chances(new, chain(0.36, 0.36, source="block")) == pytest.approx([0.36, 0.36**2])
    for _ in range(500):
        learn(new, chain(0.36, source="suffix"), 0)
    assert chances(new, chain(0.36, source="suffix"))[0] > 0.9


def test_a_node_is_doubted_where_the_better_informed_drafted_others() -> None:
    new = Acceptance(1e9)
    believed, doubted = pytest.approx(0.36), pytest.approx(0.36**2)
    assert chances(new, siblings("block", "recycling")) == [believed, doubted]
    assert chances(new, siblings("recycling+suffix", "model")) == [doubted, believed]
    assert chances(new, siblings("recycling", "suffix")) == [believed, doubted]
    assert chances(new, siblings("a", "block+recycling")) == [believed, believed]  # of `a` nothing is known
    assert chances(new, siblings("suffix", "a")) == [pytest.approx(0.36**1.2), believed]
    assert chances(new, siblings("block", "eagle3")) == [believed, believed]
    assert chances(new, siblings("recycling", "recycling+suffix")) == [believed, believed]


def test_a_probe_casts_no_doubt_and_children_of_others_do_not_either() -> None:
    new = Acceptance(1e9)
    assert chances(new, siblings("block", "recycling", probes=(True, False)))[1] == pytest.approx(0.36)
    sources = ("recycling", "recycling", "block")
    scores = (math.log(0.4), math.log(0.3), math.log(0.2))
    below = DraftTree((1, 2, 3), (ROOT, ROOT, 0), scores, sources, (None,) * 3, (False,) * 3)
    assert chances(new, below)[:2] == pytest.approx([0.4, 0.3])


def test_doubted_nodes_are_counted_apart() -> None:
    counts = Acceptance(1e9)
    for _ in range(50):
        learn(counts, siblings("block", "recycling"), 0)
        learn(counts, siblings("recycling"), 0)
    assert chances(counts, siblings("recycling"))[0] > 0.8
    assert chances(counts, siblings("block", "recycling"))[1] < 0.1
    assert {where[:2] for where in counts.counts()} == {("block", 1), ("recycling", -1), ("recycling", 1)}
