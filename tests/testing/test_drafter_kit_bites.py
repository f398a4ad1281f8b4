"""A kit that cannot fail proves nothing: broken drafters, each caught by the check that is there for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from foredraft.core.errors import ForedraftError
from foredraft.core.law import Dense, Law, Point
from foredraft.core.protocols import Ask, Needs, News, Request
from foredraft.core.tree import ROOT, DraftTree
from foredraft.draft.lookup import Lookup, Options
from foredraft.draft.model import ModelDrafter
from foredraft.draft.model_tree import Branch, DraftState
from foredraft.models.toy import Tables, ToyModel
from foredraft.testing.drafters import DrafterChecks


def draft_model() -> ToyModel:
    return ToyModel(Tables.random(3, order=0, seed=12))


class OneToken:
    """A sound base for broken drafters: guesses one token from a fixed law."""

    needs = Needs()

    def __init__(self) -> None:
        self.count = 0

    def open(self, request: Request, parent: Any = None) -> Any:
        return []

    def choose(self, ask: Ask[Any]) -> tuple[int, Law | None]:
        return 0, Point(0, ask.vocab_size) if ask.draw == "sampled" else None

    def propose(self, asks: Sequence[Ask[Any]]) -> list[DraftTree]:
        return [self.one(ask) for ask in asks]

    def one(self, ask: Ask[Any]) -> DraftTree:
        token, law = self.choose(ask)
        if min(ask.budget.rows, ask.budget.depth) < 1:
            return DraftTree()
        return DraftTree.chain([token], "one", laws=[law] if law is not None else None)

    def update(self, news: Sequence[News[Any]]) -> None: ...

    def close(self, state: Any) -> None: ...


class TooMany(OneToken):
    def one(self, ask: Ask[Any]) -> DraftTree:
        tree = DraftTree.chain([0] * (ask.budget.rows + 1), "one")
        return tree.with_point_laws(ask.vocab_size) if ask.draw == "sampled" else tree


class WritesToTheText(OneToken):
    def one(self, ask: Ask[Any]) -> DraftTree:
        ask.committed.append(0)  # type: ignore[attr-defined]
        return super().one(ask)


class LawsAlways(OneToken):
    def choose(self, ask: Ask[Any]) -> tuple[int, Law | None]:
        return 0, Point(0, ask.vocab_size)


class LawsNever(OneToken):
    def choose(self, ask: Ask[Any]) -> tuple[int, Law | None]:
        return 0, None


class RisingScores(OneToken):
    def one(self, ask: Ask[Any]) -> DraftTree:
        count = min(ask.budget.rows, ask.budget.depth, 2)
        tree = DraftTree.chain([0] * count, "one", score=[-1.0, -0.5][:count])
        return tree.with_point_laws(ask.vocab_size) if ask.draw == "sampled" else tree


class NeverDrafts(OneToken):
    def one(self, ask: Ask[Any]) -> DraftTree:
        return DraftTree()


class HasNoState(OneToken):
    def open(self, request: Request, parent: Any = None) -> Any:
        return None


class Counts(OneToken):
    """Drafts by how often it was called: neither the stream nor the sequence decides."""

    def choose(self, ask: Ask[Any]) -> tuple[int, Law | None]:
        self.count += 1
        token = int(np.random.default_rng(self.count).integers(3))
        return token, Point(token, 3) if ask.draw == "sampled" else None


FOREVER = {"count": 0}


class CountsForever(Counts):
    """And never begins anew."""

    def choose(self, ask: Ask[Any]) -> tuple[int, Law | None]:
        FOREVER["count"] += 1
        self.count = FOREVER["count"]
        return super().choose(ask)


class WrongLaw(ModelDrafter):
    """Draws from the draft model and records another law."""

    def propose(self, asks: Sequence[Ask[DraftState]]) -> list[DraftTree]:
        even = Dense(np.full(3, 1 / 3))
        return [replace(tree, laws=tuple(law and even for law in tree.laws)) for tree in super().propose(asks)]


class LookThenDrop(ModelDrafter):
    """Drops a drawn token because it looks unlikely."""

    def propose(self, asks: Sequence[Ask[DraftState]]) -> list[DraftTree]:
        found = []
        for ask, tree in zip(asks, super().propose(asks), strict=True):
            drop = len(tree) and ask.draw == "sampled" and tree.tokens[0] == 2
            found.append(DraftTree() if drop else tree)
        return found


class SortsSiblings(ModelDrafter):
    """Puts drawn siblings into the order of their tokens."""

    def propose(self, asks: Sequence[Ask[DraftState]]) -> list[DraftTree]:
        found = []
        for tree in super().propose(asks):
            order = sorted(range(len(tree)), key=lambda node: (tree.depths[node], tree.tokens[node]))
            flat = all(parent == ROOT for parent in tree.parents)
            found.append(
                DraftTree.of([tree.tokens[n] for n in order], tree.parents, "m", laws=[tree.laws[n] for n in order])
                if flat
                else tree
            )
        return found


class OneStateForAll(Lookup):
    """Sequences of a batch learn from each other."""

    shared: Any = None

    def open(self, request: Request, parent: Any = None) -> Any:
        if self.shared is None:
            self.shared = super().open(request)
        return self.shared


class SharesItsState(Lookup):
    def open(self, request: Request, parent: Any = None) -> Any:
        return parent if parent is not None else super().open(request)


class HandsOverItsCache(ModelDrafter):
    """A copy whose cache is the parent's."""

    def open(self, request: Request, parent: DraftState | None = None) -> DraftState:
        if parent is None:
            return super().open(request)
        return DraftState([Branch(branch.cache, branch.held.copy()) for branch in parent.branches])


