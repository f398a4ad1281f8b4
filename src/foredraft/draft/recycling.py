"""Token recycling: what the target held likely after a token is drafted when that token comes again.

Luo et al. 2024 (arXiv 2408.08696): a table gives the likeliest successors of every token, overwritten after each pass
from all its rows, those of rejected drafts included; the draft is a tree filled from it. Ours differs in four ways. A
row is the running mean of what was read, so one odd context does not wipe it out. Contexts of up to four tokens are
known, and the longest that is goes first. The prompt's own successors seed the table, for prompts are scored without
logits. And the tree has no fixed shape: it grows best first by the probabilities that were read. Within a request
`context=1,blend=1,prompt=false,file=none` is the paper's table; between requests a row is mixed, never overwritten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from foredraft.core.errors import UsageError
from foredraft.core.protocols import Ask, Needs, News, Request
from foredraft.core.tokens import Tokens
from foredraft.core.tree import ROOT, DraftTree
from foredraft.draft.family import Family, Provided
from foredraft.draft.files import vocabulary_of
from foredraft.draft.native import TWINS
from foredraft.draft.shipped import shipped_table
from foredraft.draft.successor_file import can_be_saved, load, save
from foredraft.draft.successors import CONTEXTS, Successors, Trust, least_score, tree_of
from foredraft.draft.tenants import Tenants

# What a probability read after one token, after two, … is worth where these come again: held against what came, with
# and without a table to begin with, on development prompts of SmolLM2 and Qwen2.5-Coder.
TRUSTS = (Trust(0.9, 0.6), Trust(1.0, 0.05), Trust(1.0, 0.03), Trust(1.0, 0.02))
# What a request's row weighs against what its tenant's others made of the same context: heavier, and texts that have
# nothing in common teach each other luck.
PASSED_ON = 0.1
# As `file`: begins with nothing, though a table comes with the target.
EMPTY_HANDED = "none"
# Of a prompt's own successor: the target never scored it.
SAID = 0.6


@dataclass(frozen=True)
class Options:
    width: int = field(default=8, metadata={"help": "successors kept for a context"})
    context: int = field(default=4, metadata={"help": "tokens that tell contexts apart: from 1, as in the paper, to 4"})
    blend: float = field(default=0.5, metadata={"help": "what a new reading weighs in a row; 1 overwrites"})
    prompt: bool = field(default=True, metadata={"help": "learn from the prompt too"})
    shared: bool = field(default=True, metadata={"help": "pass what was learnt on to later requests of a tenant"})
    file: str = field(
        default="", metadata={"help": "a saved table to begin with; by default the one for the target, none for none"}
    )
    save: str = field(default="", metadata={"help": "where the table is saved whenever a request has ended"})

    def __post_init__(self) -> None:
        if not 1 <= self.width <= 64:
            raise UsageError(f"width of recycling must be from 1 to 64, not {self.width}")
        if not 1 <= self.context <= len(TRUSTS):
            raise UsageError(f"context of recycling must be from 1 to {len(TRUSTS)}, not {self.context}")
        if not 0 < self.blend <= 1:
            raise UsageError(f"blend of recycling must be above 0 and at most 1, not {self.blend:g}")
        if self.save and not self.shared:
            raise UsageError("recycling saves what requests share: leave out save or shared=false")

    @property
    def needs(self) -> Needs:
        return Needs(top=self.width, tokenizer=self.file != EMPTY_HANDED or bool(self.save))

    @property
    def trusts(self) -> tuple[Trust, ...]:
        return TRUSTS[: self.context]


@dataclass
class Known:
    """What a tenant's closed requests have learnt, and how many open ones began with it."""

    table: Successors
    readers: int = 0


@dataclass
class Recycled:
    """The state of a sequence: its table, whose it is, and what it began with of others, until it is closed."""

    table: Successors
    tenant: str | None
    known: Known | None = None


