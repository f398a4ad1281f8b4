"""Several chains of one drafter, made a tree within its budget."""

from __future__ import annotations

from collections.abc import Sequence

from foredraft.core.tree import DraftTree, best, join


def merge(trees: Sequence[DraftTree], rows: int, depth: int) -> DraftTree:
    """One tree of at most `rows` nodes and `depth` from several: joined, then the likeliest nodes."""
    joined = join(trees)
    if joined.depth > depth:
        joined = joined.select(node for node, reached in enumerate(joined.depths) if reached <= depth)
    return best(joined, rows)