class ClosesAll(Lookup):
    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.opened: list[Any] = []

    def open(self, request: Request, parent: Any = None) -> Any:
        self.opened.append(super().open(request, parent))
        return self.opened[-1]

    def close(self, state: Any) -> None:
        for other in self.opened:
            super().close(other)


@dataclass
class Seen:
    taught: list[int] = field(default_factory=list)


class SkipsChunks(OneToken):
    """Learns from the first row of the news only, so that chunking matters."""

    def open(self, request: Request, parent: Any = None) -> Any:
        return Seen(list(parent.taught) if parent else [])

    def choose(self, ask: Ask[Any]) -> tuple[int, Law | None]:
        token = sum(ask.state.taught) % 3
        return token, Point(token, 3) if ask.draw == "sampled" else None

    def update(self, news: Sequence[News[Any]]) -> None:
        for told in news:
            told.state.taught.append(told.committed[told.start])


class TrustsPositions(SkipsChunks):
    """Assumes it was told of every position."""

    def update(self, news: Sequence[News[Any]]) -> None:
        for told in news:
            if told.start != len(told.state.taught):
                raise IndexError("positions are missing")
            told.state.taught.extend(told.kept)


DRAFTERS: list[tuple[Callable[[], Any], str, tuple[object, ...]]] = [
    (TooMany, "test_proposals", ("coupled", 1.0)),
    (TooMany, "test_nothing_fits_an_empty_budget", ("coupled",)),
    (WritesToTheText, "test_proposals", ("coupled", 0.0)),
    (LawsAlways, "test_proposals", ("point", 1.0)),
    (LawsNever, "test_proposals", ("sampled", 1.0)),
    (LawsNever, "test_the_joint_law_is_the_targets", ("sampled", ())),
    (RisingScores, "test_proposals", ("coupled", 1.0)),
    (NeverDrafts, "test_proposals", ("coupled", 1.0)),
    (NeverDrafts, "test_the_text_is_that_of_plain_decoding", (1.0,)),
    (HasNoState, "test_proposals", ("coupled", 1.0)),
    (CountsForever, "test_the_same_stream_gives_the_same_drafts", ("coupled",)),
    (Counts, "test_a_batch_is_its_parts", ("point",)),
    (lambda: WrongLaw(draft_model()), "test_recorded_laws", (1,)),
    (lambda: WrongLaw(draft_model()), "test_the_joint_law_is_the_targets", ("sampled", ())),
    (lambda: LookThenDrop(draft_model()), "test_recorded_laws", (0,)),
    (lambda: LookThenDrop(draft_model()), "test_the_joint_law_is_the_targets", ("sampled", (1,))),
    (lambda: SortsSiblings(draft_model(), (2,)), "test_recorded_laws", (1,)),
    (lambda: SortsSiblings(draft_model(), (2,)), "test_the_joint_law_is_the_targets", ("sampled", ())),
    (lambda: OneStateForAll(Options()), "test_a_batch_is_its_parts", ("coupled",)),
    (lambda: OneStateForAll(Options()), "test_tenants_share_nothing", ()),
    (lambda: SharesItsState(Options()), "test_forks_are_independent", ("coupled", 2)),
    (lambda: HandsOverItsCache(draft_model()), "test_forks_are_independent", ("coupled", 2)),
    (lambda: ClosesAll(Options()), "test_close", ()),
    (SkipsChunks, "test_chunks_of_the_prompt", ()),
    (TrustsPositions, "test_a_prompt_begun_elsewhere", ("coupled", 2)),
]


@pytest.mark.parametrize(("broken", "check", "arguments"), DRAFTERS)
def test_the_drafter_kit_bites(broken: Callable[[], Any], check: str, arguments: tuple[object, ...]) -> None:
    """test_drafter_kit.py passes the same checks with sound drafters."""
    target = ToyModel(Tables.random(3, order=1, seed=11, scale=1.2))
    with pytest.raises((AssertionError, ForedraftError)):
        getattr(DrafterChecks(), check)(broken, target, *arguments)
