"""Every bug in the table is caught by the check beside it, by a wide margin, and the right part passes that check."""

from __future__ import annotations

import pytest

from foredraft.audit import checks
from foredraft.audit.doubles import Without
from foredraft.audit.mutants import MUTANTS, Mutant, toy, try_mutant
from foredraft.audit.wrong import parts, ratio, verifiers
from foredraft.core.protocols import Laws, Verdict
from foredraft.core.stream import Stream
from foredraft.core.tree import ROOT, DraftTree
from foredraft.verify.recursive import Recursive


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_mutant_is_caught(mutant: Mutant) -> None:
    found = try_mutant(mutant)
    print(f"{found.name}: {found.distance:.4f} by {found.check}")
    assert found.caught, f"{found.name}: {found.distance} by {found.check}, or its right part fails"


def test_the_parts_that_mutants_change_are_right_as_they_stand() -> None:
    """A mutant is caught for its own line, not for the frame it stands in."""
    for check in (checks.law_of_a_sampled_chain, checks.law_of_sampled_siblings, checks.tokens_of_a_sampled_chain):
        assert not check(ratio.Ratio()).wrong
    assert not checks.law_of_a_sampled_chain(ratio.TargetNoiseCorrection()).wrong
    assert not checks.law_of_a_sampled_chain(ratio.BonusDropped()).wrong  # slow, not wrong
    assert not checks.law_of_a_sampled_chain(verifiers.Block()).wrong
    assert not checks.law_of_sampled_siblings(verifiers.Traversal()).wrong
    assert not checks.law_of_independent_siblings(verifiers.KSeq()).wrong
    assert not checks.law_of_siblings_of(Without).wrong
    assert not checks.law_of_the_loop(toy(parts.TreeRows)).wrong


def test_the_table_has_no_name_twice() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


class Ignoring(Recursive):
    """Judges sampled drafts as if they had been certain."""

    def __call__(self, tree: DraftTree, laws: Laws, stream: Stream) -> Verdict:
        return super().__call__(tree.with_point_laws(laws(ROOT).size), laws, stream)


def test_ignoring_q_costs_tokens_and_not_the_law() -> None:
    """Often called a bug; but what is drawn from p does not look at the draft."""
    for check in (checks.law_of_a_sampled_chain, checks.law_of_sampled_siblings, checks.law_of_independent_siblings):
        assert not check(Ignoring()).wrong
    assert checks.tokens_of_a_sampled_chain(Ignoring()).distance > 0.1
