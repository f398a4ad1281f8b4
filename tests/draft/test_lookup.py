"""Prompt lookup against a search of the text that keeps no index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foredraft.core.errors import UsageError
from foredraft.core.law import Point
from foredraft.core.protocols import Ask, Budget, Draw, News, Request
from foredraft.core.rules import Rules
from foredraft.core.stop import Stop, StopState
from foredraft.core.stream import KeyedStream
from foredraft.core.tree import EMPTY, DraftTree, check
from foredraft.draft.lookup import PLACES, Index, Lookup, Options
from foredraft.engine.loop import generate
from foredraft.engine.sequence import open_sequence
from foredraft.engine.stats import stats
from foredraft.models.toy import Tables, ToyModel
from foredraft.policy.constant import Constant
from foredraft.verify.match import Match

VOCAB = 6


def ask(state: Index, text: Sequence[int], rows: int = 8, depth: int = 8, draw: Draw = "coupled") -> Ask[Index]:
    return Ask(state, list(text), Rules(), Budget(rows, depth), draw, KeyedStream(0), VOCAB)


def draft(text: Sequence[int], rows: int = 8, depth: int = 8, draw: Draw = "coupled", **options: int) -> DraftTree:
    drafter = Lookup(Options(**options))
    (tree,) = drafter.propose([ask(drafter.open(Request(tuple(text), 0)), text, rows, depth, draw)])
    return tree


def told(state: Index, committed: Sequence[int]) -> News[Index]:
    nothing: Any = None
    return News(state, committed, (), 0, (), nothing, EMPTY, None, None, 1)


def searched(text: Sequence[int], longest: int, shortest: int, branches: int, count: int) -> list[list[int]]:
    """The continuations that differ, read off the text: longest context first, then the most recent."""
    found: list[list[int]] = []
    for size in range(longest, shortest - 1, -1):
        context = list(text[-size:])
        followed = [end for end in range(size, len(text)) if list(text[end - size : end]) == context]
        for end in reversed(followed[-PLACES:]):
            grown = list(text)
            for step in range(count):
                grown.append(grown[end + step])
            if grown[len(text) :] not in found and len(found) < branches and len(context) == size:
                found.append(grown[len(text) :])
    return found


def random_texts(count: int) -> list[list[int]]:
    """Half of them random, half periodic with a slip now and then: every period from 1 to 7."""
    generator = np.random.default_rng(7)
    texts = []
    for index in range(count):
        length = int(generator.integers(1, 60))
        vocab = int(generator.integers(1, VOCAB + 1))
        text = generator.integers(0, vocab, size=length)
        if index % 2:
            period = generator.integers(0, vocab, size=1 + index % 7)
            text = np.where(generator.random(length) < 0.1, text, np.resize(period, length))
        texts.append([int(token) for token in text])
    return texts


def test_a_thousand_texts_are_continued_as_a_search_continues_them() -> None:
    generator = np.random.default_rng(8)
    drafted = 0
    for text in random_texts(1000):
        longest, rows, depth = (int(each) for each in generator.integers((1, 1, 1), (5, 10, 10)))
        shortest = int(generator.integers(1, longest + 1))
        tree = draft(text, rows, depth, n=longest, min=shortest)
        expected = searched(text, longest, shortest, 1, min(rows, depth))
        assert list(tree.tokens) == (expected[0] if expected else [])
        assert tree.parents == tuple(range(-1, len(tree) - 1))
        drafted += len(tree) > 0
    assert drafted > 700


def test_a_thousand_trees_hold_the_continuations_a_search_finds() -> None:
    generator = np.random.default_rng(9)
    branched = 0
    for text in random_texts(1000):
        branches, rows, depth = (int(each) for each in generator.integers((2, 1, 1), (PLACES + 1, 12, 6)))
        tree = draft(text, rows, depth, n=3, branches=branches)
        check(tree, VOCAB, rows, depth, needs_laws=False)
        paths = [tuple(tree.tokens[step] for step in tree.path(node)) for node in range(len(tree))]
        assert len(set(paths)) == len(paths)
        chains = searched(text, 3, 1, branches, min(rows, depth))
        offered = {tuple(chain[:end]) for chain in chains for end in range(1, len(chain) + 1)}
        assert set(paths) <= offered
        assert len(paths) == min(rows, len(offered))
        branched += len(tree.children(-1)) > 1
    assert branched > 300


def saxena(text: Sequence[int], longest: int, count: int) -> list[int]:
    """Prompt lookup as its author describes it: the end of the text, slid over the text from its beginning."""
    for size in range(longest, 0, -1):
        for start in range(len(text) - size):
            if text[start : start + size] == text[len(text) - size :]:
                return list(text[start + size : start + size + count])
    return []


def test_the_papers_method_by_hand() -> None:
    """`1 2 3 4 5 0 1 2 3`: three tokens are found, 4 5 0 follow; with 5 before 2 3 two are, at the same place."""
    for end, longest, tokens in (([1, 2, 3], 3, (4, 5, 0)), ([5, 2, 3], 3, (4, 5, 0)), ([5, 2, 3], 1, (4, 5, 0))):
        text = [1, 2, 3, 4, 5, 0, *end]
        assert saxena(text, longest, 3) == list(tokens)
        assert draft(text, depth=3, n=longest).tokens == tokens


def test_where_there_is_one_place_the_papers_method_says_the_same() -> None:
    """What differs is the choice among several places, and what follows the end of the text."""
    alike = 0
    for text in random_texts(1000):
        theirs, ours = saxena(text, 3, 2), draft(text, 9, 2).tokens
        assert bool(ours) == bool(theirs)
        found = [[at for at in range(n, len(text)) if text[at - n : at] == text[len(text) - n :]] for n in (3, 2, 1)]
        places = next(filter(None, found), [])
        if len(places) == 1 and places[0] + 2 <= len(text):
            assert list(ours) == theirs
            alike += 1
    assert alike > 100


@given(st.lists(st.integers(0, 2), min_size=1, max_size=30), st.integers(0, 30), st.integers(1, 4))
def test_an_index_grown_token_by_token_is_that_of_the_whole_text(text: list[int], split: int, longest: int) -> None:
    drafter = Lookup(Options(n=longest))
    whole = drafter.open(Request(tuple(text), 0))
    grown = drafter.open(Request(tuple(text[:split]), 0))
    for end in range(split, len(text) + 1):
        drafter.update([told(grown, text[:end])])
    assert grown.places == whole.places


def test_a_token_costs_one_entry_for_every_length_of_context() -> None:
    drafter = Lookup(Options(n=4, min=2))
    text = [int(token) for token in np.random.default_rng(1).integers(0, 10**6, size=300)]
    state = drafter.open(Request(tuple(text[:100]), 0))

    def entries() -> int:
        return sum(len(found) for table in state.places for found in table.values())

    for end in range(101, 301):
        before = entries()
        drafter.update([told(state, text[:end])])
        assert entries() - before == 3
        assert state.indexed == end


def test_few_places_of_a_context_are_remembered() -> None:
    state = Lookup(Options()).open(Request((1,) * 500, 0))
    assert max(len(found) for table in state.places for found in table.values()) == PLACES


def test_the_longest_context_wins_and_then_the_most_recent() -> None:
    assert draft([1, 2, 3, 4, 9 % VOCAB, 2, 5, 1, 2], depth=1).tokens == (3,)
    assert draft([1, 2, 3, 0, 1, 2, 4, 0, 1, 2], depth=1).tokens == (4,)
    assert draft([1, 2, 3, 0, 2, 4, 5, 1, 2], n=1, depth=1).tokens == (4,)


def test_a_match_at_the_end_goes_on_with_itself() -> None:
    assert draft([1, 2, 1, 2], rows=6).tokens == (1, 2, 1, 2, 1, 2)
    assert draft([5, 3, 3], rows=5).tokens == (3, 3, 3, 3, 3)


def test_nothing_to_continue_drafts_nothing() -> None:
    assert draft([1]) is EMPTY
    assert draft([1, 2, 3]) is EMPTY
    assert draft([1, 2, 1], min=2) is EMPTY


def test_a_ratio_verifier_is_told_that_nothing_was_drawn_by_chance() -> None:
    tree = draft([1, 2, 1, 3, 1], branches=2, draw="sampled", depth=1)
    assert tree.tokens == (3, 2)
    assert tree.laws == (Point(3, VOCAB), Point(2, VOCAB))
    assert draft([1, 2, 1, 3, 1], depth=1).laws == (None,)


def test_scores_fall_along_a_path_and_trust_longer_matches_more() -> None:
    long, short = draft([1, 2, 3, 4, 1, 2, 3], depth=3), draft([1, 2, 1], depth=2)
    for tree in (long, short):
        assert all(first > second for first, second in zip(tree.score, tree.score[1:], strict=False))
    assert long.score[0] > short.score[0]


def test_a_copied_state_goes_its_own_way() -> None:
    drafter = Lookup(Options())
    request = Request((1, 2, 1), 0)
    parent = drafter.open(request)
    child = drafter.open(request, parent=parent)
    drafter.update([told(child, [1, 2, 1, 4, 1])])
    assert [tree.tokens for tree in drafter.propose([ask(parent, [1, 2, 1], depth=1)])] == [(2,)]
    assert [tree.tokens for tree in drafter.propose([ask(child, [1, 2, 1, 4, 1], depth=1)])] == [(4,)]
    drafter.close(parent)
    assert drafter.propose([ask(child, [1, 2, 1, 4, 1], depth=1)])[0].tokens == (4,)


def test_only_what_was_committed_is_looked_up() -> None:
    """Through the real loop: at every round the index is that of the committed text, rejected drafts left no trace."""
    net = Tables.random(VOCAB, 1, seed=2, scale=2.0, context=96)
    drafter, model = Lookup(Options(branches=3)), ToyModel(net, context=96)
    request = Request((1, 2, 3, 1, 2), 0, rules=Rules(temperature=1.0))
    sequence = open_sequence(model, drafter, Match(), request, StopState(Stop(frozenset(), (), 60)))
    for _ in generate(model, Constant(6), [sequence]):
        assert sequence.state.places == drafter.open(Request(tuple(sequence.committed), 0)).places
    total = stats(sequence.steps)
    assert total.accepted > 0
    assert total.drafted > total.accepted
    assert not total.faults


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 2, "min": 3}, "lookup needs 1 <= min <= n, not min=3 and n=2"),
        ({"min": 0}, "lookup needs 1 <= min <= n, not min=0 and n=3"),
        ({"branches": 0}, "branches of lookup must be from 1 to 8, not 0"),
        ({"branches": 9}, "branches of lookup must be from 1 to 8, not 9"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        Options(**options)
    assert str(refused.value) == message
