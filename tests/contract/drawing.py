"""What the fakes share: choosing a token the way an ask wants it, and counting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from foredraft.core.law import Law
from foredraft.core.protocols import Ask
from foredraft.core.rules import Logits
from foredraft.core.sequence import Sequence as Seq
from foredraft.core.stream import Purpose
from foredraft.core.tree import DraftTree
from foredraft.engine.stats import Stats, stats


def choose(ask: Ask[Any], depth: int, law: Law) -> tuple[int, Law | None]:
    """The token at `depth` below the root (0 for its child), and the law to record."""
    here = ask.stream.ahead(depth)
    if ask.draw == "sampled":
        return here.draw(law, Purpose.DRAFT), law
    return here.draw(law, Purpose.TARGET) if ask.draw == "coupled" else law.mode(), None


def draft_chain(ask: Ask[Any], source: str, logits_after: Callable[[list[int]], Logits]) -> DraftTree:
    """A chain, each token drawn under the request's rules from the logits after the tokens drafted so far."""
    tokens: list[int] = []
    laws: list[Law] = []
    rules = ask.rules
    for depth in range(min(ask.budget.rows, ask.budget.depth)):
        token, law = choose(ask, depth, rules.law_of(logits_after(tokens)))
        tokens.append(token)
        laws += [law] if law is not None else []
        rules = rules.after(token)
    return DraftTree.chain(tokens, source, laws=laws or None)


def points(ask: Ask[Any], tokens: Sequence[int], source: str) -> DraftTree:
    """A chain chosen without chance, for any way of drawing."""
    tree = DraftTree.chain(tokens[: min(ask.budget.rows, ask.budget.depth)], source)
    return tree.with_point_laws(ask.vocab_size) if ask.draw == "sampled" else tree


def totals(sequences: Iterable[Seq]) -> Stats:
    return stats(step for sequence in sequences for step in sequence.steps)
