"""The contracts between the parts: model, drafter, verifier, policy. Small, batched, lists in and lists out.

A round asks a drafter for trees, has the model score committed tokens and trees in one pass, lets a verifier walk them
and tells the drafter what became of it (`core/round.py`, the only caller of all four).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from foredraft.core.events import Step
from foredraft.core.law import Law
from foredraft.core.needs import Needs as Needs
from foredraft.core.needs import Thrift as Thrift
from foredraft.core.rules import Logits, Rules
from foredraft.core.stream import Stream
from foredraft.core.tree import DraftTree

Vectors = NDArray[np.floating]
Ability = Literal["taps", "ends", "layers"]
Draw = Literal["point", "coupled", "sampled"]
Laws = Callable[[int], Law]
"""node (or ROOT) -> the target's law of the token that follows it, after that node's own rules; computed when asked."""


# --- the model ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class About:
    """Facts about a model. context: positions it can hold. row_invariant: a row's logits do not depend on its batch."""

    name: str
    vocab_size: int
    context: int
    layers: int
    width: int
    row_invariant: bool
    details: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Query:
    """What one sequence asks of a pass.

    tokens: first the committed tokens the cache lacks, as a chain whose last is the root, then the nodes of a tree.
    parents: the row each row follows, -1 for the end of the cache. logits: the rows whose logits are wanted.
    top: how many of the largest logits of those rows are wanted. taps: the layers whose hidden states are wanted.
    argmax_only: of those rows nothing but the argmax and the `top` is wanted, so their logits need not be written.
    """

    cache: Cache
    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    logits: tuple[int, ...] = ()
    top: int = 0
    taps: tuple[int, ...] = ()
    argmax_only: bool = False


class Scores(Protocol):
    """The result of one query: views, valid (after `keep` too) until the model's next score; copy what you keep."""

    @property
    def vocab_size(self) -> int: ...

    def logits(self, row: int) -> Logits:
        """[vocab]; only for rows asked for, and not by their argmax alone."""

    def argmax(self, row: int) -> int:
        """The lowest id among the largest logits."""

    def top(self, row: int) -> tuple[NDArray[np.int64], Logits]:
        """The `top` likeliest ids, best first (lower id among equals), and their logits.

        Those that are no numbers come first, or are left out where the argmax alone was asked for.
        """

    def taps(self, layer: int) -> Vectors:
        """[rows, width]: hidden states after `layer` layers, for all rows; only for layers asked for."""


class Cache(Protocol):
    """Keys and values (or any state) of one sequence's path."""

    @property
    def length(self) -> int:
        """Tokens kept."""

    @property
    def nbytes(self) -> int: ...

    def keep(self, rows: Sequence[int]) -> None:
        """Keeps rows of its last pass, in order; they must be one path from the end of the cache. The rest is dropped.

        Raises ValueError, and changes nothing, for rows that are not one path. A pass over this cache forgets earlier
        rows that were not kept; passes over others do not.
        """

    def trim(self, length: int) -> None:
        """Forgets all after the first `length` tokens, pending rows included; ValueError outside 0 … self.length."""

    def fork(self) -> Cache:
        """An independent copy (pages may be shared); ValueError while rows are pending."""

    def close(self) -> None:
        """Gives back what it holds; a second time does no harm."""


class Model(Protocol):
    """A language model that scores trees. Abilities beyond scoring are data, checked when a drafter is opened."""

    @property
    def about(self) -> About: ...

    @property
    def abilities(self) -> frozenset[Ability]: ...

    def open(self) -> Cache: ...

    def score(self, queries: Sequence[Query]) -> list[Scores]:
        """ONE batched forward pass over all queries. ValueError for a row beyond the context."""

    def embed(self, tokens: Sequence[int]) -> Vectors:
        """Ability "ends": input embeddings, [tokens, width]."""

    def head(self, hidden: Vectors) -> Logits:
        """Ability "ends": the final norm and output head, [rows, width] -> [rows, vocab]."""

    def head_rows(self, tokens: Sequence[int]) -> Vectors:
        """Ability "ends": what the output head multiplies normed states with for these tokens, [tokens, width]."""

    def view(self, layers: Sequence[int]) -> Model:
        """Ability "layers": the same weights with these layers only, and caches of its own."""

    def close(self) -> None: ...


