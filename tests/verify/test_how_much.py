"""How much each verifier accepts, by enumeration: who never accepts less than whom, and what the papers work out."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from cases import EXACT, NETS, VARIANTS, Double, Iid, Mixed, Top, Twice, Without, World, make_world, one_round
from foredraft.core.law import Law, of_weights, overlap
from foredraft.core.protocols import Budget, Verifier
from foredraft.core.tree import ROOT, DraftTree
from foredraft.testing.exact import BranchingStream, outcomes
from foredraft.verify.block import Block
from foredraft.verify.kseq import KSeq, best_rho
from foredraft.verify.match import Match
from foredraft.verify.recursive import Recursive, SpecInfer
from foredraft.verify.traversal import Traversal

# Where rounding may put two equal expectations.
SLACK = 1e-11
CHAINS: dict[str, Callable[[World], Double]] = {
    "chain of 2": lambda world: Without(world.draft, (1, 1)),
    "chain of 3": lambda world: Without(world.draft, (1, 1, 1)),
    "points": lambda world: Top(world.draft, (1, 1, 1)),
}
TREES: dict[str, Callable[[World], Double]] = {
    "without replacement": lambda world: Without(world.draft, (2, 1)),
    "with replacement": lambda world: Iid(world.draft, (2, 1)),
    "late": lambda world: Without(world.draft, (1, 2)),
    "points": lambda world: Top(world.draft, (2, 2)),
    "mixed": lambda world: Mixed(world.draft, (2, 2)),
    "duplicates": lambda world: Twice(world.draft, (2, 2)),
}


@cache
def world_of(nets: str, variant: str, seed: int) -> World:
    return make_world(nets, variant, vocab_size=3, max_tokens=4, stops=0, seed=seed)


WORLDS = [
    world_of(nets, variant, 900 + 20 * row + column)
    for row, nets in enumerate(NETS)
    for column, variant in enumerate(VARIANTS)
]


def tokens(world: World, drafter: Double, verifier: Verifier) -> float:
    return one_round(world, drafter, verifier, Budget(6, 3)).mean_tokens


def gains_of(cases: dict[str, Callable[[World], Double]], name: str, better: Verifier, other: Verifier) -> list[float]:
    """How many more tokens a pass the better verifier yields, world by world."""
    return [tokens(world, cases[name](world), better) - tokens(world, cases[name](world), other) for world in WORLDS]


@pytest.mark.parametrize("name", CHAINS)
def test_block_verification_yields_no_less_than_token_by_token(name: str) -> None:
    gains = gains_of(CHAINS, name, Block(), Recursive())
    assert min(gains) >= -SLACK
    assert (max(gains) > 0.01) == (name != "points")  # where nothing was drawn there is nothing to gain
    print(f"block on {name}: {len(gains)} worlds, {np.mean(gains):+.4f} tokens a pass, at most {max(gains):+.4f}")


@pytest.mark.parametrize("name", TREES)
def test_traversal_yields_no_less_than_top_down(name: str) -> None:
    gains = gains_of(TREES, name, Traversal(), Recursive())
    assert min(gains) >= -SLACK
    assert (max(gains) > 0.001) == (name not in ("points", "duplicates"))
    print(f"traversal on {name}: {len(gains)} worlds, {np.mean(gains):+.4f} tokens a pass, at most {max(gains):+.4f}")


@pytest.mark.parametrize("verifier", [Block(), Traversal(), KSeq(), SpecInfer()], ids=lambda one: type(one).__name__)
def test_a_tree_without_chance_yields_the_probability_of_its_paths(verifier: Verifier) -> None:
    """E[tokens] = 1 + sum over nodes of p(path): what no verifier can exceed."""
    for world in WORLDS[::3]:
        found = one_round(world, Top(world.draft, (2, 2)), verifier, Budget(6, 2))
        ((tree, _, _),) = found.verdicts
        paths = (tuple(tree.tokens[step] for step in tree.path(node)) for node in range(len(tree)))
        due = 1 + sum(math.prod(world.p(path[:end]).prob(token) for end, token in enumerate(path)) for path in paths)
        assert found.mean_tokens == pytest.approx(due, abs=EXACT), world.name


# --- by hand --------------------------------------------------------------------------------------------------------


def law_of(*weights: float) -> Law:
    return of_weights(np.arange(len(weights)), np.array(weights, dtype=np.float64), len(weights))


def accepted(verifier: Verifier, p: Law, q: Law, tree_of: Callable[[list[int]], DraftTree], nodes: int) -> float:
    """Drafts accepted in expectation where neither law depends on the text, over all tokens drawn from q."""

    def run(chooser):  # type: ignore[no-untyped-def]
        ids, probs = q.support()
        drawn = [int(ids[chooser.choose(list(map(float, probs)))]) for _ in range(nodes)]
        return len(verifier(tree_of(drawn), lambda node: p, BranchingStream(chooser)).path)

    return sum(length * chance for length, chance in outcomes(run).items())


def test_the_example_of_the_block_paper() -> None:
    """2403.10444, section 2: p = (1/3, 2/3), q = (2/3, 1/3), two drafts. Token by token 10/9 are accepted, as a block
    11/9."""
    p, q = law_of(1, 2), law_of(2, 1)

    def chain(drawn: list[int]) -> DraftTree:
        return DraftTree.chain(drawn, "x", laws=[q, q])

    assert accepted(Recursive(), p, q, chain, 2) == pytest.approx(10 / 9, abs=EXACT)
    for verifier in (Block(), Traversal()):
        assert accepted(verifier, p, q, chain, 2) == pytest.approx(11 / 9, abs=EXACT)


def test_one_block_by_hand() -> None:
    """The same laws, drafts 0 0. m_1 = 1/2, m_2 = 1/4; h_2 = m_2; h_1 = s / (s + 1 - m_1) with s = (2/6 - 1/3)+ = 0.
    So both are accepted with 1/4, else none, and the correction is (p - q)+: token 1."""
    p, q = law_of(1, 2), law_of(2, 1)
    tree = DraftTree.chain([0, 0], "x", laws=[q, q])
    lengths = outcomes(lambda chooser: len(Block()(tree, lambda node: p, BranchingStream(chooser)).path))
    assert lengths == pytest.approx({0: 3 / 4, 2: 1 / 4})


@pytest.mark.parametrize("k", [2, 3, 4])
def test_k_sequential_selection_accepts_what_it_should(k: int) -> None:
    """1 - (1 - b)^k of a run of k, b = sum min(q, p / rho); and rho lies where 1 - (1 - b)^k = rho b."""
    p, q = law_of(5, 3, 1, 1), law_of(1, 2, 3, 2)
    rho = best_rho(p.dense(), q.dense(), k)
    b = float(np.minimum(q.dense(), p.dense() / rho).sum())
    assert 1 - (1 - b) ** k == pytest.approx(rho * b, abs=1e-9)

    def siblings(drawn: list[int]) -> DraftTree:
        return DraftTree.of(drawn, [ROOT] * k, "x", laws=[q] * k)

    found = accepted(KSeq(), p, q, siblings, k)
    assert found == pytest.approx(1 - (1 - b) ** k, abs=EXACT)
    assert found > overlap(p, q)


def test_the_rho_of_two_laws_that_share_nothing_or_everything() -> None:
    same, other = law_of(1, 2, 1), law_of(1, 0, 0)
    assert best_rho(same.dense(), same.dense(), 3) == pytest.approx(1.0, abs=1e-9)
    assert 1.0 <= best_rho(np.array([0.0, 1.0]), np.array([1.0, 0.0]), 3) <= 3.0
    # One token, q certain of it: 1 - (1 - p / rho)^2 = p gives rho = (1 + sqrt(1 - p)).
    p = same.prob(0)
    assert best_rho(same.dense(), other.dense(), 2) == pytest.approx(1 + math.sqrt(1 - p), abs=1e-9)


def test_match_yields_less_than_any_ratio_for_independent_drafts() -> None:
    world = world_of("unlike", "warm", 77)
    drafter = Without(world.draft, (1, 1))
    yields = [tokens(world, drafter, verifier) for verifier in (Match(), Recursive(), Block())]
    assert yields == sorted(yields)
    assert yields[0] < yields[1]
