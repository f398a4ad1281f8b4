"""For tests of suffix decoding: requests of a drafter, and what it drafts."""

from __future__ import annotations

from collections.abc import Sequence

from foredraft.core.protocols import Ask, Budget, Draw, Request
from foredraft.core.rules import Rules
from foredraft.core.stream import KeyedStream
from foredraft.core.tree import DraftTree, check
from foredraft.draft.suffix import Suffix, SuffixState

VOCAB = 6


def ask(state: SuffixState, rows: int = 8, depth: int = 8, draw: Draw = "coupled") -> Ask[SuffixState]:
    return Ask(state, list(state.history.tokens), Rules(), Budget(rows, depth), draw, KeyedStream(0), VOCAB)


def opened(drafter: Suffix, text: Sequence[int], tenant: str = "") -> SuffixState:
    return drafter.open(Request(tuple(text), 0, tenant=tenant))


def said(drafter: Suffix, text: Sequence[int], tenant: str = "") -> None:
    """A whole request."""
    drafter.close(opened(drafter, text, tenant))


def draft(drafter: Suffix, state: SuffixState, rows: int = 8, depth: int = 8, draw: Draw = "coupled") -> DraftTree:
    (tree,) = drafter.propose([ask(state, rows, depth, draw)])
    check(tree, VOCAB, rows, depth, needs_laws=draw == "sampled")
    return tree
