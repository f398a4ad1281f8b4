"""A trained head drafts a block in one pass: it reads the target's hidden states, and needs no second model.

Kin to Medusa (2401.10774), EAGLE-3 (2503.01840), P-EAGLE (2602.01469) and DFlash (2602.06036). What the target thought
at each position, joined with the token that followed, is a context row of the head; rows for the tokens that are not
there yet stand behind the last one. Their laws become the tree of the likeliest paths (`draft/block_tree.py`), or one
drawn by chance or by rules (`draft/block_growth.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from foredraft.core.errors import UsageError
from foredraft.core.heads import Feed, Head
from foredraft.core.protocols import Ask, Cache, Needs, News, Request, Thrift, Vectors
from foredraft.core.rules import Logits
from foredraft.core.tree import EMPTY, DraftTree
from foredraft.draft.block_growth import Growth
from foredraft.draft.family import Family, Provided

NAME = "block"
# Context rows that wait for the next block at most: more are fed before, for rows that draft nothing are cheap there.
WAITING = 16


@dataclass(frozen=True)
class Options:
    head: str = field(default="", metadata={"help": "the file of a trained head; by default the one for the target"})
    depth: int = field(default=0, metadata={"help": "tokens a path may have; 0 for all that the head drafts"})
    quantize: str = field(default="", metadata={"help": "int8 or int4, for the head's matrices; int8 by default"})

    def __post_init__(self) -> None:
        if self.quantize not in ("", "int8", "int4"):
            raise UsageError(f"quantize of drafter {NAME!r} must be int8 or int4, not {self.quantize!r}")

    @property
    def needs(self) -> Needs:
        return Needs(head=self.head, thrift=Thrift(self.quantize or None))


@dataclass
class BlockState:
    """The head's cache, whose rows stand for positions `first`, `first` + 1, …, and the hidden states to come.

    taps: those of the positions before the rows that are not fed yet. last: those of the newest row that was fed, for
    it may be asked for again.
    """

    cache: Cache
    first: int = 1
    taps: list[Vectors] = field(default_factory=list)
    last: Vectors | None = None

    @property
    def waiting(self) -> int:
        """Rows that are not fed yet."""
        return sum(map(len, self.taps))

    @property
    def end(self) -> int:
        """The position after the last one that has a row or can have one."""
        return self.first + self.cache.length + self.waiting

    def take(self, start: int, taps: Vectors) -> None:
        """Hidden states of positions from `start` on. Where some before were never told the head begins anew."""
        if not len(taps):
            return
        if start + 1 != self.end:
            self.cache.trim(0)
            self.first, self.taps, self.last = start + 1, [], None
        self.taps.append(taps)

    def feed(self, text: Sequence[int], count: int, block: int) -> Feed:
        """The next `count` rows, `block` tokens to be drafted after them; the last one again where none is left."""
        if not count and self.last is not None:
            self.cache.trim(self.cache.length - 1)
            self.taps = [self.last]
            count = 1
        taps = self.taps[0] if len(self.taps) == 1 else np.concatenate(self.taps)
        self.taps, self.last = [taps[count:]] if count < len(taps) else [], taps[count - 1 : count]
        begin = self.first + self.cache.length
        return Feed(self.cache, tuple(text[begin : begin + count]), taps[:count], block)

    def unfeed(self, feed: Feed) -> None:
        """Takes back what was fed, after a pass that failed."""
        self.taps, self.last = [feed.taps, *self.taps], None

    def fork(self) -> BlockState:
        return BlockState(self.cache.fork(), self.first, list(self.taps), self.last)


class BlockDrafter:
    """Drafts with a head that was trained for the target; all sequences of a round share its pass."""

    def __init__(self, head: Head, depth: int = 0) -> None:
        """depth: levels of a tree at most, 0 for as many as the head drafts."""
        self.head, self._says = head, head.says.tolist()
        self.depth = min(depth or head.block, head.block)
        self.needs = Needs(taps=head.taps, ends=True)

    def open(self, request: Request, parent: BlockState | None = None) -> BlockState:
        return BlockState(self.head.open()) if parent is None else parent.fork()

    def propose(self, asks: Sequence[Ask[BlockState]]) -> list[DraftTree]:
        ready = [ask for ask in asks if self._ready(ask)]
        fed = [(ask.state, ask.state.feed(ask.committed, ask.state.waiting, self._levels(ask))) for ask in ready]
        drafted = {id(ask): self._tree(ask, logits) for ask, logits in zip(ready, self._score(fed), strict=True)}
        return [drafted.get(id(ask), EMPTY) for ask in asks]

    def update(self, news: Sequence[News[BlockState]]) -> None:
        """Takes the hidden states of the rows that were kept; those of a long prompt go through the head at once."""
        for told in news:
            told.state.take(told.start, np.concatenate([told.taps(layer) for layer in self.head.taps], axis=1))
        long = [told for told in news if told.state.waiting > WAITING]
        self._score([(told.state, told.state.feed(told.committed, told.state.waiting - 1, 0)) for told in long])

    def close(self, state: BlockState) -> None:
        state.cache.close()
        state.taps, state.last = [], None

    def _score(self, fed: Sequence[tuple[BlockState, Feed]]) -> list[Logits]:
        """The head's pass. Where it fails, what was fed waits again: the same asks may come once more."""
        try:
            return self.head.score([feed for _, feed in fed])
        except BaseException:
            for state, feed in fed:
                state.unfeed(feed)
            raise

    def _ready(self, ask: Ask[BlockState]) -> bool:
        """Whether the head can have a row for the root: the token before it has been through the target."""
        state, budget = ask.state, ask.budget
        known = state.waiting or state.last is not None
        return budget.rows > 0 and budget.depth > 0 and bool(known) and state.end == len(ask.committed)

    def _levels(self, ask: Ask[BlockState]) -> int:
        return min(ask.budget.rows, ask.budget.depth, self.depth)

    def _tree(self, ask: Ask[BlockState], logits: Logits) -> DraftTree:
        rules, budget, depth = ask.rules, ask.budget, len(logits)
        if rules.steps or rules.grammar is not None or (rules.temperature > 0 and ask.draw == "sampled"):
            return Growth(ask, self.head, logits).tree(depth, NAME)
        places, parents, scores = self.head.tree(logits, budget.rows, depth, budget.min_gain)
        tree = DraftTree.of([self._says[place] for place in places], parents, NAME, score=scores)
        return tree.with_point_laws(ask.vocab_size) if ask.draw == "sampled" else tree


def _build(options: Options, provided: Provided) -> BlockDrafter:
    if provided.head is None:
        raise UsageError(f"drafter {NAME!r} needs a trained head: write {NAME}:PATH")
    return BlockDrafter(provided.head, options.depth)


FAMILY = Family(
    name=NAME,
    summary="a trained head drafts a block in one pass, from the target's hidden states",
    options=Options,
    needs=lambda options: options.needs,
    build=_build,
    positional="head",
    requires="a head trained for the target",
)
