"""Predicted outputs against a twin that searches the prediction anew each time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foredraft.core.errors import UsageError
from foredraft.core.law import Point
from foredraft.core.protocols import Ask, Budget, Draw, News, Request
from foredraft.core.rules import Rules
from foredraft.core.stream import KeyedStream
from foredraft.core.tree import EMPTY, ROOT, DraftTree, check
from foredraft.draft import specify
from foredraft.draft.prediction import AGREED, ANCHOR, BLIND, GOES_ON, LOST, Options, Place, Prediction, nearest
from foredraft.engine.sequence import open_sequence
from foredraft.engine.stats import stats
from foredraft.models.toy import Tables, ToyModel
from foredraft.policy.constant import Constant
from foredraft.testing.drafters import DrafterChecks, MakeDrafter, until
from foredraft.testing.watch import drive, plain_text
from foredraft.verify.match import Match

VOCAB = 20


@pytest.mark.parametrize("options", [Options(), Options(branches=1), Options(n=1)], ids=["default", "chain", "n=1"])
class TestPrediction(DrafterChecks):
    @pytest.fixture
    def make_drafter(self, options: Options) -> MakeDrafter:
        return lambda: Prediction(options)

    def request(self, prompt: tuple[int, ...], **options: Any) -> Request:
        return replace(super().request(prompt, **options), prediction=(0, 1, 2, 1, 0, 0, 2, 1, 1, 2))


def ask(place: Place, text: Sequence[int], rows: int = 8, depth: int = 8, draw: Draw = "coupled") -> Ask[Place]:
    return Ask(place, list(text), Rules(), Budget(rows, depth), draw, KeyedStream(0), VOCAB)


def told(place: Place, committed: Sequence[int], count: int) -> News[Place]:
    nothing: Any = None
    tokens = tuple(committed[len(committed) - count :])
    return News(place, committed, tokens, 0, (), nothing, EMPTY, None, None, 1)


def after(prediction: Sequence[int], output: Sequence[int], options: Options = Options()) -> tuple[Prediction, Place]:  # noqa: B008 - frozen
    """The drafter once `output` has followed the prompt 19 19."""
    drafter = Prediction(options)
    place = drafter.open(Request((19, 19), 0, prediction=tuple(prediction)))
    drafter.update([told(place, [19, 19, *output], len(output))])
    return drafter, place


def branches(
    drafter: Prediction, place: Place, output: Sequence[int], rows: int = 12, depth: int = 3
) -> list[list[int]]:
    """The tokens of every path to a leaf."""
    (tree,) = drafter.propose([ask(place, [19, 19, *output], rows, depth)])
    check(tree, VOCAB, rows, depth, needs_laws=False)
    leaves = [node for node in range(len(tree)) if not tree.children(node)]
    return [[tree.tokens[step] for step in tree.path(node)] for node in leaves]


def test_a_worked_example() -> None:
    """Expected: 1 2 3 4 5 6 7 8 9. Followed, then left by a replacement, by an insertion, and by a deletion."""
    expected = range(1, 10)
    one = Options(branches=1)
    drafter, place = after(expected, [], one)
    assert branches(drafter, place, []) == [[1, 2, 3]]
    drafter, place = after(expected, [1, 2], one)
    assert branches(drafter, place, [1, 2]) == [[3, 4, 5]]
    # 13 for 3: bet that one token was replaced; with a second place to try, that 13 was put in before 3.
    drafter, place = after(expected, [1, 2, 13], one)
    assert branches(drafter, place, [1, 2, 13]) == [[4, 5, 6]]
    drafter, place = after(expected, [1, 2, 13], Options(branches=2))
    assert sorted(branches(drafter, place, [1, 2, 13])) == [[3, 4, 5], [4, 5, 6]]
    # 4 and 5 after it confirm the replacement, and it is followed again.
    drafter, place = after(expected, [1, 2, 13, 4, 5], one)
    assert (place.at, place.agreed) == (5, 2)
    # 3 left out: the 4 that came is found, and believed once 5 has come too.
    drafter, place = after(expected, [1, 2, 4], Options(branches=1))
    assert (place.at, place.agreed, place.since) == (2, 0, 1)
    drafter, place = after(expected, [1, 2, 4, 5], one)
    assert (place.at, place.agreed, place.since) == (5, 2, 0)
    assert branches(drafter, place, [1, 2, 4, 5]) == [[6, 7, 8]]


def test_of_several_places_the_nearest_comes_first() -> None:
    expected = [1, 2, 3, 7, 8, 4, 5, 1, 2, 9, 7, 8, 5, 6, 0, 7, 8, 6]
    drafter, place = after(expected, [1, 2, 3, 7, 8, 4, 5, 1, 2, 13, 7, 8])
    assert (place.at, place.agreed) == (12, 2)  # not 5 or 17
    assert branches(drafter, place, [2, 13, 7, 8], rows=3, depth=1)[0] == [5]
    assert nearest([2, 5, 8, 9], 6, 3) == [5, 8, 9]
    assert nearest([2, 4, 8], 6, 2) == [8, 4]
    assert nearest([], 6, 2) == nearest([1], 6, 0) == []


def test_a_text_that_went_its_own_way_is_left_alone() -> None:
    other = [13] * LOST
    drafter, place = after(range(1, 10), other)
    assert branches(drafter, place, other)
    drafter, place = after(range(1, 10), [*other, 13])
    assert branches(drafter, place, [*other, 13]) == []
    drafter, place = after(range(1, 10), [*other, 13, 5, 6])
    assert branches(drafter, place, [*other, 13, 5, 6]) == [[7, 8, 9]]


@pytest.mark.parametrize("prediction", [None, (), (1,)])
def test_without_a_prediction_nothing_is_drafted(prediction: tuple[int, ...] | None) -> None:
    drafter = Prediction(Options())
    place = drafter.open(Request((1, 2), 0, prediction=prediction))
    drafter.update([told(place, [1, 2, 1], 1)])
    assert drafter.propose([ask(place, [1, 2, 1])]) == [EMPTY]


def test_past_its_end_nothing_is_drafted_but_what_came_before_may_come_again() -> None:
    drafter, place = after([1, 2, 3], [1, 2, 3])
    assert branches(drafter, place, [1, 2, 3]) == []
    drafter, place = after([1, 2, 3], [1, 2, 3, 1, 2])
    assert branches(drafter, place, [1, 2, 3, 1, 2]) == [[3]]


# --- the twin -------------------------------------------------------------------------------------------------------


def searched(prediction: list[int], output: list[int], n: int, count: int) -> list[tuple[int, float]]:
    """The bets after `output`, from the definition: every place is looked at for every token."""

    def near(run: list[int], at: int) -> list[int]:
        ends = [end for end in range(len(run), len(prediction)) if prediction[end - len(run) : end] == run]
        return sorted(ends, key=lambda end: (abs(end - at), -end))

    at, agreed, since = 0, ANCHOR, 0
    for said in range(1, len(output) + 1):
        if agreed and prediction[at : at + 1] == output[said - 1 : said]:
            at, agreed = at + 1, agreed + 1
            continue
        agreed, since = 0, since + 1
        for size in range(min(n, said), 0, -1):
            if size >= min(ANCHOR, n) and (ends := near(output[said - size : said], at)):
                at, agreed, since = ends[0], size, 0
                break
    found: list[tuple[int, float]] = [(at, AGREED[min(agreed, 4)])] if agreed else []
    for size in range(min(n, len(output)), 0, -1):
        for rank, end in enumerate(near(output[len(output) - size :], at)[:count]):
            found.append((end, AGREED[min(size, 4)] * 0.5 ** (rank + bool(agreed))))
    if not agreed and since <= LOST:
        found += [(at + since, BLIND), (at, BLIND / 2)]
    first = [bet for index, bet in enumerate(found) if bet[0] not in [other for other, _ in found[:index]]]
    return sorted((bet for bet in first if bet[0] < len(prediction)), key=lambda bet: -bet[1])[:count]


def edited(generator: np.random.Generator) -> tuple[list[int], list[int]]:
    """A prediction, and the beginning of an output that differs from it here and there."""
    vocab = int(generator.integers(2, VOCAB))
    prediction = [int(token) for token in generator.integers(0, vocab, size=generator.integers(0, 40))]
    output: list[int] = []
    for token in prediction[: generator.integers(0, 40)]:
        edit = generator.random()
        output += [] if edit < 0.07 else [int(generator.integers(0, vocab)), token] if edit < 0.14 else [token]
        if edit > 0.93:
            output[-1] = int(generator.integers(0, vocab))
    return prediction, output


def test_a_thousand_texts_are_followed_as_a_search_follows_them() -> None:
    generator = np.random.default_rng(6)
    followed = lost = 0
    for _ in range(1000):
        prediction, output = edited(generator)
        n, count = (int(each) for each in generator.integers((1, 1), (5, 6)))
        rows, depth = (int(each) for each in generator.integers((1, 1), (20, 8)))
        drafter, place = after(prediction, output, Options(n=n, branches=count))
        (tree,) = drafter.propose([ask(place, [19, 19, *output], rows, depth)])
        check(tree, VOCAB, rows, depth, needs_laws=False)
        expected: dict[tuple[int, ...], float] = {}
        for at, chance in searched(prediction, output, n, count):
            for end in range(1, min(rows, depth, len(prediction) - at) + 1):
                path = tuple(prediction[at : at + end])
                expected[path] = max(expected.get(path, -math.inf), math.log(chance) + (end - 1) * math.log(GOES_ON))
        mine = {tuple(tree.tokens[step] for step in tree.path(node)): tree.score[node] for node in range(len(tree))}
        assert len(mine) == len(tree) == min(rows, len(expected))
        assert mine == pytest.approx({path: expected[path] for path in mine})
        assert sorted(mine.values()) == pytest.approx(sorted(sorted(expected.values(), reverse=True)[:rows]))
        followed += place.agreed > 0
        lost += not place.agreed and len(tree) > 0
    assert followed > 400
    assert lost > 100


def test_a_text_told_in_blocks_is_followed_as_token_by_token() -> None:
    generator = np.random.default_rng(7)
    for _ in range(100):
        prediction, output = edited(generator)
        _, whole = after(prediction, output)
        drafter, place = after(prediction, [])
        for end in range(1, len(output) + 1):
            drafter.update([told(place, [19, 19, *output[:end]], 1)])
        assert place == whole


# --- in use ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edit", [(), (9,), (9, 9, 9)], ids=["deleted", "replaced", "inserted"])
def test_one_difference_costs_few_passes(edit: tuple[int, ...]) -> None:
    target = ToyModel(Tables.random(12, order=1, seed=3))
    text = plain_text(target, Request((4, 5), 0), until(24), KeyedStream(0))
    request = Request((4, 5), 0, prediction=(*text[:10], *edit, *text[11:]))
    sequence = open_sequence(target, Prediction(Options()), Match(), request, until(24))
    drive(target, Constant(8), [sequence])
    found = stats(sequence.steps)
    assert sequence.output == list(text)
    assert found.accepted < found.drafted
    assert found.passes <= 6


def test_a_ratio_verifier_is_told_that_nothing_was_drawn_by_chance() -> None:
    drafter, place = after([1, 2, 3], [1])
    (tree,) = drafter.propose([ask(place, [19, 19, 1], draw="sampled")])
    assert tree.laws == (Point(2, VOCAB), Point(3, VOCAB))


class Letters:
    size = VOCAB

    def encode(self, text: str) -> list[int]:
        return [ord(letter) - ord("a") for letter in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(token + ord("a")) for token in ids)

    def token_bytes(self, token: int) -> bytes | None:
        return self.decode([token]).encode()


def test_a_file_is_what_every_request_expects(tmp_path: Path) -> None:
    file = tmp_path / "expected.txt"
    with pytest.raises(UsageError, match="name a file of UTF-8 text"):
        Prediction(Options(file=str(file)), Letters())
    file.write_bytes(b"\xff")
    with pytest.raises(UsageError, match="name a file of UTF-8 text"):
        Prediction(Options(file=str(file)), Letters())
    file.write_text("abc")
    assert specify(f"prediction:file={file}").needs.tokenizer
    drafter = Prediction(Options(file=str(file)), Letters())
    places = [drafter.open(Request((5,), 0)), drafter.open(Request((5,), 0, prediction=(7, 8)))]
    found = drafter.propose([ask(place, [5]) for place in places])
    assert [tree.tokens for tree in found] == [(0, 1, 2), (7, 8)]
    assert found[0].parents == DraftTree.chain((0, 1, 2), "").parents == (ROOT, 0, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n of prediction must be at least 1, not 0"),
        ({"branches": 0}, "branches of prediction must be from 1 to 16, not 0"),
        ({"branches": 17}, "branches of prediction must be from 1 to 16, not 17"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        Options(**options)
    assert str(refused.value) == message
