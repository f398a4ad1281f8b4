"""A kit that cannot fail proves nothing: broken models and caches, each caught by the check that is there for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, settings

from foredraft.core.protocols import Query, Scores, Vectors
from foredraft.models.toy import Array, Tables, ToyCache, ToyModel, ToyScores
from foredraft.testing.caches import cache_machine
from foredraft.testing.models import ModelChecks


class SeesSiblings(ToyModel):
    """A causal mask where a tree mask should be: every row follows the row before it."""

    def score(self, queries: Sequence[Query]) -> list[Scores]:
        found: list[Scores] = []
        for query in queries:
            causal = replace(query, parents=tuple(range(-1, len(query.tokens) - 1)))
            found += super().score([causal])
            query.cache.parents = query.parents  # type: ignore[attr-defined]
        return found


class PositionsByRow(ToyModel):
    """A row's position is its place in the pass, not its depth."""

    def _score(self, query: Query) -> ToyScores:
        scores = super()._score(query)
        net: Any = self.net
        start = query.cache.length
        depths: list[int] = []
        for parent in query.parents:
            depths.append(depths[parent] + 1 if parent >= 0 else 0)
        shift = [net.positions[start + row] - net.positions[start + depth] for row, depth in enumerate(depths)]
        return replace(scores, states=scores.states + np.stack(shift)[:, None])


class BlindToItself(ToyModel):
    """A row sees its ancestors but not its own token."""

    def _score(self, query: Query) -> ToyScores:
        scores = super()._score(query)
        states: list[Array] = []
        for row, parent in enumerate(query.parents):
            path = (*query.cache.path,) if parent < 0 else None  # type: ignore[attr-defined]
            above = self.net.states(path or (0,)) if parent < 0 else scores.states[parent]
            states.append(above if row or path else scores.states[row] * 0)
        return replace(scores, states=np.stack(states))


class MixesUpBatches(ToyModel):
    """The second sequence of a pass gets the first one's cache."""

    def score(self, queries: Sequence[Query]) -> list[Scores]:
        first = queries[0].cache
        assert isinstance(first, ToyCache)
        found: list[Scores] = []
        for query in queries:
            found += super().score([query])
            if query.cache is not first:
                found[-1] = super().score([replace(query, cache=ToyCache(list(first.path)))])[0]
        return found


@dataclass(frozen=True, eq=False)
class HighestArgmax(ToyScores):
    def argmax(self, row: int) -> int:
        logits = self.logits(row)
        return int(np.flatnonzero(logits == logits.max())[-1])

    def top(self, row: int) -> tuple[np.ndarray, Array]:
        logits = self.logits(row)
        best = np.argsort(logits, kind="stable")[::-1][: self.query.top]
        return best, logits[best]


class LastOfTies(ToyModel):
    def _score(self, query: Query) -> ToyScores:
        return HighestArgmax(**vars(super()._score(query)))


@dataclass(frozen=True, eq=False)
class FirstArgmax(ToyScores):
    def argmax(self, row: int) -> int:
        return super().argmax(self.query.logits[0] if self.query.argmax_only else row)


class FirstOfAll(ToyModel):
    """Where the argmax alone is wanted, that of the first row stands for all."""

    def _score(self, query: Query) -> ToyScores:
        return FirstArgmax(**vars(super()._score(query)))


class Generous(ToyModel):
    """Gives logits of rows nobody asked for, and abilities it does not have."""

    def _score(self, query: Query) -> ToyScores:
        asked = replace(query, logits=tuple(range(len(query.tokens))), argmax_only=False)
        return replace(super()._score(query), query=asked)

    def _offers(self, ability: str) -> None: ...


@dataclass(frozen=True, eq=False)
class EarlyTaps(ToyScores):
    def taps(self, layer: int) -> Array:
        super().taps(layer)
        return self.states[:, max(layer - 1, 0)]


class WrongLayers(ToyModel):
    """The taps are taken one layer too early; a view has its layers in the wrong order."""

    def _score(self, query: Query) -> ToyScores:
        return EarlyTaps(**vars(super()._score(query)))

    def view(self, layers: Sequence[int]) -> ToyModel:
        return super().view([*layers][::-1])


def with_cache(cache: type[ToyCache]) -> type[ToyModel]:
    """A toy model with another kind of cache."""

    class Model(ToyModel):
        def open(self) -> ToyCache:
            return cache()

    return Model


class KeepsEverything(ToyCache):
    """Rejected rows stay where they are."""

    def keep(self, rows: Sequence[int]) -> None:
        length, tokens = len(self.path), self.tokens
        super().keep(rows)
        self.path[length:] = tokens[: len(rows)]


class KeepsAnything(ToyCache):
    """Takes rows that are no path."""

    def keep(self, rows: Sequence[int]) -> None:
        self.path.extend(self.tokens[row] for row in rows if 0 <= row < len(self.tokens))
        self.tokens = self.parents = ()


class KeepsTwice(ToyCache):
    """Rows stay pending after they were kept, and after a trim."""

    def keep(self, rows: Sequence[int]) -> None:
        tokens, parents = self.tokens, self.parents
        super().keep(rows)
        self.tokens, self.parents = tokens, parents

    def trim(self, length: int) -> None:
        tokens, parents = self.tokens, self.parents
        super().trim(length)
        self.tokens, self.parents = tokens, parents


class TrimsByOne(ToyCache):
    def trim(self, length: int) -> None:
        super().trim(min(length + 1, len(self.path)))


