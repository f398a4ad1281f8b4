"""Suffix decoding: what followed the longest ends of the text before, here and in past texts, weighed by how often.

SuffixDecoding (Oliaro et al. 2411.04975): suffix trees with counts over the request's own text and over past ones; for
every length of match a tree of continuations is grown best first, D(child) = D(parent) * count(child) / count(parent),
and the sum of D, the expected number of accepted tokens, decides between them. Ours differs in four ways: the counts
are read off the places where a context stood (`draft/history.py`), which hold what the tree would; a count is doubted
by how short the match is, in another text more than in this one, so that D is a probability; the best length and text
count node by node, in one tree; and a match that reaches the end of the text goes on with itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from foredraft.core.errors import UsageError
from foredraft.core.protocols import Ask, Needs, News, Request
from foredraft.core.tree import EMPTY, DraftTree
from foredraft.draft import files
from foredraft.draft.family import Family, Provided
from foredraft.draft.history import History
from foredraft.draft.native import TWINS
from foredraft.draft.past import Past, past_of
from foredraft.draft.tenants import Tenants

KIND = "suffix"


@dataclass(frozen=True)
class Options:
    depth: int = field(default=64, metadata={"help": "tokens of context that are compared, at most"})
    factor: float = field(default=0.0, metadata={"help": "tokens drafted for every token that matched; 0 for no limit"})
    min_prob: float = field(default=0.02, metadata={"help": "chance of acceptance below which nothing is drafted"})
    doubt: float = field(default=2.4, metadata={"help": "how much a match is doubted: this, divided by its length"})
    past_doubt: float = field(default=12.0, metadata={"help": "the same of a match in another text"})
    shared: bool = field(default=True, metadata={"help": "learn from the tenant's past texts too"})
    limit: int = field(default=100_000, metadata={"help": "tokens of past texts kept for a tenant"})
    file: str = field(default="", metadata={"help": "past texts kept from run to run"})

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= 1024:
            raise UsageError(f"depth of suffix must be from 1 to 1024, not {self.depth}")
        numbers = {"factor": (self.factor, 1e6), "min_prob": (self.min_prob, 1.0)}
        numbers |= {"doubt": (self.doubt, 1e6), "past_doubt": (self.past_doubt, 1e6)}
        for name, (value, most) in numbers.items():
            if not 0 <= value <= most:
                raise UsageError(f"{name} of suffix must be from 0 to {most:g}, not {value:g}")
        if not 1 <= self.limit <= 100_000_000:
            raise UsageError(f"limit of suffix must be from 1 to 100000000 tokens, not {self.limit}")
        if self.file and not self.shared:
            raise UsageError("suffix keeps past texts in a file only where it learns from them: leave shared=false out")


@dataclass
class SuffixState:
    """history: this text. pasts: finished texts, and how much of each was there when this one began.

    begins: where the part of the text that is nobody else's begins: a copy leaves the rest to its parent.
    """

    history: History
    pasts: tuple[tuple[Past, int], ...]
    tenant: str | None
    begins: int = 0


class Suffix:
    """Drafts what followed the same context before, in this text or in finished ones of the same tenant."""

    needs = Needs()

    def __init__(self, options: Options, vocabulary: str = "") -> None:
        """vocabulary: of what `options.file` holds (`files.vocabulary_of`). Raises UsageError for a wrong file."""
        self.options = options
        self.vocabulary = vocabulary
        self.tenants = Tenants[Past](lambda past: past.size, options.limit)
        self.kept = self.load(Path(options.file)) if options.file else None

    def open(self, request: Request, parent: SuffixState | None = None) -> SuffixState:
        if parent is not None:
            begins = max(parent.begins, len(parent.history) - self.options.depth)
            return SuffixState(parent.history.copy(), parent.pasts, request.tenant, begins)
        state = SuffixState(History(), self._pasts(request.tenant), request.tenant)
        state.history.extend(request.prompt)
        return state

    def propose(self, asks: Sequence[Ask[SuffixState]]) -> list[DraftTree]:
        return [self._propose(ask) for ask in asks]

    def update(self, news: Sequence[News[SuffixState]]) -> None:
        for told in news:
            told.state.history.extend(told.committed[len(told.state.history) :])

    def close(self, state: SuffixState) -> None:
        """The text is finished: texts of its tenant that begin after it may learn from it."""
        text, state.history = state.history.tokens[state.begins :], History()
        if not self.options.shared or state.tenant is None:
            return
        if self.kept is not None and not state.tenant:
            self.kept.add(text)
            self.save(Path(self.options.file))
        else:
            past = self._past(state.tenant)
            past.add(text)
            self.tenants.put(state.tenant, past)  # it has grown

    def clear(self, tenant: str | None = None) -> None:
        """Forgets the past texts of a tenant, or of all; what a file holds stays."""
        self.tenants.forget(tenant)

    def save(self, path: Path, tenant: str = "") -> None:
        """Writes the past texts of a tenant to a file. Raises UsageError where it cannot be written."""
        past = self.kept if self.kept is not None and not tenant else self._past(tenant)
        files.write(path, KIND, self.vocabulary, [np.array(past.kept, dtype=np.int32)])

    def load(self, path: Path) -> Past:
        """The past texts of a file, none where there is no file yet. Raises UsageError for a wrong one."""
        if not path.exists():
            files.write(path, KIND, self.vocabulary, [np.empty(0, dtype=np.int32)])
        arrays = files.read(path, KIND, self.vocabulary)
        if len(arrays) != 1:
            raise UsageError(f"{path} is damaged: delete it")
        return past_of(arrays[0].tolist(), self.options.limit)

    def _pasts(self, tenant: str | None) -> tuple[tuple[Past, int], ...]:
        """Where a text of this tenant may look: its own past texts, and those of the file, which are everyone's."""
        if not self.options.shared:
            return ()
        own = () if tenant is None or self.kept is not None and not tenant else (self._past(tenant),)
        everyones = () if self.kept is None else (self.kept,)
        return tuple((past, past.end) for past in (*own, *everyones) if past.end)

    def _past(self, tenant: str) -> Past:
        past = self.tenants.get(tenant) or Past(self.options.limit)
        self.tenants.put(tenant, past)
        return past

    def _propose(self, ask: Ask[SuffixState]) -> DraftTree:
        options, history, budget = self.options, ask.state.history, ask.budget
        found = [(history.tokens, True, history.own_matches(options.depth), options.doubt)]
        context = history.tokens[-options.depth :]
        found += [
            (past.history.tokens, False, past.matches(context, until), options.past_doubt)
            for past, until in ask.state.pasts
        ]
        found = [source for source in found if len(source[2])]
        rows = budget.rows
        if options.factor and found:
            rows = min(rows, int(options.factor * max(int(places[0, 1]) for _, _, places, _ in found)))
        if not found or rows < 1:
            return EMPTY
        least = max(options.min_prob, budget.min_gain)
        tokens, parents, chances = TWINS.continuations(found, rows, budget.depth, least)
        if not tokens:
            return EMPTY
        tree = DraftTree.of(tokens, parents, "suffix", score=[math.log(chance) for chance in chances])
        return tree.with_point_laws(ask.vocab_size) if ask.draw == "sampled" else tree


def _needs(options: Options) -> Needs:
    return Needs(tokenizer=bool(options.file))


def _build(options: Options, provided: Provided) -> Suffix:
    return Suffix(options, files.vocabulary_of(provided.tokenizer) if options.file and provided.tokenizer else "")


FAMILY = Family(
    name="suffix",
    summary="suffix decoding: what followed the longest match in this text and in past ones, by how often",
    options=Options,
    needs=_needs,
    build=_build,
)
