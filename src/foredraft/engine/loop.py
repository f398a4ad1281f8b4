"""Generation, the page to read first: rounds until every sequence has finished.

A round drafts, checks the drafts in one pass of the model and commits what the model would have said anyway
(`core/round.py` spells it out). Everything else in foredraft is a way of guessing, of checking or of deciding how much.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import islice

from foredraft.core.events import Step
from foredraft.core.protocols import AnyPolicy, Model
from foredraft.core.round import CHUNK, run_round
from foredraft.core.sequence import Sequence as Seq


def generate(
    model: Model, policy: AnyPolicy, sequences: Iterable[Seq], at_once: int = sys.maxsize
) -> Iterator[tuple[Seq, Step]]:
    """Yields each sequence's steps as they happen; `at_once` share a pass, and as one finishes the next begins."""
    waiting, active = (sequence for sequence in sequences if not sequence.finished), list[Seq]()
    while active := [*active, *islice(waiting, at_once - len(active))]:
        yield from zip(active, run_round(model, policy, active), strict=True)
        active = [sequence for sequence in active if not sequence.finished]


def prefill(model: Model, policy: AnyPolicy, sequence: Seq) -> Iterator[Step]:
    """Scores a prompt up to its last token without emitting, so that the cache can be forked for several choices."""
    while sequence.cache.length < len(sequence.committed) - 1:
        rest = len(sequence.committed) - 1 - sequence.cache.length
        yield from run_round(model, policy, [sequence], chunk=min(rest, CHUNK))
