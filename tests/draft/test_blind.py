"""Blind guessing: the chance of a uniform guess by exact enumeration, and frequencies against a count of the text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from foredraft.core.errors import UnknownName
from foredraft.core.law import Point
from foredraft.core.protocols import Ask, Budget, Draw, News, Request, Verifier
from foredraft.core.rules import Rules
from foredraft.core.stream import KeyedStream, Purpose
from foredraft.core.tree import EMPTY, ROOT, DraftTree, check
from foredraft.draft import specify
from foredraft.draft.blind import FAMILY, SMOOTHING, WIDTH, Counts, Frequent, Key, Options, Uniform, guesses
from foredraft.draft.family import Provided
from foredraft.models.toy import Tables, ToyModel
from foredraft.testing.drafters import DrafterChecks, MakeDrafter
from foredraft.testing.exact import BranchingStream, Chooser, outcomes
from foredraft.testing.recompute import Recompute
from foredraft.verify.match import Match
from foredraft.verify.recursive import Recursive

VOCAB = 12


@pytest.mark.parametrize("source", ["random", "frequent"])
class TestBlind(DrafterChecks):
    @pytest.fixture
    def make_drafter(self, source: str) -> MakeDrafter:
        return lambda: FAMILY.build(Options(source), Provided())


# --- uniform guesses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verifier", [Match(), Recursive()], ids=lambda verifier: type(verifier).__name__)
@pytest.mark.parametrize("temperature", [0.0, 0.7, 3.0])
@pytest.mark.parametrize("size", [2, 5, 9])
def test_a_uniform_guess_is_accepted_once_in_a_vocabulary(verifier: Verifier, temperature: float, size: int) -> None:
    """Exactly 1/V, whatever the target's law: the mean over all guesses of the chance that each is accepted."""
    target = ToyModel(Tables.random(size, order=1, seed=5, scale=2.0))
    law = Rules(temperature=temperature).law_of(Recompute(target).logits((1,)))
    expected = 0.0
    for token in range(size):
        tree = DraftTree.chain([token], "blind").with_point_laws(size)

        def accepted(chooser: Chooser, tree: DraftTree = tree) -> bool:
            return bool(verifier(tree, lambda node: law, BranchingStream(chooser)).path)

        expected += outcomes(accepted).get(True, 0.0) / size
    assert expected == pytest.approx(1 / size, abs=1e-12)


def test_guesses_are_uniform_and_know_nothing_of_the_targets_noise() -> None:
    """Against the bounds of chi-square tests with 7 and 49 degrees of freedom, once in a million each."""
    size, rounds = 8, 20_000
    law = Rules(temperature=1.0).law_of(np.zeros(size))
    drawn = [guesses(1, 3, 1, position, size)[0] for position in range(rounds)]
    said = [KeyedStream(3, 1).at(position).draw(law, Purpose.TARGET) for position in range(rounds)]
    table = np.zeros((size, size))
    np.add.at(table, (drawn, said), 1)
    assert ((table.sum(axis=1) - rounds / size) ** 2 / (rounds / size)).sum() < 40.5
    assert ((table - rounds / size**2) ** 2 / (rounds / size**2)).sum() < 150
    assert guesses(3, 3, 1, 7, size) == guesses(3, 3, 1, 7, size) != guesses(3, 3, 2, 7, size)


def test_a_chain_of_uniform_guesses() -> None:
    drafter = Uniform()
    key = drafter.open(Request((1, 2), 5, choice=2))
    assert key == Key(5, 2)
    (tree,) = drafter.propose(
        [Ask(key, [1, 2], Rules(), Budget(4, 3), "sampled", KeyedStream(0), VOCAB)],
    )
    assert list(tree.tokens) == guesses(3, 5, 2, 2, VOCAB)
    assert tree.score == pytest.approx([-math.log(VOCAB), -2 * math.log(VOCAB), -3 * math.log(VOCAB)])
    assert tree.laws == tuple(Point(token, VOCAB) for token in tree.tokens)


# --- frequencies ----------------------------------------------------------------------------------------------------


def draft(text: Sequence[int], rows: int = 8, depth: int = 8, draw: Draw = "coupled") -> DraftTree:
    drafter = Frequent()
    state = drafter.open(Request(tuple(text), 0))
    (tree,) = drafter.propose([Ask(state, list(text), Rules(), Budget(rows, depth), draw, KeyedStream(0), VOCAB)])
    return tree


def test_a_worked_example() -> None:
    """1 2 1 3 1: 2 and 3 each followed 1 once, and 1, 2 and 3 came 3, 1 and 1 times of 5.

    P(2) = P(3) = (1 + 1/5) / (2 + 1) = 0.4, P(1) = (3/5) / 3 = 0.2. After 2: P(1) = (1 + 3/5) / 2 = 0.8.
    """
    tree = draft([1, 2, 1, 3, 1], rows=5, depth=2)
    assert tree.tokens == (2, 3, 1, 1, 1)
    assert tree.parents == (ROOT, ROOT, 0, 1, ROOT)
    assert [math.exp(score) for score in tree.score] == pytest.approx([0.4, 0.4, 0.32, 0.32, 0.2])


def test_a_thousand_trees_have_the_frequencies_of_their_texts() -> None:
    generator = np.random.default_rng(3)
    for _ in range(1000):
        size = int(generator.integers(1, WIDTH + 1))
        text = [int(token) for token in generator.integers(0, size, size=generator.integers(1, 40))]
        rows, depth = (int(each) for each in generator.integers((1, 1), (12, 4)))
        tree = draft(text, rows, depth)
        check(tree, VOCAB, rows, depth, needs_laws=False)

        def chance(last: int, token: int, text: list[int] = text) -> float:
            pairs = list(pairwise(text))
            among = sum(first == last for first, _ in pairs)
            return (pairs.count((last, token)) + SMOOTHING * text.count(token) / len(text)) / (among + SMOOTHING)

        paths: dict[tuple[int, ...], float] = {(): 1.0}
        for _ in range(depth):
            for path, weight in list(paths.items()):
                last = (text[-1], *path)[-1]
                paths |= {(*path, token): weight * chance(last, token) for token in set(text)}
        del paths[()]
        likeliest = sorted(paths.values(), reverse=True)[:rows]
        found = {tuple(tree.tokens[step] for step in tree.path(node)): tree.score[node] for node in range(len(tree))}
        assert len(found) == len(tree) == min(rows, len(paths))
        assert [math.exp(score) for score in tree.score] == pytest.approx(likeliest, rel=1e-6)
        assert all(math.exp(score) == pytest.approx(paths[path], rel=1e-6) for path, score in found.items())


def test_counts_grown_token_by_token_are_those_of_the_whole_text() -> None:
    text, drafter = [1, 2, 1, 3, 1, 1], Frequent()
    whole, grown = drafter.open(Request(tuple(text), 0)), drafter.open(Request((1,), 0))
    copied = drafter.open(Request((1,), 0), grown)
    for end in range(2, len(text) + 1):
        nothing = EMPTY
        drafter.update([News(grown, text[:end], (), 0, (), None, nothing, None, None, 1)])  # type: ignore[arg-type]
    assert grown == whole
    assert copied.length == 1
    assert Counts().length == 0


def test_other_sources_are_refused() -> None:
    assert specify("blind:frequent").options == specify("blind:source=frequent").options == Options("frequent")
    with pytest.raises(UnknownName, match="'luck': choose from frequent, random"):
        specify("blind:luck")