class Recycling:
    """Drafts the successors that the target held likely before.

    A sequence learns into rows of its own; others of its tenant begin with them once it is closed.
    """

    def __init__(self, options: Options, vocabulary: Tokens | None = None) -> None:
        """Raises UsageError for a file that cannot be begun with."""
        self.options = options
        self.needs = options.needs
        named = vocabulary is not None and (options.file not in ("", EMPTY_HANDED) or options.save)
        self._vocabulary = vocabulary_of(vocabulary) if vocabulary is not None and named else None
        self._start = self._begun(vocabulary) if vocabulary is not None else None
        if options.save and not can_be_saved(Path(options.save)):
            raise UsageError(f"recycling cannot save in {options.save}: name a file in a folder that can be written")
        self._learnt = Tenants[Known](lambda known: len(known.table), CONTEXTS)

    def open(self, request: Request, parent: Recycled | None = None) -> Recycled:
        if parent is not None:
            return self._opened(parent.table.copy(), request.tenant, parent.known)
        known = None if request.tenant is None else self._learnt.get(request.tenant)
        table = self._table(self._start if known is None else known.table)
        if self.options.prompt:
            table.said(request.prompt, SAID)
        return self._opened(table, request.tenant, known)

    def propose(self, asks: Sequence[Ask[Recycled]]) -> list[DraftTree]:
        return [self._propose(ask) for ask in asks]

    def update(self, news: Sequence[News[Recycled]]) -> None:
        for told in news:
            if told.verdict is not None:  # a chunk of the prompt has no row with logits
                self._learn(told, told.verdict.path)

    def close(self, state: Recycled) -> None:
        """Passes on what the sequence has learnt; a second time there is nothing left to pass on."""
        learnt, state.table = state.table, self._table(None)
        if state.known is not None:
            state.known.readers -= 1
            state.known = None
        if not self.options.shared or state.tenant is None or not len(learnt):
            return
        known = self._learnt.get(state.tenant) or Known(self._table(self._start))
        if known.readers:  # they go on with what was known when they began
            known = Known(known.table.copy())
        known.table.take(learnt, PASSED_ON)
        self._learnt.put(state.tenant, known)  # it has grown
        if self.options.save and state.tenant == "":
            self.save(self.options.save)

    def clear(self, tenant: str | None = None) -> None:
        """Forgets what `tenant`, or every one, has learnt. A file it began with is begun with again."""
        self._learnt.forget(tenant)

    def save(self, path: str | Path, tenant: str = "") -> None:
        """Writes what the closed requests of `tenant` have learnt, to begin with by `file`. Raises UsageError."""
        if not self._vocabulary:
            raise UsageError("recycling does not know whose tokens it has learnt: name file or save when it is made")
        learnt = self._learnt.get(tenant)
        whole = (self._table(None) if learnt is None else learnt.table).over(self._start)
        save(Path(path), whole.rows(), self._vocabulary)

    def _opened(self, table: Successors, tenant: str | None, known: Known | None) -> Recycled:
        if known is not None:
            known.readers += 1
        return Recycled(table, tenant, known)

    def _begun(self, vocabulary: Tokens) -> Successors | None:
        """The table that every tenant begins with."""
        options = self.options
        if options.file == EMPTY_HANDED:
            return None
        file = Path(options.file) if options.file else shipped_table(vocabulary)
        if file is None:
            return None
        whose = self._vocabulary if options.file else None
        rows, table = load(file, whose, vocabulary.size, options.context, options.width), self._table(None)
        table.fill(rows.contexts, rows.tokens, rows.probs)
        return table

    def _table(self, base: Successors | None) -> Successors:
        return TWINS.Successors(self.options.trusts, self.options.width, self.options.blend, base)

    def _propose(self, ask: Ask[Recycled]) -> DraftTree:
        text, budget = ask.committed[-self.options.context :], ask.budget
        tree = tree_of(ask.state.table.draft(text, budget.rows, budget.depth, least_score(budget)), "recycling")
        return tree.with_point_laws(ask.vocab_size) if ask.draw == "sampled" else tree

    def _learn(self, told: News[Recycled], path: Sequence[int]) -> None:
        """Every row that was verified, rejected drafts first, so that what was committed has the last word."""
        tree, width = told.tree, self.options.width
        before = len(told.committed) - len(told.tokens)
        text = told.committed[max(0, before - self.options.context) : before]
        accepted = {ROOT, *path}
        rejected = [node for node in range(len(tree)) if node not in accepted and not tree.probes[node]]
        nodes = (*rejected, ROOT, *path)
        tops = [told.scores.top(told.row(node)) for node in nodes]
        readings = [(ids[:width].tolist(), logits[:width].tolist()) for ids, logits in tops]
        told.state.table.read(text, tree.tokens, tree.parents, nodes, readings)


def _build(options: Options, provided: Provided) -> Recycling:
    return Recycling(options, provided.tokenizer)


FAMILY = Family(
    name="recycling",
    summary="token recycling: what the target held likely after the same tokens before",
    options=Options,
    needs=lambda options: options.needs,
    build=_build,
)
