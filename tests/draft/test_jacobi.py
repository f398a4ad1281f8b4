"""Jacobi decoding against the iteration written down directly, over a target that is asked for whole texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from foredraft.core.errors import UnknownName
from foredraft.core.law import Point
from foredraft.core.protocols import Ask, Budget, Draw, News, Request, Verdict
from foredraft.core.rules import Rules
from foredraft.core.stream import KeyedStream
from foredraft.core.tree import EMPTY, DraftTree
from foredraft.draft import specify
from foredraft.draft.family import Provided
from foredraft.draft.jacobi import FAMILY, FILLER, GUESS, Guess, Jacobi, Options
from foredraft.engine.sequence import open_sequence
from foredraft.engine.stats import stats
from foredraft.models.toy import NGrams, Tables, ToyModel
from foredraft.policy.constant import Constant
from foredraft.testing.drafters import DrafterChecks, MakeDrafter, until
from foredraft.testing.recompute import Recompute
from foredraft.testing.watch import drive
from foredraft.verify.match import Match

VOCAB = 7


@pytest.mark.parametrize("init", ["text", "blank"])
class TestJacobi(DrafterChecks):
    @pytest.fixture
    def make_drafter(self, init: str) -> MakeDrafter:
        return lambda: Jacobi(Options(init))


def ask(state: Guess, text: Sequence[int], rows: int = 4, depth: int = 4, draw: Draw = "coupled") -> Ask[Guess]:
    return Ask(state, list(text), Rules(), Budget(rows, depth), draw, KeyedStream(0), VOCAB)


def said(judge: Recompute, text: Sequence[int]) -> int:
    """The target's likeliest token after `text`."""
    return int(np.argmax(judge.logits(tuple(text))))


def iterated(judge: Recompute, prompt: Sequence[int], most: int, count: int, filler: int | None) -> list[list[int]]:
    """The tokens of every pass, by the definition: y_i <- argmax p(. | x, y_1 … y_(i-1)) for all i at once.

    filler: what unknown positions hold, None for the text's last tokens over again.
    """
    text, guess, passes = list(prompt), list[int](), list[list[int]]()
    while len(text) < len(prompt) + most:
        size = min(count, len(prompt) + most - len(text) - 1)
        known = guess[:size]
        missing = size - len(known)
        tail = (text[-missing:] * size)[:missing] if missing else []
        fed = known + (tail if filler is None else [filler] * missing)
        answers = [said(judge, (*text, *fed[:step])) for step in range(size + 1)]
        right = 0
        while right < len(known) and known[right] == answers[right]:
            right += 1
        if known:  # fillers behind guesses are verified like them
            while right < size and fed[right] == answers[right]:
                right += 1
        passes.append(answers[: right + 1])
        text += answers[: right + 1]
        guess = (answers + guess[size + 1 :])[right + 1 :]
    return passes


@pytest.mark.parametrize("init", ["text", "blank"])
def test_passes_are_those_of_the_iteration(init: str) -> None:
    """Over 1,000 contexts in all: targets of order 1 and 2, windows of 1 to 6."""
    generator = np.random.default_rng(2)
    contexts = accepted = 0
    for seed in range(60):
        target = ToyModel(Tables.random(VOCAB, order=1 + seed % 2, seed=seed), context=96)
        judge, count = Recompute(target), int(generator.integers(1, 7))
        prompt = tuple(int(token) for token in generator.integers(0, VOCAB, size=generator.integers(1, 6)))
        sequence = open_sequence(target, Jacobi(Options(init), blank=3), Match(), Request(prompt, 0), until(30))
        drive(target, Constant(count), [sequence])
        expected = iterated(judge, prompt, 30, count, 3 if init == "blank" else None)
        assert [list(step.tokens) for step in sequence.steps] == expected
        contexts += len(expected)
        accepted += stats(sequence.steps).accepted
    assert contexts > 1000
    assert accepted > 200


def test_a_worked_example() -> None:
    """The target counts on; k = 2, the prompt ends with 4 1, unknown positions are fed these again.

    Pass 1: root 1, fed 4 1 to be learnt from; it says 2, and 5 and 2 after them: emitted 2, next guess 5 2.
    Pass 2: root 2, fed 5 2; it says 3, 6, 3: emitted 3, next guess 6 3. And so on: a guess of a context of one token
    is as wrong as the one before, so every pass emits one token, until a filler happens to be right.
    """
    target = ToyModel(NGrams.fit([list(range(VOCAB)) * 8], VOCAB))
    sequence = open_sequence(target, Jacobi(Options()), Match(), Request((4, 1), 0), until(12))
    fed, guesses = [], []
    for _ in range(3):
        drive(target, Constant(2), [sequence], rounds=1)
        fed.append((sequence.steps[-1].tree.tokens, sequence.steps[-1].tree.probes))
        guesses.append((sequence.steps[-1].tokens, sequence.state.tokens))
    assert fed == [((4, 1), (True, True)), ((5, 2), (False, False)), ((6, 3), (False, False))]
    assert guesses == [((2,), (5, 2)), ((3,), (6, 3)), ((4,), (0, 4))]


def test_guesses_that_others_drafted_too_are_read() -> None:
    """Joined with another drafter's, a guess carries both names; what the target says after it is the next guess."""

    class Said:
        def argmax(self, row: int) -> int:
            return (4, 5, 6, 0)[row]

    tree = replace(DraftTree.of((1, 2, 3), (-1, 0, 0), ""), sources=("jacobi+suffix", "suffix", "jacobi"))
    told = News(Guess((1, 3)), [0, 4], (4,), 0, (), Said(), tree, Verdict((), 4), None, 1)  # type: ignore[arg-type]
    Jacobi(Options()).update([told])
    assert told.state.tokens == (5, 0)


def test_unknown_positions_are_fillers() -> None:
    (tree,) = Jacobi(Options("blank"), blank=6).propose([ask(Guess((1, 2)), [5, 4])])
    assert (tree.tokens, tree.probes) == ((1, 2, 6, 6), (False,) * 4)
    assert np.exp(tree.score) == pytest.approx([GUESS, GUESS**2, GUESS**2 * FILLER, GUESS**2 * FILLER**2])
    assert tree.laws == (None,) * 4
    drafter = Jacobi(Options())
    (tree,) = drafter.propose([ask(Guess(), [5, 4, 3], rows=8, depth=7, draw="sampled")])
    assert (tree.tokens, tree.probes) == ((5, 4, 3, 5, 4, 3, 5), (True,) * 7)
    assert tree.laws == (None,) * 7
    (tree,) = drafter.propose([ask(Guess((1,)), [5, 4, 3], rows=2, draw="sampled")])
    assert tree.laws == (Point(1, VOCAB), Point(3, VOCAB))
    assert Jacobi(Options()).propose([ask(Guess((1,)), [5], rows=0)]) == [EMPTY]


class Spaces:
    size = VOCAB

    def encode(self, text: str) -> list[int]:
        return [2] if text == " " else []

    def decode(self, ids: Sequence[int]) -> str:
        return " " * len(ids)

    def token_bytes(self, token: int) -> bytes | None:
        return b" "


def test_a_blank_is_a_space() -> None:
    assert specify("jacobi:init=blank").needs.tokenizer
    assert not specify("jacobi").needs.tokenizer
    drafter = FAMILY.build(Options("blank"), Provided(tokenizer=Spaces()))
    assert drafter.propose([ask(Guess(), [5], rows=2)])[0].tokens == (2, 2)
    with pytest.raises(UnknownName, match="'zero': choose from blank, text"):
        specify("jacobi:init=zero")
