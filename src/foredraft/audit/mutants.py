"""Mutants: right parts with one bug each, and the check that must tell them apart.

An audit that nothing could fail would prove nothing. So every check is shown parts with the bugs of this field, and it
must find each of them by a wide margin and pass the right part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from foredraft.audit import checks
from foredraft.audit.checks import TARGET, Finding
from foredraft.audit.wrong import drafters, parts, ratio, verifiers
from foredraft.core import stop
from foredraft.core.rules import Rules
from foredraft.core.stream import KeyedStream
from foredraft.models.toy import ToyModel
from foredraft.verify.block import Block
from foredraft.verify.kseq import KSeq
from foredraft.verify.recursive import Recursive
from foredraft.verify.traversal import Traversal

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

    def rules() -> Rules:
        return Rules((step(0.8),), temperature=0.9, top_p=0.9)

    rules.__doc__ = step.__doc__
    return rules


def toy(make: type[ToyModel]) -> ToyModel:
    return make(TARGET, context=24)


MUTANTS = [
    # verifiers
    Mutant("relu missing", checks.law_of_a_sampled_chain, Recursive(), ratio.NoRelu()),
    Mutant("correction from p", checks.law_of_a_sampled_chain, Recursive(), ratio.NoResidual()),
    Mutant("correction from p among siblings", checks.law_of_sampled_siblings, Recursive(), ratio.NoResidual()),
    Mutant("q row off by one", checks.law_of_a_sampled_chain, Recursive(), ratio.NextQ()),
    Mutant("p row off by one", checks.law_of_a_sampled_chain, Recursive(), ratio.NextP()),
    Mutant("bonus drawn from q", checks.law_of_a_sampled_chain, Recursive(), ratio.BonusFromQ()),
    Mutant("inverted ratio", checks.law_of_a_sampled_chain, Recursive(), ratio.InvertedRatio()),
    Mutant("ratio at the sampled token", checks.law_of_a_sampled_chain, Recursive(), ratio.RatioOfAnotherToken()),
    Mutant("argmax test, then sample", checks.law_of_a_sampled_chain, Recursive(), ratio.ArgmaxThenSample()),
    Mutant("top-p at the bonus only", checks.law_of_nuclei, ratio.TopPEverywhere(), ratio.TopPAtTheBonus()),
    Mutant("bonus dropped", checks.tokens_of_a_sampled_chain, Recursive(), ratio.BonusDropped()),
    # block
    Mutant("ends at the first failure", checks.law_of_a_sampled_chain, Block(), verifiers.FirstFailure()),
    Mutant("mass of one token", checks.law_of_a_sampled_chain, Block(), verifiers.MassOfOneToken()),
    Mutant("mass cut where it is used", checks.law_of_a_sampled_chain, Block(), verifiers.MassUnclipped()),
    Mutant("mass for chance", checks.law_of_a_sampled_chain, Block(), verifiers.MassForChance()),
    Mutant("block residual without mass", checks.law_of_a_long_sampled_chain, Block(), verifiers.ResidualWithoutMass()),
    Mutant("block residual without relu", checks.law_of_a_sampled_chain, Block(), verifiers.ResidualWithoutRelu()),
    Mutant("block residual one row off", checks.law_of_a_sampled_chain, Block(), verifiers.ResidualRowOff()),
    Mutant("block bonus from q", checks.law_of_a_sampled_chain, Block(), verifiers.BlockBonusFromQ()),
    Mutant("dropped after the draw, in a block", checks.law_of_a_block_of, drafters.Sampled, drafters.Dropped),
    # traversal
    Mutant("nothing handed down", checks.law_of_sampled_siblings, Traversal(), verifiers.NothingHandedDown()),
    Mutant("nothing handed up", checks.law_of_sampled_siblings, Traversal(), verifiers.NothingHandedUp()),
    Mutant("mass not in the residual", checks.law_of_sampled_siblings, Traversal(), verifiers.MassNotInTheResidual()),
    Mutant("residual not taken", checks.law_of_sampled_siblings, Traversal(), verifiers.ResidualNotTaken()),
    Mutant("last sibling first", checks.law_of_sampled_siblings, Traversal(), verifiers.LastSiblingFirst()),
    Mutant("law of the first sibling", checks.law_of_three_sampled_siblings, Traversal(), verifiers.FirstSiblingsLaw()),
    Mutant("row of the parent", checks.law_of_sampled_siblings, Traversal(), verifiers.ParentsRow()),
    Mutant("sorted after the draw, traversed", checks.law_of_a_traversal_of, drafters.Sampled, drafters.Sorted),
    # k-sequential selection
    Mutant("row of the root", checks.law_of_independent_siblings, KSeq(), verifiers.RowOfTheRoot()),
    Mutant("rho is one", checks.law_of_independent_siblings, KSeq(), verifiers.RhoIsOne()),
    Mutant("rho of one fewer", checks.law_of_independent_siblings, KSeq(), verifiers.RhoOfOneFewer()),
    Mutant("residual of one", checks.law_of_independent_siblings, KSeq(), verifiers.ResidualOfOne()),
    Mutant("residual as if one", checks.law_of_independent_siblings, KSeq(), verifiers.ResidualAsIfOne()),
    Mutant(
        "one law for siblings without it", checks.law_of_a_selection_of, drafters.Independent, drafters.NotRenormalised
    ),
    # lossy ones that say they are not
    Mutant("typical called lossless", checks.law_of_points, Recursive(), verifiers.TypicalCalledLossless()),
    Mutant("relaxed called lossless", checks.law_of_points, Recursive(), verifiers.RelaxedCalledLossless()),
    # drafters
    Mutant("raw q told, truncated q drawn", checks.law_of_a_chain_of, drafters.Truncated, drafters.RawLaw),
    Mutant("q at another temperature", checks.law_of_a_chain_of, drafters.Sampled, drafters.OtherTemperature),
    Mutant("siblings sorted after the draw", checks.law_of_siblings_of, drafters.Sampled, drafters.Sorted),
    Mutant("unlikely drafts dropped after the draw", checks.law_of_a_chain_of, drafters.Sampled, drafters.Dropped),
    Mutant(
        "equal siblings dropped after the draw", checks.law_of_siblings_of, drafters.Independent, drafters.Deduplicated
    ),
    Mutant("sibling law not renormalised", checks.law_of_siblings_of, drafters.Sampled, drafters.NotRenormalised),
    Mutant("padding left in the draft's law", checks.law_of_a_chain_of, drafters.Padded, drafters.PaddingDrawn),
    Mutant(
        "coupled draft taken for a sampled one",
        checks.first_tokens_of_independent_drafts,
        drafters.Sampled,
        drafters.Coupled,
    ),
    # rules
    Mutant(
        "penalties of rejected drafts kept",
        checks.law_with_counted_drafts,
        checks.counting,
        counting_with(parts.MutablePenalty),
    ),
    Mutant("siblings share rules", checks.rules_of_siblings, checks.counting, counting_with(parts.MutablePenalty)),
    Mutant("siblings share counts", checks.rules_of_siblings, checks.counting, counting_with(parts.SharedCounts)),
    # models and caches
    Mutant("ties to the highest id", checks.greedy_ties, partial(ToyModel), parts.LastArgmax),
    Mutant(
        "padding of the vocabulary alive",
        checks.law_of_a_padded_vocabulary,
        parts.Padding(TARGET, -np.inf),
        parts.Padding(TARGET, 0.0),
    ),
    Mutant("wrong rows kept", checks.law_of_the_loop, toy(ToyModel), toy(parts.FirstRows)),
    Mutant("position is the row", checks.rows_of_a_tree, toy(parts.TreeRows), toy(parts.PositionOfRow)),
    Mutant("mask without self", checks.rows_of_a_tree, toy(parts.TreeRows), toy(parts.BlindToItself)),
    Mutant("causal mask over a tree", checks.rows_of_a_tree, toy(ToyModel), toy(parts.CausalRows)),
    # stops
    Mutant("run on past the end token", checks.blocks_end_like_single_tokens, stop.trim, parts.past_the_end),
    Mutant("cap hides an earlier stop", checks.blocks_end_like_single_tokens, stop.trim, parts.cap_first),
    # randomness
    Mutant("one uniform for all positions", checks.blocks_of_keyed_streams, KeyedStream, parts.OneUniform),
    Mutant("draft's uniform reused to accept", checks.blocks_of_keyed_streams, KeyedStream, parts.ReusedUniform),
    Mutant("noise keyed by the round", checks.speculation_changes_no_text, KeyedStream, parts.KeyedByRound),
    Mutant("a uniform of zero", checks.the_impossible_never_passes, KeyedStream, parts.ZeroUniform),
]


@dataclass(frozen=True)
class Caught:
    """What became of one mutant. distance: of its law from the right one, or what else the check measures."""

    name: str
    check: str
    distance: float
    caught: bool


def try_mutant(mutant: Mutant) -> Caught:
    """Shows the check its right part, which must pass, and the mutant, which must not."""
    right, wrong = mutant.check(mutant.right), mutant.check(mutant.wrong)
    caught = not right.wrong and wrong.wrong and wrong.distance >= MATERIAL
    return Caught(mutant.name, mutant.check.__name__, wrong.distance, caught)
