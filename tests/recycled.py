"""For tests of token recycling: what is asked of it, and the rows that it has learnt."""

from __future__ import annotations

from collections.abc import Sequence

from foredraft.core.protocols import Ask, Budget, Draw
from foredraft.core.rules import Rules
from foredraft.core.stream import KeyedStream
from foredraft.draft.recycling import Recycled
from foredraft.draft.successors import Context, Row, Successors

VOCAB = 6


def ask(state: Recycled, text: Sequence[int], rows: int = 8, depth: int = 8, draw: Draw = "coupled") -> Ask[Recycled]:
    return Ask(state, list(text), Rules(), Budget(rows, depth), draw, KeyedStream(0), VOCAB)


def rows_of(table: Successors | None) -> dict[Context, Row]:
    assert table is not None
    return {context: Row(tokens, probs) for context, tokens, probs in table.rows()}
