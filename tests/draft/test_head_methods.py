"""Medusa, Hydra and multi-token heads as drafters: the conformance kit, and what their trees are made of."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from foredraft.core.errors import UsageError
from foredraft.core.heads import Feed
from foredraft.core.protocols import Ask, Budget, Model, Query
from foredraft.core.rules import Rules
from foredraft.core.stream import KeyedStream
from foredraft.draft import family, specify
from foredraft.draft.family import Provided
from foredraft.draft.head_state import HeadState
from foredraft.draft.hydra_head import plain_hydra
from foredraft.draft.medusa_head import plain_medusa
from foredraft.draft.mtp_head import plain_mtp
from foredraft.draft.static_tree import StaticTree
from foredraft.models.toy import Tables, ToyModel
from foredraft.testing.drafters import DrafterChecks, MakeDrafter
from random_heads import random_head, taps_of

PLAIN: dict[str, Any] = {"medusa": plain_medusa, "hydra": plain_hydra, "mtp": plain_mtp}
SMALL = {"heads": 2, "kv_heads": 1, "head_size": 4, "hidden": 6}
TEXT = (0, 3, 1, 4, 1, 2, 0, 0, 3)


def plain(target: Model, method: str, *, block: int = 3, says: Any = None, seed: int = 3, **sizes: Any) -> Any:
    small = {} if method == "medusa" else SMALL
    parts = random_head(target.about, method=method, block=block, says=says, seed=seed, **(small | sizes))
    return PLAIN[method](target, *parts, dtype=np.float64)


def drafter_of(head: Any, method: str, **options: Any) -> Any:
    return family(method).build(family(method).options(**options), Provided(head=head))


@pytest.mark.parametrize("tree", ["dynamic", "static"])
class TestMedusa(DrafterChecks):
    @pytest.fixture
    def make_drafter(self, target: Model, tree: str) -> MakeDrafter:
        head = plain(target, "medusa")
        return lambda: drafter_of(head, "medusa", tree=tree)


class TestMTP(DrafterChecks):
    @pytest.fixture
    def make_drafter(self, target: Model) -> MakeDrafter:
        head = plain(target, "mtp", says=(0, 2))
        return lambda: drafter_of(head, "mtp")


@pytest.mark.parametrize("prefix", [0, 1])
class TestHydra(DrafterChecks):
    @pytest.fixture
    def make_drafter(self, target: Model, prefix: int) -> MakeDrafter:
        head = plain(target, "hydra", prefix=prefix)
        return lambda: drafter_of(head, "hydra")


# --- static trees -----------------------------------------------------------------------------------------------------


def products(accuracies: np.ndarray, depth: int) -> dict[tuple[int, ...], float]:
    """Every path of ranks, and its chance."""
    ranks = range(accuracies.shape[1])
    paths = (path for length in range(1, depth + 1) for path in itertools.product(ranks, repeat=length))
    return {path: math.prod(accuracies[level, rank] for level, rank in enumerate(path)) for path in paths}


def paths_of(ranks: list[int], parents: list[int]) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = []
    for rank, parent in zip(ranks, parents, strict=True):
        found.append((*(found[parent] if parent >= 0 else ()), rank))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_a_static_tree_is_that_of_the_likeliest_paths(seed: int) -> None:
    accuracies = np.random.default_rng(seed).uniform(size=(3, 4)) * 0.3  # ranks in no order
    chances = products(accuracies, 3)
    tree = StaticTree(accuracies)
    for rows in (1, 5, 17):
        ranks, parents, scores = tree.nodes(rows, 3, 0.0)
        best = sorted(chances, key=lambda path: -chances[path])[:rows]
        assert set(paths_of(ranks, parents)) == set(best)
        np.testing.assert_allclose(scores, [math.log(chances[path]) for path in paths_of(ranks, parents)])
        assert paths_of(*tree.nodes(rows + 4, 3, 0.0)[:2])[:rows] == paths_of(ranks, parents)
    assert max(map(len, paths_of(*tree.nodes(40, 2, 0.0)[:2]))) == 2
    least = sorted(chances.values())[-6]
    assert len(tree.nodes(40, 3, least * (1 - 1e-9))[0]) == 6


def test_a_static_tree_takes_the_tokens_at_its_ranks() -> None:
    accuracies = np.array([[0.6, 0.32, 0.05], [0.5, 0.2, 0.1]])
    logits = np.array([[0.0, 5.0, 1.0, 4.0], [2.0, 0.0, 9.0, 1.0]], np.float32)
    places, parents, _ = StaticTree(accuracies).paths(logits, 4, 2, 0.0)
    assert list(zip(places, parents, strict=True)) == [(1, -1), (3, -1), (2, 0), (2, 1)]  # .6 .32 .3 .16
    few, above, _ = StaticTree(accuracies).paths(logits[:, 1:2], 9, 2, 0.0)
    assert (few, above) == ([0, 0], [-1, 0])  # one token has no second rank


def test_a_static_tree_needs_accuracies() -> None:
    with pytest.raises(UsageError, match="write tree=dynamic"):
        StaticTree(np.zeros((2, 3)))


# --- what heads read --------------------------------------------------------------------------------------------------


@pytest.fixture
def target() -> ToyModel:
    return ToyModel(Tables.random(6, order=2, seed=4, scale=1.0, context=256), context=256)


@pytest.mark.parametrize("prefix", [0, 1])
def test_a_tree_of_hydra_is_of_the_laws_along_its_paths(target: ToyModel, prefix: int) -> None:
    """Every node's score is the sum of the log probabilities that the heads give its path, fed as a text."""
    head = plain(target, "hydra", prefix=prefix)
    drafter, taps = drafter_of(head, "hydra"), taps_of(target, TEXT, head.taps)

    def feed() -> Feed:
        return Feed(head.open(), TEXT[1:], taps[: len(TEXT) - 1], 3)

    asked = feed()
    ask = Ask(HeadState(asked.cache), TEXT, Rules(), Budget(30, 3), "point", KeyedStream(0), 6)
    (tree,) = drafter.grow([ask], [asked])
    assert len(tree) == 30
    assert tree.depth == 3
    for node in range(len(tree)):
        path = [node]
        while tree.parents[path[0]] >= 0:
            path.insert(0, tree.parents[path[0]])
        tokens = [tree.tokens[one] for one in path]
        laws = drafter.laws(feed(), tokens)
        logs = laws - np.log(np.exp(laws).sum(1, keepdims=True))
        assert tree.score[node] == pytest.approx(sum(logs[at][token] for at, token in enumerate(tokens)), abs=1e-5)