# --- the drafter ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """What stays the same for one generation. tenant: whose shared state may be used; None for a trial that nobody may
    learn from. choice: which of n it is. draw: how its verifier wants drafts drawn; filled in at the opening."""

    prompt: tuple[int, ...]
    seed: int
    choice: int = 0
    rules: Rules = field(default_factory=Rules)
    tenant: str | None = ""
    prediction: tuple[int, ...] | None = None
    draw: Draw = "coupled"


class Stop(Protocol):
    """Whether a drafter that goes token by token has drafted enough of a path, its last token kept.

    chance: what it gives that token; path: the product along the path; entropy: of the law the token was taken from, in
    nats, computed when asked for. That the last token stays is what keeps this exact where tokens are drawn by chance.
    """

    def __call__(self, chance: float, path: float, entropy: Callable[[], float]) -> bool: ...


@dataclass(frozen=True)
class Budget:
    """How much to draft at most: nodes, and the length of a path.

    min_gain: less likely nodes are not worth their row. min_step: a level that brings fewer tokens is not worth the
    time of a drafter that goes level by level. Both are advice, and only to drafters that choose without chance. stop:
    when to stop before, for drafters that go token by token. leave: the source is let go for the rest of the text."""

    rows: int
    depth: int
    min_gain: float = 0.0
    min_step: float = 0.0
    stop: Stop | None = None
    leave: bool = False


S = TypeVar("S")


@dataclass(frozen=True)
class Ask(Generic[S]):
    """One sequence's wish for a tree.

    committed: prompt and output so far, its last token the root; do not write. rules: those at the root.
    draw: how tokens may be chosen. "point": without chance, no laws. "coupled": with the target's own noise
    (Purpose.TARGET), no laws. "sampled": independently (Purpose.DRAFT), each with the law it was drawn from.
    stream: stands at the output position of the root's first child. vocab_size: the target's.
    replacement: siblings had better be sampled with replacement, all from the law of the first; else without.
    """

    state: S
    committed: Sequence[int]
    rules: Rules
    budget: Budget
    draw: Draw
    stream: Stream
    vocab_size: int
    replacement: bool = False


@dataclass(frozen=True)
class Verdict:
    """What a verifier decided: the accepted nodes from the root down, and the token emitted after them."""

    path: tuple[int, ...]
    token: int


@dataclass(frozen=True)
class News(Generic[S]):
    """What became of a pass, told after it.

    tokens: newly emitted tokens, none for a chunk of the prompt. start, kept: rows `kept` of the pass now stand in the
    cache from position `start` on; the newest committed token has no row yet. verdict and laws: None for a chunk, and
    where the text failed; a verdict's path may be longer than `tokens` where the text ended inside it.
    """

    state: S
    committed: Sequence[int]
    tokens: tuple[int, ...]
    start: int
    kept: tuple[int, ...]
    scores: Scores
    tree: DraftTree
    verdict: Verdict | None
    laws: Laws | None
    first_node: int

    def row(self, node: int) -> int:
        """The row of a tree node, or of the root."""
        return self.first_node + node

    def taps(self, *layers: int) -> Vectors:
        """[kept, width * layers]: hidden states at positions start, start + 1, …, layers side by side (a copy)."""
        kept = self.kept
        beside = len(kept) > 0 and kept[-1] - kept[0] + 1 == len(kept)  # one path: rows only go up
        rows = slice(kept[0], kept[-1] + 1) if beside else list(kept)
        return np.concatenate([self.scores.taps(layer)[rows] for layer in layers], axis=1)


class Drafter(Protocol[S]):
    """Guesses. Whatever it proposes changes speed, never the output; its state is its own."""

    @property
    def needs(self) -> Needs: ...

    def open(self, request: Request, parent: S | None = None) -> S:
        """State for a new sequence, never None; with `parent`, an independent copy of that one as it stands."""

    def propose(self, asks: Sequence[Ask[S]]) -> list[DraftTree]:
        """A tree an ask, each within its budget. After a failure the same asks come again, one by one."""

    def update(self, news: Sequence[News[S]]) -> None:
        """Learns what was committed. Called after every pass, chunks of the prompt included.

        Positions a cache already held (a chat that goes on) are never told: do not count on `start` beginning at 0.
        """

    def close(self, state: S) -> None: ...


class Ahead(Drafter[S], Protocol[S]):
    """A drafter with `needs.ahead`: works on its own thread while the target scores; touches no target state."""

    def ahead(self, asks: Sequence[Ask[S]], trees: Sequence[DraftTree]) -> None: ...


class Reader(Drafter[S], Protocol[S]):
    """A drafter with `needs.reads`: what it has not read yet it reads before it drafts, which takes time."""

    def behind(self, state: S, committed: Sequence[int]) -> int:
        """Tokens that it would have to read now, about."""


# --- verifier and policy --------------------------------------------------------------------------------------------


class Verifier(Protocol):
    """Decides which drafts stand. Lossless: the emitted tokens have the target's own law, whatever was drafted."""

    @property
    def draw(self) -> Draw:
        """How drafts should be drawn for it."""

    @property
    def replacement(self) -> bool:
        """Whether sampled siblings should be drawn with replacement, each as if it were the first."""

    @property
    def needs_laws(self) -> bool:
        """True when every node must carry its law."""

    @property
    def lossless(self) -> bool: ...

    def __call__(self, tree: DraftTree, laws: Laws, stream: Stream) -> Verdict:
        """Walks the tree; `stream` stands at the output position that follows the root."""


@dataclass(frozen=True)
class Load:
    """sequences: of this round. behind: tokens that the source has to read before it drafts. remaining: tokens that the
    text may still have; None where nobody says. reads: the source reads the text with a model of its own."""

    sequences: int
    behind: int = 0
    remaining: int | None = None
    reads: bool = False


@dataclass(frozen=True)
class Costs:
    """Measured seconds of a pass by rows, ascending; empty before anything was measured."""

    rows: tuple[int, ...] = ()
    seconds: tuple[float, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A tree to be scored. expected: tokens and seconds that the policy expects of the round, where it says."""

    tree: DraftTree
    expected: tuple[float, float] | None = None


P = TypeVar("P")


class Policy(Protocol[P]):
    """Decides how much is drafted and what of it is scored. It changes speed, never the output."""

    def open(self, request: Request) -> P:
        """State for a new sequence, never None."""

    def budget(self, state: P, source: str, so_far: DraftTree, load: Load) -> Budget:
        """What `source` may draft, given what those before it drafted; no rows where it is not to be asked."""

    def shape(self, states: Sequence[P], trees: Sequence[DraftTree], load: Load) -> list[Plan]:
        """What is scored of the trees of a round, one a sequence: cut to fit; a tree that was drawn, whole or not."""

    def update(self, state: P, step: Step) -> None:
        """Learns from what became of a pass."""


AnyPolicy = Policy[Any]
AnyDrafter = Drafter[Any]
