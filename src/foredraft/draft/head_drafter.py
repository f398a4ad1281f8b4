"""What drafters with a trained head have in common: they read the target's hidden states and need no second model.

What the target thought at each position, joined with the token that followed, is a row of the head. How a tree grows
out of the last one is the kind's: `draft/one_pass.py` where one pass says all, `draft/levels.py` level by level.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from foredraft.core.errors import UsageError
from foredraft.core.heads import Feed, Head
from foredraft.core.protocols import AnyDrafter, Ask, Needs, News, Request, Thrift
from foredraft.core.rules import Logits
from foredraft.core.tree import EMPTY, DraftTree
from foredraft.draft.family import Family, Provided
from foredraft.draft.head_state import HeadState

# Context rows that are fed with a draft at most where all are read: more are fed before, by themselves, for in a pass
# that drafts they would go through the whole layer.
WAITING = 8
# Those that wait while nobody asks: read a few at a time they would cost the head's weights every few rounds.
UNASKED = 64
H = TypeVar("H", bound=Head)


@dataclass(frozen=True)
class HeadOptions:
    """name: the drafter's, which is that of its heads' method."""

    name: ClassVar[str]
    head: str = field(default="", metadata={"help": "the file of a trained head; by default the one for the target"})
    depth: int = field(default=0, metadata={"help": "tokens a path may have; 0 for all that the head drafts"})
    quantize: str = field(default="", metadata={"help": "int8 or int4, for the head's matrices; int8 by default"})
    window: int = field(default=0, metadata={"help": "unread tokens that a draft reads first, the last; 0 for all"})

    def __post_init__(self) -> None:
        if self.quantize not in ("", "int8", "int4"):
            raise UsageError(f"quantize of drafter {self.name!r} must be int8 or int4, not {self.quantize!r}")
        if self.window < 0:
            raise UsageError(f"window of drafter {self.name!r} must be at least 0, not {self.window}")

    @property
    def needs(self) -> Needs:
        return Needs(head=self.head, thrift=Thrift(self.quantize or None))

    def given(self, provided: Provided) -> Head:
        """The head, of which the engine has made sure that it is of the drafter's method."""
        if provided.head is None:
            raise UsageError(f"drafter {self.name!r} needs a trained head: write {self.name}:PATH")
        return provided.head


def head_family(options: type[HeadOptions], summary: str, build: Callable[[Any, Provided], AnyDrafter]) -> Family:
    """The table's line for the drafter of one method."""
    return Family(
        name=options.name,
        summary=summary,
        options=options,
        needs=lambda given: given.needs,
        build=build,
        positional="head",
        requires="a head trained for the target",
    )


@contextmanager
def feeding() -> Iterator[Callable[[HeadState, Sequence[int], int, int], Feed]]:
    """`HeadState.feed` of several texts and the pass that they go through: where it fails what was fed waits again, for
    the same may be asked once more."""
    fed = list[tuple[HeadState, Feed, int]]()

    def feed(state: HeadState, text: Sequence[int], count: int, block: int) -> Feed:
        one = state.feed(text, count, block)
        fed.append((state, one, one.cache.length))
        return one

    try:
        yield feed
    except BaseException:
        for state, one, length in fed:
            one.cache.trim(length)
            state.unfeed(one)
        raise


class HeadDrafter(ABC, Generic[H]):
    """Drafts with a head that was trained for the target; all sequences of a round share its passes."""

    def __init__(self, head: H, depth: int = 0, *, name: str, window: int = 0) -> None:
        """depth: levels of a tree at most, 0 for as many as the head drafts. name: of the drafter, in its trees.

        window: of more tokens that it has not read when it is asked, it reads the last so many; 0 for all.
        """
        self.head, self.name, self.window = head, name, window
        self.depth = min(depth or head.block, head.block)
        self.needs = Needs(taps=head.taps, ends=True)

    @abstractmethod
    def grow(self, asks: Sequence[Ask[HeadState]], feeds: Sequence[Feed]) -> list[DraftTree]:
        """Scores the feeds, and the trees that grow out of their last rows, feed.block levels at most."""

    @abstractmethod
    def laws(self, feed: Feed, follows: Sequence[int]) -> Logits:
        """[levels, places]: what the head says of drafts along a text that goes on so. What parity compares."""

    def open(self, request: Request, parent: HeadState | None = None) -> HeadState:
        return HeadState(self.head.open()) if parent is None else parent.fork()

    def propose(self, asks: Sequence[Ask[HeadState]]) -> list[DraftTree]:
        ready = [ask for ask in asks if self._ready(ask)]
        if not ready:
            return [EMPTY for _ in asks]
        self._read([(ask.state, ask.committed) for ask in ready], WAITING)
        with feeding() as feed:
            feeds = [feed(ask.state, ask.committed, ask.state.waiting, self._levels(ask)) for ask in ready]
            drafted = dict(zip(map(id, ready), self.grow(ready, feeds), strict=True))
        return [drafted.get(id(ask), EMPTY) for ask in asks]

    def update(self, news: Sequence[News[HeadState]]) -> None:
        """Takes the hidden states of the rows that were kept. Without a window many that wait go through the head."""
        for told in news:
            told.state.take(told.start, told.taps(*self.head.taps))
            if self.window:
                told.state.keep_last(self.window)
        # What fails waits for the next draft, which fails for those alone whose rows they are.
        with suppress(Exception):
            self._read([(told.state, told.committed) for told in news], UNASKED)

    def _read(self, texts: Sequence[tuple[HeadState, Sequence[int]]], most: int) -> None:
        """Feeds texts of which more than `most` rows wait, all but the last row, in one pass; none with a window."""
        long = [(state, text) for state, text in texts if not self.window and state.waiting > most]
        if not long:
            return
        with feeding() as feed:
            self.head.score([feed(state, text, state.waiting - 1, 0) for state, text in long])

    def close(self, state: HeadState) -> None:
        state.cache.close()
        state.taps, state.last = [], None

    def _ready(self, ask: Ask[HeadState]) -> bool:
        """Whether the head can have a row for the root: the token before it has been through the target."""
        state, budget = ask.state, ask.budget
        known = state.waiting or state.last is not None
        return budget.rows > 0 and budget.depth > 0 and bool(known) and state.end == len(ask.committed)

    def _levels(self, ask: Ask[HeadState]) -> int:
        return min(ask.budget.rows, ask.budget.depth, self.depth)
