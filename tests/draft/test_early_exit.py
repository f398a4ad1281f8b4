"""Some layers of the target draft: which ones, what they say, and that the text stays the target's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cases import rules_after
from foredraft.core.errors import UsageError
from foredraft.core.law import Point
from foredraft.core.protocols import Ask, Budget, Draw, Model, Request
from foredraft.core.rules import Rules
from foredraft.core.stream import KeyedStream, Purpose
from foredraft.core.tree import DraftTree
from foredraft.draft import line_up, specify
from foredraft.draft.early_exit import FAMILY, EarlyExit, Options
from foredraft.draft.family import Provided
from foredraft.engine.backends import Loaded, make_drafting
from foredraft.models.sources import Source
from foredraft.models.tokenizer import Tokenizer
from foredraft.models.toy import NGrams, Tables, ToyModel
from foredraft.testing.drafters import DrafterChecks, MakeDrafter
from tiny import write_tokenizer

OPTIONS = (Options(), Options(exit=1, tree="2x1"), Options(skip="0"), Options(layers="1"))


def made(options: Options, target: Model) -> EarlyExit:
    drafter = FAMILY.build(options, Provided(view=target.view(options.chosen(target.about.layers))))
    assert isinstance(drafter, EarlyExit)
    return drafter


@pytest.mark.parametrize("options", OPTIONS, ids=["default", "exit", "skip", "layers"])
class TestEarlyExit(DrafterChecks):
    @pytest.fixture
    def target(self) -> Model:
        return ToyModel(Tables.random(3, order=4, seed=21))

    @pytest.fixture
    def make_drafter(self, options: Options, target: Model) -> MakeDrafter:
        return lambda: made(options, target)


# --- which layers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "count", "wanted"),
    [
        ("", 30, (*range(12), *range(18, 30))),
        ("", 27, (*range(11), *range(16, 27))),
        ("", 4, (0, 1, 3)),
        ("", 2, (0,)),
        ("", 1, (0,)),
        (":exit=12", 28, tuple(range(12))),
        (":layers=0-2+27", 28, (0, 1, 2, 27)),
        (":layers=5+3-4+4", 6, (3, 4, 5)),
        (":skip=1-26", 28, (0, 27)),
        (":skip=0+2", 4, (1, 3)),
    ],
)
def test_layers_by_how_many_there_are(written: str, count: int, wanted: tuple[int, ...]) -> None:
    assert specify(f"early_exit{written}").needs.view(count) == wanted


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("layers=3-1", "layers joined by"),
        ("layers=1-2-3", "layers joined by"),
        ("skip=a", "layers joined by"),
        ("skip=1+", "layers joined by"),
        ("layers=0-99999999", "layers joined by"),
        ("layers=1,exit=2", "give one of them"),
        ("exit=2,skip=1", "give one of them"),
        ("tree=3x0", "widths joined by x"),
        ("tree=3x65", "widths joined by x"),
        ("tree=x", "widths joined by x"),
    ],
)
def test_what_is_no_set_of_layers_is_wrong_use(written: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        specify(f"early_exit:{written}")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(exit=5), "names layer 4 of a target that has layers 0 to 3"),
        (Options(layers="0+4-9"), "names layer 9 of"),
        (Options(skip="4"), "names layer 4 of"),
        (Options(skip="0-3"), "skips all 4 layers"),
    ],
    ids=str,
)
def test_layers_that_the_target_has_not_are_named(options: Options, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        options.chosen(4)


@pytest.fixture
def target(tmp_path: Path) -> Loaded:
    write_tokenizer(tmp_path)
    source = Source("toy", tmp_path, "hf")
    tokenizer = Tokenizer.from_source(source)
    return Loaded(source, "toy", ToyModel(Tables.random(3, order=3, seed=5)), tokenizer, 1)


def test_the_engine_gives_it_a_view_of_its_target(target: Loaded) -> None:
    drafter = make_drafting(line_up("early_exit:skip=1"), target).drafters["early_exit"]
    assert isinstance(drafter, EarlyExit)
    assert drafter.model.about.layers == 2
    assert drafter.needs.view(3) == (0, 2)


def test_layers_that_are_not_there_are_told_before_anything_runs(target: Loaded) -> None:
    with pytest.raises(UsageError, match="names layer 3 of a target that has layers 0 to 2$"):
        make_drafting(line_up("early_exit:skip=3"), target)


def test_a_target_without_views_is_refused(target: Loaded) -> None:
    bare = ToyModel(NGrams.fit([[0, 1, 2, 0, 1]], vocab_size=3))
    bare.abilities = frozenset()
    other = Loaded(target.source, "toy", bare, target.tokenizer, 1)
    with pytest.raises(UsageError, match="needs layers of the target"):
        make_drafting(line_up("early_exit"), other)


# --- what they say ----------------------------------------------------------------------------------------------------


def ask(drafter: EarlyExit, text: Sequence[int], size: int, draw: Draw, rules: Rules, depth: int) -> Ask[Any]:
    state = drafter.open(Request(tuple(text), 0))
    return Ask(state, list(text), rules, Budget(depth, depth), draw, KeyedStream(3).at(len(text)), size)


def proposed(options: Options, net: Tables, text: Sequence[int]) -> DraftTree:
    drafter = made(options, ToyModel(net))
    return drafter.propose([ask(drafter, text, net.vocab_size, "point", Rules(), 3)])[0]


def test_a_worked_example() -> None:
    """Draft & Verify: a layer that is left out passes on what it was given. Three layers, three tokens.

    Embeddings give 0 -> (0 1 0), 1 -> (0 0 1), 2 -> (1 0 0). Layer 0 adds (0 0 2) after 0, layer 1 (0 3 0) after 0, and
    layer 2 (0 2 0) after 2. All of them say 1 after 0 (0 4 2), 2 after 1 (0 0 1) and 1 after 2 (1 2 0).
    """
    nothing = np.zeros(3)
    rows = [
        [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0], nothing],
        [[0.0, 0.0, 2.0], nothing, nothing, nothing],
        [[0.0, 3.0, 0.0], nothing, nothing, nothing],
        [nothing, nothing, [0.0, 2.0, 0.0], nothing],
    ]
    net = Tables(tuple(np.array(table) for table in rows), (0, 0, 0, 0), np.zeros((16, 3)), np.eye(3))
    assert proposed(Options(layers="0-2"), net, (0,)).tokens == (1, 2, 1)  # all: what the target itself says
    assert proposed(Options(skip="1"), net, (0,)).tokens == (2, 1, 2)  # after 0: (0 1 2)
    assert proposed(Options(exit=1), net, (0,)).tokens == (2, 0, 2)  # after 2: (1 0 0)
    assert proposed(Options(layers="1"), net, (0,)).tokens == (1, 2, 0)  # after 0: (0 4 0)
    assert proposed(Options(), net, (0,)).tokens == (2, 1, 2)  # of three layers, all but the middle one


def slow(net: Tables, layers: Sequence[int], path: Sequence[int]) -> np.ndarray:
    """Logits of some layers, each number added by itself."""
    found = []
    for token in range(net.vocab_size):
        total = net.positions[len(path) - 1][token]
        for table in (0, *(layer + 1 for layer in layers)):
            size = net.orders[table] + 1
            context = [*[net.vocab_size] * size, *path][-size:]
            entry: Any = net.tables[table]
            for one in context:
                entry = entry[one]
            total = total + entry[token]
        found.append(total)
    return np.array(found)


def chain(net: Tables, layers: Sequence[int], one: Ask[Any]) -> tuple[list[int], list[float]]:
    """The chain and its scores, from scratch at every step."""
    tokens: list[int] = []
    scores: list[float] = []
    for depth in range(one.budget.depth):
        rules = rules_after(one.rules, tokens)
        law = rules.law_of(slow(net, layers, (*one.committed, *tokens)))
        if one.draw == "coupled" and not isinstance(law, Point):
            token = one.stream.ahead(depth).rank(law, 1, Purpose.TARGET)[0]
            chance = law.prob(token) ** 0.5  # how likely it stands where the target's law scatters about this one
        else:
            warm = Rules(temperature=1.0).law_of(slow(net, layers, (*one.committed, *tokens)))
            law = warm if isinstance(law, Point) else law
            token = int(np.argmax(law.dense()))
            chance = law.prob(token)
        tokens.append(token)
        scores.append(float(np.log(chance)) + (scores[-1] if scores else 0.0))
    return tokens, scores


def test_a_slow_twin_agrees_on_a_thousand_contexts() -> None:
    draw = np.random.default_rng(8)
    net = Tables.random(6, order=3, seed=9)
    draws: tuple[Draw, ...] = ("point", "coupled")
    for turn in range(1000):
        chosen = tuple(sorted(draw.permutation(3)[: 1 + turn % 3].tolist()))
        options = Options(layers="+".join(map(str, chosen)))
        text = draw.integers(6, size=1 + int(draw.integers(12))).tolist()
        drafter = made(options, ToyModel(net))
        rules = Rules(temperature=(0.0, 0.8)[turn // 3 % 2])
        one = ask(drafter, text, 6, draws[turn // 6 % 2], rules, 1 + turn % 4)
        [tree] = drafter.propose([one])
        tokens, scores = chain(net, chosen, one)
        assert list(tree.tokens) == tokens
        np.testing.assert_allclose(tree.score, scores, rtol=1e-12)
        assert set(tree.sources) == {"early_exit"}
