"""The lossy verifiers: what they let stand, worked out by hand; that they are refused, and what they change."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cases import Double, Top, World, make_world, one_round
from foredraft.core.errors import UnknownName, UsageError
from foredraft.core.law import Law, Point, of_weights
from foredraft.core.protocols import Budget, Verdict, Verifier
from foredraft.core.stream import KeyedStream, Purpose
from foredraft.core.tree import ROOT, DraftTree
from foredraft.testing.exact import BranchingStream, distance, outcomes, plain
from foredraft.verify import make_verifier
from foredraft.verify.relaxed import Relaxed
from foredraft.verify.typical import Typical


def law_of(*weights: float) -> Law:
    return of_weights(np.arange(len(weights)), np.array(weights, dtype=np.float64), len(weights))


def paths(verifier: Verifier, tree: DraftTree, laws: dict[int, Law]) -> dict[tuple[int, ...], float]:
    found = outcomes(lambda chooser: verifier(tree, laws.__getitem__, BranchingStream(chooser)))
    lengths: dict[tuple[int, ...], float] = {}
    for verdict, chance in found.items():
        lengths[verdict.path] = lengths.get(verdict.path, 0.0) + chance
    return lengths


# --- typical --------------------------------------------------------------------------------------------------------


def test_the_threshold_by_hand() -> None:
    """Uniform over n tokens has entropy log n: the threshold is min(0.09, 0.3 / n)."""
    for count in (1, 2, 3, 4, 10):
        law = law_of(*[1.0] * count) if count > 1 else Point(0, 3)
        assert Typical().threshold(law) == pytest.approx(min(0.09, 0.3 / count))
    assert Typical(0.5, 0.9).threshold(law_of(1, 3)) == pytest.approx(0.5)
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert Typical(0.5, 0.6).threshold(law_of(1, 3)) == pytest.approx(0.6 * math.exp(-entropy))


def test_the_longest_typical_path_is_taken_and_of_equals_the_likeliest() -> None:
    """p = (.6, .35, .05) everywhere: the threshold is about .09 -> tokens 0 and 1 pass, 2 does not."""
    p = law_of(60, 35, 5)
    tree = DraftTree.of([2, 1, 0, 0, 1], [ROOT, ROOT, ROOT, 1, 2], "x")
    laws = dict.fromkeys(range(-1, 5), p)
    assert 0.05 < Typical().threshold(p) <= 0.09
    # Two paths of two: 1 0 with .35 x .6, and 0 1 with .6 x .35, equally likely: the first drafted.
    assert paths(Typical(), tree, laws) == pytest.approx({(1, 3): 1.0})
    likelier = DraftTree.of([1, 0, 1, 0], [ROOT, ROOT, 0, 1], "x")
    assert paths(Typical(), likelier, laws) == pytest.approx({(1, 3): 1.0})


def test_the_token_after_a_typical_path_is_drawn_from_the_target() -> None:
    p, after = law_of(1, 1), law_of(1, 3)
    verdicts = outcomes(
        lambda chooser: Typical()(DraftTree.chain([1], "x"), {ROOT: p, 0: after}.__getitem__, BranchingStream(chooser))
    )
    assert verdicts == pytest.approx({Verdict((0,), 0): 0.25, Verdict((0,), 1): 0.75})


# --- relaxed --------------------------------------------------------------------------------------------------------


def test_relaxed_follows_the_target_first_and_what_is_near_else() -> None:
    """p = (.5, .3, .2), ratio .6: token 1 is near, token 2 (.4 of the best) is not."""
    p = law_of(5, 3, 2)
    verifier = Relaxed(ratio=0.6)
    laws = {ROOT: p, 0: Point(0, 3), 1: Point(0, 3)}
    assert paths(verifier, DraftTree.of([2, 1], [ROOT] * 2, "x"), laws) == pytest.approx({(0,): 0.2, (1,): 0.8})
    assert paths(verifier, DraftTree.of([2], [ROOT], "x"), laws) == pytest.approx({(0,): 0.2, (): 0.8})


def test_relaxed_counts_ranks_ties_by_id() -> None:
    p = law_of(3, 3, 3, 1)
    laws = {ROOT: p, 0: Point(0, 4)}
    for token, top_k, near in ((0, 1, True), (1, 1, False), (1, 2, True), (2, 2, False), (2, 3, True), (3, 4, False)):
        found = paths(Relaxed(top_k, 0.9), DraftTree.of([token], [ROOT], "x"), laws)
        assert found.get((0,), 0.0) == pytest.approx(1.0 if near else p.prob(token)), (token, top_k)


def test_relaxed_says_its_own_token_with_the_noise_of_match() -> None:
    for seed in range(30):
        stream, p = KeyedStream(seed).at(4), law_of(1, 2, 1)
        assert Relaxed()(DraftTree(), lambda node, p=p: p, stream) == Verdict((), stream.draw(p, Purpose.TARGET))


# --- what they change -----------------------------------------------------------------------------------------------


def off(world: World, drafter: Double, verifier: Verifier) -> float:
    found = one_round(world, drafter, verifier, Budget(3, 3))
    return distance(found.texts, plain(world.target, world.request, world.stop))


@pytest.mark.parametrize("verifier", [Typical(), Relaxed()], ids=["typical", "relaxed"])
def test_lossy_ones_change_the_law_when_warm_and_nothing_when_greedy(verifier: Verifier) -> None:
    warm = make_world("unlike", "warm", vocab_size=3, max_tokens=3, stops=0, seed=77)
    assert off(warm, Top(warm.draft, (1, 1, 1)), verifier) > 0.05
    greedy = make_world("unlike", "greedy", vocab_size=3, max_tokens=3, stops=0, seed=77)
    assert off(greedy, Top(greedy.draft, (1, 1, 1)), verifier) == 0.0


@pytest.mark.parametrize("name", ["typical", "relaxed", "typical:epsilon=0.2,delta=0.4", "relaxed:top_k=2,ratio=0.3"])
def test_lossy_ones_must_be_allowed(name: str) -> None:
    with pytest.raises(UsageError, match=r"changes what the model says.*--allow-lossy"):
        make_verifier(name)
    assert not make_verifier(name, allow_lossy=True).lossless


def test_options_reach_the_verifier() -> None:
    assert make_verifier("typical:epsilon=0.2, delta=0.4", allow_lossy=True) == Typical(0.2, 0.4)
    assert make_verifier("relaxed:ratio=1,top_k=2", allow_lossy=True) == Relaxed(2, 1.0)
    assert make_verifier("typical:", allow_lossy=True) == Typical()


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("typical:eps=1", UnknownName, "unknown option of verifier 'typical': 'eps': choose from delta, epsilon"),
        ("match:eps=1", UnknownName, "choose from none"),
        ("typical:0.3", UnknownName, "choose from delta, epsilon"),
        ("relaxed:top_k=few", UsageError, "top_k of verifier 'relaxed' must be a whole number, not 'few'"),
        ("relaxed:ratio=much", UsageError, "ratio of verifier 'relaxed' must be a number, not 'much'"),
        ("relaxed:ratio=nan", UsageError, r"ratio of verifier 'relaxed' must be in \(0, 1\], not nan"),
        ("relaxed:top_k=0", UsageError, "top_k of verifier 'relaxed' must be at least 1, not 0"),
        ("relaxed:ratio=0", UsageError, "ratio"),
        ("typical:delta=1", UsageError, r"must be in \[0, 1\)"),
        ("typical:epsilon=inf", UsageError, r"must be in \[0, 1\)"),
        ("relaxed:ratio=1,ratio=1", UsageError, "'ratio' twice"),
    ],
)
def test_wrong_options_are_refused(text: str, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        make_verifier(text, allow_lossy=True)
