"""Retrieval from a user's texts: what followed the end of the text there.

REST (He et al. 2311.08252): the longest end of the text that stands in a datastore, found in its suffix array by trying
shorter and shorter ones; what followed at each place goes into a trie, and the nodes that most places share are
drafted. Ours says how likely a node is (as `suffix` does) and takes an even sample of places where there are many.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from foredraft.core.errors import UsageError
from foredraft.core.protocols import Ask, Needs, News, Request
from foredraft.core.tree import EMPTY, DraftTree
from foredraft.draft import datastore
from foredraft.draft.datastore import SORTED, Datastore
from foredraft.draft.family import Family, Provided
from foredraft.draft.history import REACH
from foredraft.draft.matches import Places
from foredraft.draft.native import TWINS

DOUBT = 2.4
"""How much a match is doubted, divided by its length: what `suffix` does within a text; not measured for a corpus."""


@dataclass(frozen=True)
class Options:
    file: str = field(metadata={"help": "texts to retrieve from: a text file, or JSON lines (*.jsonl)"})
    n: int = field(default=16, metadata={"help": "tokens of context that must match, at most"})
    min: int = field(default=2, metadata={"help": "tokens of context that must match, at least"})
    min_prob: float = field(default=0.02, metadata={"help": "chance of acceptance below which nothing is drafted"})
    cache: str = field(default="", metadata={"help": "folder for the index; beside the file by default"})

    def __post_init__(self) -> None:
        if not self.file:
            raise UsageError("drafter 'corpus' needs file: write corpus:file=…")
        if not 1 <= self.min <= self.n <= SORTED:
            raise UsageError(f"corpus needs 1 <= min <= n <= {SORTED}, not min={self.min} and n={self.n}")
        if not 0 <= self.min_prob <= 1:
            raise UsageError(f"min_prob of corpus must be from 0 to 1, not {self.min_prob:g}")


@dataclass
class CorpusState:
    """Nothing: the context is in what is asked."""


class Corpus:
    """Drafts what followed the longest end of the text in a datastore, which all requests share and none changes."""

    needs = Needs(tokenizer=True)

    def __init__(self, options: Options, store: Datastore) -> None:
        self.options = options
        self.store = store

    def open(self, request: Request, parent: CorpusState | None = None) -> CorpusState:
        return CorpusState()

    def propose(self, asks: Sequence[Ask[CorpusState]]) -> list[DraftTree]:
        return [self._propose(ask) for ask in asks]

    def update(self, news: Sequence[News[CorpusState]]) -> None:
        """Nothing to do: a datastore is what it is."""

    def close(self, state: CorpusState) -> None:
        """Nothing to give back."""

    def _propose(self, ask: Ask[CorpusState]) -> DraftTree:
        places = self._places(array("i", ask.committed[-self.options.n :]))
        sources = [(self.store.text, False, places, DOUBT)]
        budget, least = ask.budget, max(self.options.min_prob, ask.budget.min_gain)
        tokens, parents, chances = TWINS.continuations(sources, budget.rows, budget.depth, least)
        if not tokens:
            return EMPTY
        tree = DraftTree.of(tokens, parents, "corpus", score=[math.log(chance) for chance in chances])
        return tree.with_point_laws(ask.vocab_size) if ask.draw == "sampled" else tree

    def _places(self, context: array[int]) -> Places:
        """Where the longest end of `context` that the datastore has was followed by something, and its length."""
        for size in range(len(context), self.options.min - 1, -1):
            low, high = TWINS.bounds(self.store.text, self.store.suffixes, context[len(context) - size :])
            if high > low:
                chosen = low + np.arange(min(high - low, REACH)) * (high - low) // min(high - low, REACH)
                ends = np.sort(self.store.suffixes[chosen])[::-1] + np.int32(size)
                return np.stack([ends, np.full(len(ends), size, dtype=np.int32)], axis=1).astype(np.int32)
        return np.empty((0, 2), dtype=np.int32)


def _build(options: Options, provided: Provided) -> Corpus:
    if provided.tokenizer is None:
        raise UsageError("drafter 'corpus' needs the target's tokenizer: build it for a target")
    path = Path(options.file)
    folder = Path(options.cache) if options.cache else path.parent
    return Corpus(options, datastore.load(path, folder, provided.tokenizer))


FAMILY = Family(
    name="corpus",
    summary="retrieval (REST): what followed the end of the text in a file of yours",
    options=Options,
    needs=lambda options: Needs(tokenizer=True),
    build=_build,
    positional="file",
    requires="a file of texts",
)