def test_levels_of_several_texts_share_a_pass(target: ToyModel) -> None:
    """Rows of different depths and texts in one call say what each says alone."""
    head = plain(target, "hydra")
    taps = taps_of(target, TEXT, head.taps)
    one, two = head.open(), head.open()
    head.score([Feed(one, TEXT[1:5], taps[:4], 3), Feed(two, TEXT[1:8], taps[:7], 3)])
    head.level([Query(one, (2, 3), (-1, -1))])
    both = head.level([Query(one, (1,), (1,)), Query(two, (4, 0), (-1, -1))])
    head.score([Feed(one, TEXT[5:6], taps[4:5], 0)])
    head.score([Feed(one, TEXT[6:8], taps[5:7], 1)])
    alone = head.level([Query(one, (4, 0), (-1, -1))])[0]
    assert np.array_equal(both[1], alone)
    assert both[0].shape == (1, 6)


@pytest.mark.parametrize("method", ["medusa", "hydra", "mtp"])
def test_heads_refuse_the_caches_of_others(target: ToyModel, method: str) -> None:
    head = plain(target, method)
    other = plain(target, "mtp" if method != "mtp" else "medusa").open()
    taps = taps_of(target, TEXT, head.taps)
    with pytest.raises(ValueError, match="its own caches"):
        head.score([Feed(other, TEXT[1:2], taps[:1], 1)])


# --- options ----------------------------------------------------------------------------------------------------------


def test_options() -> None:
    assert specify("medusa:some/head.safetensors,tree=static").options.tree == "static"
    assert specify("hydra:x.safetensors,depth=2,k=7").needs.head == "x.safetensors"
    with pytest.raises(UsageError, match="tree of drafter 'mtp' must be dynamic or static, not 'oak'"):
        specify("mtp:tree=oak")
    with pytest.raises(UsageError, match="needs a trained head: write hydra:PATH"):
        drafter_of(None, "hydra")
