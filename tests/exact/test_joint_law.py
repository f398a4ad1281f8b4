"""The proof: whatever is drafted, the joint law of the text is that of plain decoding, by exact enumeration.

Two levels. One round (most cases): every draft, every verdict on it, then plain decoding to the end. The real loop
(fewer, dearer): `testing.exact.speculated` over whole generations, cache, rules and stops included. In both the other
side is `testing.exact.plain`, which knows model, rules and stop and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from cases import EXACT, one_round
from foredraft.audit.exact import DRAFTERS, LOSSLESS, worlds
from foredraft.core.protocols import Budget
from foredraft.policy.constant import Constant
from foredraft.testing.exact import distance, plain, speculated
from foredraft.verify import make_verifier
from foredraft.verify.match import Match

# How often each drafter meets each variant of the rules: every time with other nets, length and stops.
TURNS = 2
VERIFIERS = [name for name in LOSSLESS if name != "sequoia"]  # which is `recursive` by another name


@pytest.mark.parametrize("name", DRAFTERS)
@pytest.mark.parametrize("verifier", VERIFIERS)
def test_one_round_says_what_plain_decoding_says(
    verifier: str, name: str, ledger: Callable[[str, float], None]
) -> None:
    kind = DRAFTERS[name]
    made = make_verifier(verifier)
    for world in worlds(name, TURNS):
        found = one_round(world, kind.make(world), made, Budget(kind.rows, kind.depth))
        worst = distance(found.texts, plain(world.target, world.request, world.stop))
        ledger(f"one round, {verifier}", worst)
        assert worst <= EXACT, f"{world.name}: total variation {worst}"


@pytest.mark.parametrize("name", DRAFTERS)
def test_match_is_exact_given_any_one_tree(name: str) -> None:
    """Its draws never look at the tree: each verdict has the probability of its tokens, tree by tree."""
    kind = DRAFTERS[name]
    for world in worlds(name, turns=1):
        for tree, _, verdicts in one_round(world, kind.make(world), Match(), Budget(kind.rows, kind.depth)).verdicts:
            for verdict, chance in verdicts.items():
                block = (*(tree.tokens[node] for node in verdict.path), verdict.token)
                plainly = math.prod(world.p(block[:end]).prob(token) for end, token in enumerate(block))
                assert abs(chance - plainly) <= EXACT, world.name
            assert abs(sum(verdicts.values()) - 1) <= EXACT


# The real loop multiplies the chances of every round: fewer nodes, three tokens, and every other variant.
LOOPED = [name for name in DRAFTERS if name not in ("none", "model_long_chain", "iid_tree", "random_tree")]
DEAR = ("iid_siblings", "without_exhausted")  # three draws a node: shorter texts


@pytest.mark.parametrize("name", LOOPED)
@pytest.mark.parametrize("verifier", VERIFIERS)
def test_the_loop_says_what_plain_decoding_says(verifier: str, name: str, ledger: Callable[[str, float], None]) -> None:
    kind = DRAFTERS[name]
    for world in worlds(name, turns=1, step=2, vocab_size=3, most=3 if name in DEAR else 4):
        policy = Constant(min(kind.rows, 3))
        found = speculated(world.target, kind.make(world), make_verifier(verifier), policy, world.request, world.stop)
        worst = distance(found, plain(world.target, world.request, world.stop))
        ledger(f"whole loop, {verifier}", worst)
        assert worst <= EXACT, f"{world.name}: total variation {worst}"


SEVERAL: dict[str, tuple[str, ...]] = {
    "points, then drawn": ("lookup_chain", "model_tree"),
    "drawn, then points": ("model_tree", "lookup_chain"),
    "two of points": ("lookup_tree", "top_tree"),
    "three": ("always_wrong", "lookup_chain", "without_tree"),
}


@pytest.mark.parametrize("case", SEVERAL)
@pytest.mark.parametrize("verifier", VERIFIERS)
def test_several_sources_say_together_what_plain_decoding_says(
    verifier: str, case: str, ledger: Callable[[str, float], None]
) -> None:
    """What was drawn by chance stands alone, what was not is joined."""
    names, met = SEVERAL[case], 0
    for world in worlds(names[0], turns=1, step=3, vocab_size=3, most=3):
        drafters = {name: DRAFTERS[name].make(world) for name in names}
        found = speculated(world.target, drafters, make_verifier(verifier), Constant(3), world.request, world.stop)
        worst = distance(found, plain(world.target, world.request, world.stop))
        ledger(f"several sources, {verifier}", worst)
        assert worst <= EXACT, f"{world.name}: total variation {worst}"
        met += 1
    assert met


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_the_cases_meet_what_makes_verifying_hard(verifier: str) -> None:
    """No case by case claim: over all worlds of a sampled tree, each of these happens somewhere."""
    met = dict.fromkeys(("accepted", "rejected", "impossible draft", "end token within a block", "exhausted draft"), 0)
    for name in ("without_exhausted", "without_tree"):
        kind = DRAFTERS[name]
        for world in worlds(name, TURNS):
            found = one_round(world, kind.make(world), make_verifier(verifier), Budget(kind.rows, kind.depth))
            for tree, _, verdicts in found.verdicts:
                law = world.laws(tree)(-1)
                met["impossible draft"] += any(law.prob(tree.tokens[node]) == 0 for node in tree.children(-1))
                met["exhausted draft"] += name == "without_exhausted" and len(tree) < 3
                for verdict in verdicts:
                    met["accepted"] += len(verdict.path) > 0
                    met["rejected"] += len(verdict.path) < tree.depth
                    met["end token within a block"] += any(
                        tree.tokens[node] in world.stop.rules.ids for node in verdict.path
                    )
    assert min(met.values()) > 20, met
