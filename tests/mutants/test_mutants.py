"""Every bug in the table is caught by the check beside it, by a wide margin, and the right part passes that check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest

from cases import Without
from foredraft.core import stop
from foredraft.core.rules import Rules
from foredraft.core.stream import KeyedStream
from foredraft.models.toy import ToyModel
from foredraft.verify.block import Block
from foredraft.verify.kseq import KSeq
from foredraft.verify.recursive import Recursive
from foredraft.verify.traversal import Traversal
from mutants import checks, wrong
from mutants import wrong_verifiers as others
from mutants.checks import TARGET, Finding

# A mutant must be further off than this, whatever the check measures: no near miss counts as caught.
MATERIAL = 0.01


@dataclass(frozen=True)
class Mutant:
    name: str
    check: Callable[[Any], Finding]
    right: Any
    wrong: Any


def counting_with(step: Any) -> Callable[[], Rules]:
    """The rules of checks.counting, with a penalty of another make."""
    return lambda: Rules((step(0.8),), temperature=0.9, top_p=0.9)


def toy(make: type[ToyModel]) -> ToyModel:
    return make(TARGET, context=24)


MUTANTS = [
    # verifiers
    Mutant("relu missing", checks.law_of_a_sampled_chain, Recursive(), wrong.NoRelu()),
    Mutant("correction from p", checks.law_of_a_sampled_chain, Recursive(), wrong.NoResidual()),
    Mutant("correction from p among siblings", checks.law_of_sampled_siblings, Recursive(), wrong.NoResidual()),
    Mutant("q row off by one", checks.law_of_a_sampled_chain, Recursive(), wrong.NextQ()),
    Mutant("p row off by one", checks.law_of_a_sampled_chain, Recursive(), wrong.NextP()),
    Mutant("bonus drawn from q", checks.law_of_a_sampled_chain, Recursive(), wrong.BonusFromQ()),
    Mutant("inverted ratio", checks.law_of_a_sampled_chain, Recursive(), wrong.InvertedRatio()),
    Mutant("ratio at the sampled token", checks.law_of_a_sampled_chain, Recursive(), wrong.RatioOfAnotherToken()),
    Mutant("argmax test, then sample", checks.law_of_a_sampled_chain, Recursive(), wrong.ArgmaxThenSample()),
    Mutant("top-p at the bonus only", checks.law_of_nuclei, wrong.TopPEverywhere(), wrong.TopPAtTheBonus()),
    Mutant("bonus dropped", checks.tokens_of_a_sampled_chain, Recursive(), wrong.BonusDropped()),
    # block
    Mutant("ends at the first failure", checks.law_of_a_sampled_chain, Block(), others.FirstFailure()),
    Mutant("mass of one token", checks.law_of_a_sampled_chain, Block(), others.MassOfOneToken()),
    Mutant("mass cut where it is used", checks.law_of_a_sampled_chain, Block(), others.MassUnclipped()),
    Mutant("mass for chance", checks.law_of_a_sampled_chain, Block(), others.MassForChance()),
    Mutant("block residual without mass", checks.law_of_a_long_sampled_chain, Block(), others.ResidualWithoutMass()),
    Mutant("block residual without relu", checks.law_of_a_sampled_chain, Block(), others.ResidualWithoutRelu()),
    Mutant("block residual one row off", checks.law_of_a_sampled_chain, Block(), others.ResidualRowOff()),
    Mutant("block bonus from q", checks.law_of_a_sampled_chain, Block(), others.BlockBonusFromQ()),
    Mutant("dropped after the draw, in a block", checks.law_of_a_block_of, wrong.Sampled, wrong.Dropped),
    # traversal
    Mutant("nothing handed down", checks.law_of_sampled_siblings, Traversal(), others.NothingHandedDown()),
    Mutant("nothing handed up", checks.law_of_sampled_siblings, Traversal(), others.NothingHandedUp()),
    Mutant("mass not in the residual", checks.law_of_sampled_siblings, Traversal(), others.MassNotInTheResidual()),
    Mutant("residual not taken", checks.law_of_sampled_siblings, Traversal(), others.ResidualNotTaken()),
    Mutant("last sibling first", checks.law_of_sampled_siblings, Traversal(), others.LastSiblingFirst()),
    Mutant("law of the first sibling", checks.law_of_three_sampled_siblings, Traversal(), others.FirstSiblingsLaw()),
    Mutant("row of the parent", checks.law_of_sampled_siblings, Traversal(), others.ParentsRow()),
    Mutant("sorted after the draw, traversed", checks.law_of_a_traversal_of, wrong.Sampled, wrong.Sorted),
    # k-sequential selection
    Mutant("rho is one", checks.law_of_independent_siblings, KSeq(), others.RhoIsOne()),
    Mutant("rho of one fewer", checks.law_of_independent_siblings, KSeq(), others.RhoOfOneFewer()),
    Mutant("residual of one", checks.law_of_independent_siblings, KSeq(), others.ResidualOfOne()),
    Mutant("residual as if one", checks.law_of_independent_siblings, KSeq(), others.ResidualAsIfOne()),
    Mutant("one law for siblings without it", checks.law_of_a_selection_of, wrong.Independent, wrong.NotRenormalised),
    # lossy ones that say they are not
    Mutant("typical called lossless", checks.law_of_points, Recursive(), others.TypicalCalledLossless()),
    Mutant("relaxed called lossless", checks.law_of_points, Recursive(), others.RelaxedCalledLossless()),
    # drafters
    Mutant("raw q told, truncated q drawn", checks.law_of_a_chain_of, wrong.Truncated, wrong.RawLaw),
    Mutant("q at another temperature", checks.law_of_a_chain_of, wrong.Sampled, wrong.OtherTemperature),
    Mutant("siblings sorted after the draw", checks.law_of_siblings_of, wrong.Sampled, wrong.Sorted),
    Mutant("unlikely drafts dropped after the draw", checks.law_of_a_chain_of, wrong.Sampled, wrong.Dropped),
    Mutant("equal siblings dropped after the draw", checks.law_of_siblings_of, wrong.Independent, wrong.Deduplicated),
    Mutant("sibling law not renormalised", checks.law_of_siblings_of, wrong.Sampled, wrong.NotRenormalised),
    Mutant("padding left in the draft's law", checks.law_of_a_chain_of, wrong.Padded, wrong.PaddingDrawn),
    Mutant(
        "coupled draft taken for a sampled one",
        checks.first_tokens_of_independent_drafts,
        wrong.Sampled,
        wrong.Coupled,
    ),
    # rules
    Mutant(
        "penalties of rejected drafts kept",
        checks.law_with_counted_drafts,
        checks.counting,
        counting_with(wrong.MutablePenalty),
    ),
    Mutant("siblings share rules", checks.rules_of_siblings, checks.counting, counting_with(wrong.MutablePenalty)),
    Mutant("siblings share counts", checks.rules_of_siblings, checks.counting, counting_with(wrong.SharedCounts)),
    # models and caches
    Mutant("ties to the highest id", checks.greedy_ties, partial(ToyModel), wrong.LastArgmax),
    Mutant(
        "padding of the vocabulary alive",
        checks.law_of_a_padded_vocabulary,
        wrong.Padding(TARGET, -np.inf),
        wrong.Padding(TARGET, 0.0),
    ),
    Mutant("wrong rows kept", checks.law_of_the_loop, toy(ToyModel), toy(wrong.FirstRows)),
    Mutant("position is the row", checks.rows_of_a_tree, toy(wrong.TreeRows), toy(wrong.PositionOfRow)),
    Mutant("mask without self", checks.rows_of_a_tree, toy(wrong.TreeRows), toy(wrong.BlindToItself)),
    Mutant("causal mask over a tree", checks.rows_of_a_tree, toy(ToyModel), toy(wrong.CausalRows)),
    # stops
    Mutant("run on past the end token", checks.blocks_end_like_single_tokens, stop.trim, wrong.past_the_end),
    Mutant("cap hides an earlier stop", checks.blocks_end_like_single_tokens, stop.trim, wrong.cap_first),
    # randomness
    Mutant("one uniform for all positions", checks.blocks_of_keyed_streams, KeyedStream, wrong.OneUniform),
    Mutant("draft's uniform reused to accept", checks.blocks_of_keyed_streams, KeyedStream, wrong.ReusedUniform),
    Mutant("noise keyed by the round", checks.speculation_changes_no_text, KeyedStream, wrong.KeyedByRound),
    Mutant("a uniform of zero", checks.the_impossible_never_passes, KeyedStream, wrong.ZeroUniform),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_mutant_is_caught(mutant: Mutant) -> None:
    right, caught = mutant.check(mutant.right), mutant.check(mutant.wrong)
    print(f"{mutant.name}: {caught.distance:.4f} by {mutant.check.__name__} (right: {right.distance:.1e})")
    assert not right.wrong, f"the right part fails {mutant.check.__name__}: {right.distance}"
    assert caught.wrong, f"{mutant.name} passes {mutant.check.__name__}"
    assert caught.distance >= MATERIAL


def test_the_parts_that_mutants_change_are_right_as_they_stand() -> None:
    """A mutant is caught for its own line, not for the frame it stands in."""
    for check in (checks.law_of_a_sampled_chain, checks.law_of_sampled_siblings, checks.tokens_of_a_sampled_chain):
        assert not check(wrong.Ratio()).wrong
    assert not checks.law_of_a_sampled_chain(wrong.TargetNoiseCorrection()).wrong
    assert not checks.law_of_a_sampled_chain(wrong.BonusDropped()).wrong  # slow, not wrong
    assert not checks.law_of_a_sampled_chain(others.Block()).wrong
    assert not checks.law_of_sampled_siblings(others.Traversal()).wrong
    assert not checks.law_of_independent_siblings(others.KSeq()).wrong
    assert not checks.law_of_siblings_of(Without).wrong
    assert not checks.law_of_the_loop(toy(wrong.TreeRows)).wrong


def test_the_table_has_no_name_twice() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
