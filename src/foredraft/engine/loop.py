"""Generation, the page to read first: rounds until every sequence has finished.

A round drafts, checks the drafts in one pass of the model and commits what the model would have said anyway
(`core/round.py` spells it out). Everything else in foredraft is a way of guessing, of checking or of deciding how much.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from foredraft.core.events import Step
from foredraft.core.protocols import Costs, Model, Policy
from foredraft.core.round import CHUNK, run_round
from foredraft.core.sequence import Sequence as Seq

NO_COSTS = Costs()


def generate(
    model: Model, policy: Policy, sequences: Sequence[Seq], *, costs: Costs = NO_COSTS
) -> Iterator[tuple[Seq, Step]]:
    """Yields each sequence's steps as they happen; the sequences of one round share a pass of the model."""
    while active := [sequence for sequence in sequences if not sequence.finished]:
        yield from zip(active, run_round(model, policy, active, costs=costs), strict=True)


def prefill(model: Model, policy: Policy, sequence: Seq) -> Iterator[Step]:
    """Scores a prompt up to its last token without emitting, so that the cache can be forked for several choices."""
    while sequence.cache.length < len(sequence.committed) - 1:
        rest = len(sequence.committed) - 1 - sequence.cache.length
        yield from run_round(model, policy, [sequence], chunk=min(rest, CHUNK))