class TrimsAnywhere(ToyCache):
    def trim(self, length: int) -> None:
        del self.path[max(length, 0) :]
        self.tokens = self.parents = ()


class SharesItsFork(ToyCache):
    def fork(self) -> ToyCache:
        super().fork()
        fork = type(self)()
        fork.path = self.path
        return fork


class ForksPending(ToyCache):
    def fork(self) -> ToyCache:
        return type(self)(list(self.path))


class ClosesItsForks(ToyCache):
    def fork(self) -> ToyCache:
        fork = super().fork()
        self.forks = [*getattr(self, "forks", []), fork]
        return fork

    def close(self) -> None:
        super().close()
        for fork in getattr(self, "forks", []):
            fork.close()


@dataclass(frozen=True, eq=False)
class SharedScores(ToyScores):
    """room: where the model leaves logits for everybody, [rows, vocab]."""

    room: list[Array]

    def logits(self, row: int) -> Array:
        return self.room[0][row]


class HeadOverScores(ToyModel):
    """A head of something else, left where the logits of the last pass were."""

    def __init__(self, net: Any, **options: Any) -> None:
        super().__init__(net, **options)
        self.room: list[Array] = []

    def score(self, queries: Sequence[Query]) -> list[Scores]:
        [scores] = [self._score(query) for query in queries]
        self.room[:] = [np.stack([scores.logits(row) for row in range(len(scores.states))])]
        return [SharedScores(scores.net, scores.states, scores.query, self.room)]

    def head(self, hidden: Vectors) -> Array:
        self.room[:] = [super().head(hidden) + 1]
        return self.room[0]


class HeadWritesOver(HeadOverScores):
    """The right head, left where the logits of the last pass were."""

    def head(self, hidden: Vectors) -> Array:
        self.room[:] = [ToyModel.head(self, hidden)]
        return self.room[0].copy()


MODELS: list[tuple[type[ToyModel], str, tuple[object, ...]]] = [
    (SeesSiblings, "test_rows_of_a_tree", (1,)),
    (SeesSiblings, "test_siblings_do_not_see_each_other", ()),
    (PositionsByRow, "test_positions_follow_depth", ()),
    (PositionsByRow, "test_rows_of_a_tree", (2,)),
    (BlindToItself, "test_the_last_token_matters", ()),
    (MixesUpBatches, "test_sequences_of_one_pass", ()),
    (LastOfTies, "test_argmax_is_the_lowest_of_the_largest", ()),
    (LastOfTies, "test_top_is_best_first", (3,)),
    (Generous, "test_logits_of_wanted_rows_only", ()),
    (Generous, "test_argmax_alone", ()),
    (FirstOfAll, "test_argmax_alone", ()),
    (Generous, "test_abilities_not_offered_are_refused", ()),
    (WrongLayers, "test_head_of_the_last_taps", ()),
    (WrongLayers, "test_views", ()),
    (HeadOverScores, "test_head_of_the_last_taps", ()),
    (HeadWritesOver, "test_head_of_the_last_taps", ()),
    (with_cache(KeepsEverything), "test_dropped_rows_leave_no_trace", ()),
    (with_cache(KeepsAnything), "test_keep_refuses_what_is_no_path", ((0, 2, 3),)),
    (with_cache(KeepsAnything), "test_keep_refuses_what_is_no_path", ((0, 4),)),
    (with_cache(KeepsAnything), "test_a_pass_forgets_rows_not_kept", ()),
    (with_cache(KeepsTwice), "test_a_pass_forgets_rows_not_kept", ()),
    (with_cache(KeepsTwice), "test_trim", ()),
    (with_cache(TrimsByOne), "test_trim", ()),
    (with_cache(TrimsAnywhere), "test_trim", ()),
    (with_cache(SharesItsFork), "test_forks_are_independent", ()),
    (with_cache(SharesItsFork), "test_close", ()),
    (with_cache(ClosesItsForks), "test_close", ()),
    (with_cache(ForksPending), "test_no_fork_while_rows_are_pending", ()),
]


@pytest.mark.parametrize(("broken", "check", "arguments"), MODELS)
def test_the_model_kit_bites(broken: type[ToyModel], check: str, arguments: tuple[object, ...]) -> None:
    """The check fails on the broken model and passes on the sound one."""
    ties = broken is LastOfTies
    net = Tables.random(5, order=2, seed=1, ties=ties, scale=0.5 if ties else 1.0, mixed=not ties)
    if broken is Generous:
        net = replace(net, abilities=frozenset())
    getattr(ModelChecks(), check)(ToyModel(net), *arguments)
    with pytest.raises(AssertionError):
        getattr(ModelChecks(), check)(broken(net), *arguments)


@pytest.mark.parametrize(
    "broken",
    [SeesSiblings, PositionsByRow, MixesUpBatches]
    + [with_cache(cache) for cache in (KeepsEverything, KeepsAnything, KeepsTwice, TrimsByOne, SharesItsFork)]
    + [with_cache(cache) for cache in (ForksPending, ClosesItsForks)],
)
def test_the_cache_machine_bites(broken: type[ToyModel]) -> None:
    net = Tables.random(4, order=2, seed=1)
    case: Any = cache_machine(lambda: broken(net), examples=100)
    case.settings = settings(case.settings, phases=[Phase.generate])  # found is enough, it need not be made short
    with pytest.raises((AssertionError, ValueError, ExceptionGroup)):
        case("runTest").runTest()
