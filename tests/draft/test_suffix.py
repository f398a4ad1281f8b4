"""Suffix decoding against counting in lists, the paper's rule by hand, and what a tenant's past texts may do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foredraft.core.errors import UsageError
from foredraft.core.law import Point
from foredraft.core.protocols import News, Request
from foredraft.core.tree import EMPTY, DraftTree
from foredraft.draft import matches, native
from foredraft.draft.history import REACH, History
from foredraft.draft.past import Past, past_of
from foredraft.draft.suffix import Options, Suffix, SuffixState
from foredraft.draft.tenants import FULL, MOST
from suffixes import VOCAB, draft, opened, said


@pytest.fixture(params=["native", "python"])
def twin(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each twin in turn, whichever was chosen."""
    chosen = matches
    if request.param == "native":
        chosen = pytest.importorskip("foredraft._native")
    for user in ("suffix", "history"):
        monkeypatch.setattr(f"foredraft.draft.{user}.TWINS", chosen)


def told(state: SuffixState, committed: Sequence[int]) -> News[SuffixState]:
    nothing: Any = None
    return News(state, committed, (), 0, (), nothing, EMPTY, None, None, 1)


def paths(tree: DraftTree) -> dict[tuple[int, ...], float]:
    """Each path and its chance."""
    found = {
        tuple(tree.tokens[step] for step in tree.path(node)): math.exp(tree.score[node]) for node in range(len(tree))
    }
    assert len(found) == len(tree)
    return found


# --- the slow twin ----------------------------------------------------------------------------------------------------


def counted(
    text: list[int], past: list[list[int]], depth: int, compared: int, least: float, doubts: tuple[float, float]
) -> dict[tuple[int, ...], float]:
    """Every path with a chance of `least` or more, by counting what followed in lists that keep no index."""
    best: dict[tuple[int, ...], float] = {}

    def grow(follows: list[list[int]], m: int, doubt: float, path: tuple[int, ...] = (), chance: float = 1.0) -> None:
        going = [one for one in follows if len(one) > len(path)]
        for token in {one[len(path)] for one in going} if len(path) < depth else ():
            some = [one for one in going if one[len(path)] == token]
            share = chance * len(some) / (len(going) + doubt / (m + len(path)))
            if share >= least:
                best[*path, token] = max(share, best.get((*path, token), 0.0))
                grow(some, m, doubt, (*path, token), share)

    for m in range(1, min(compared, len(text)) + 1):
        context = text[-m:]
        own = []
        for end in range(m, len(text)):
            if text[end - m : end] == context:
                grown = list(text)
                for step in range(depth):
                    grown.append(grown[end + step])
                own.append(grown[end : end + depth])
        theirs = [one[end : end + depth] for one in past for end in range(m, len(one)) if one[end - m : end] == context]
        grow(own, m, doubts[0])
        grow(theirs, m, doubts[1])
    return best


def random_texts(count: int, longest: int = 40) -> Iterator[list[int]]:
    """Half of them random, half periodic with a slip now and then."""
    generator = np.random.default_rng(5)
    for index in range(count):
        length = int(generator.integers(1, longest))
        vocab = int(generator.integers(1, VOCAB + 1))
        text = generator.integers(0, vocab, size=length)
        if index % 2:
            period = generator.integers(0, vocab, size=1 + index % 7)
            text = np.where(generator.random(length) < 0.1, text, np.resize(period, length))
        yield text.tolist()


@pytest.mark.usefixtures("twin")
def test_a_thousand_trees_are_those_of_counting() -> None:
    generator = np.random.default_rng(6)
    texts = random_texts(2000)
    branched = learnt = 0
    for text, other in zip(texts, texts, strict=True):
        rows, depth, compared, pasts = (int(one) for one in generator.integers((1, 1, 1, 0), (24, 6, 9, 3)))
        own, others = (float(generator.choice([0.0, 1.0, 2.4])) for _ in range(2))
        least = float(generator.choice([0.0213, 0.1007, 0.3011]))
        drafter = Suffix(Options(depth=compared, min_prob=least, doubt=own, past_doubt=others))
        past = [other, text[: len(text) // 2 + 1]][:pasts]
        for one in past:
            said(drafter, one)
        found = paths(draft(drafter, opened(drafter, text), rows, depth))
        expected = counted(text, past, depth, compared, least, (own, others))
        assert len(found) == min(rows, len(expected))
        assert found == pytest.approx({path: expected[path] for path in found}, rel=1e-12)
        assert sorted(found.values()) == pytest.approx(sorted(expected.values())[-len(found) :] if found else [])
        branched += len({path[:-1] for path in found}) < len(found)
        learnt += bool(found.keys() - counted(text, [], depth, compared, least, (own, others)).keys())
    assert branched > 300
    assert learnt > 100


# --- the paper --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("twin")
def test_the_papers_rule_by_hand() -> None:
    """Section 4 of the paper: with nothing doubted D is count(child) / count(parent), multiplied along the path.

    The text is `0 1 2 3 4 | 5 1 2 3 5 | 3 1 2 0 4 | 4 1 2`. After `1 2` came 3 twice and 0 once: D(3) = 2/3 and
    D(0) = 1/3. After `1 2 3` came 4 and 5 once each: D = 2/3 * 1/2 = 1/3. The expected number of accepted tokens of the
    whole tree of depth 2 is 2/3 + 1/3 + 1/3 + 1/3 + 1/3 = 2.
    """
    drafter = Suffix(Options(doubt=0.0, min_prob=0.1))
    state = opened(drafter, [0, 1, 2, 3, 4, 5, 1, 2, 3, 5, 3, 1, 2, 0, 4, 4, 1, 2])
    tree = draft(drafter, state, depth=2)
    third = pytest.approx(1 / 3)
    assert paths(tree) == {(3,): pytest.approx(2 / 3), (3, 4): third, (3, 5): third, (0,): third, (0, 4): third}
    assert sum(map(math.exp, tree.score)) == pytest.approx(2.0)
    assert draft(drafter, state, rows=2, depth=2).tokens[0] == 3
    assert set(paths(draft(Suffix(Options(doubt=0.0, min_prob=0.5)), state, depth=2))) == {(3,)}


@pytest.mark.usefixtures("twin")
def test_a_long_match_weighs_more_than_many_short_ones() -> None:
    """Place by place: 4 follows the three tokens 1 2 3 once, 5 follows 3 alone three times."""
    drafter = Suffix(Options(doubt=2.4))
    found = paths(draft(drafter, opened(drafter, [1, 2, 3, 4, 0, 3, 5, 3, 5, 3, 5, 1, 2, 3]), depth=1))
    assert found == {(4,): pytest.approx(1 / (1 + 2.4 / 3)), (5,): pytest.approx(3 / (4 + 2.4))}


@pytest.mark.usefixtures("twin")
def test_another_text_is_doubted_more_than_this_one() -> None:
    drafter = Suffix(Options(doubt=2.4, past_doubt=12.0))
    said(drafter, [1, 2, 3, 4])
    found = paths(draft(drafter, opened(drafter, [2, 3, 5, 1, 2, 3]), depth=1))
    assert found == {(5,): pytest.approx(1 / (1 + 2.4 / 2)), (4,): pytest.approx(1 / (1 + 12.0 / 3))}


@pytest.mark.usefixtures("twin")
def test_a_match_at_the_end_goes_on_with_itself() -> None:
    drafter = Suffix(Options(min_prob=0.0))
    assert draft(drafter, opened(drafter, [1, 2, 3, 1, 2, 3]), rows=7).tokens == (1, 2, 3, 1, 2, 3, 1)
    assert draft(drafter, opened(drafter, [4, 4]), rows=5).tokens == (4,) * 5


def test_scores_are_chances_and_fall_along_a_path() -> None:
    drafter = Suffix(Options())
    for text in random_texts(100):
        tree = draft(drafter, opened(drafter, text), rows=30)
        above = [tree.score[parent] if parent >= 0 else 0.0 for parent in tree.parents]
        assert all(score < higher for score, higher in zip(tree.score, above, strict=True))


def test_the_papers_limit_on_length() -> None:
    drafter = Suffix(Options(factor=1.5, min_prob=0.0))
    text = [1, 2, 3, 4, 5, 0, 0, 1, 2, 3]
    assert len(draft(drafter, opened(drafter, text))) == 4  # three tokens matched
    assert draft(Suffix(Options(factor=0.3)), opened(drafter, text)) is EMPTY


def test_a_ratio_verifier_is_told_that_nothing_was_drawn_by_chance() -> None:
    drafter = Suffix(Options())
    tree = draft(drafter, opened(drafter, [1, 2, 1, 3, 1]), depth=1, draw="sampled")
    assert tree.laws == (Point(3, VOCAB), Point(2, VOCAB))


def test_nothing_to_continue_drafts_nothing() -> None:
    drafter = Suffix(Options())
    for text in ([1], [1, 2, 3]):
        assert draft(drafter, opened(drafter, text)) is EMPTY


# --- a text that grows ------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 2), min_size=1, max_size=40), st.integers(1, 40))
def test_a_history_grown_token_by_token_is_that_of_the_whole_text(text: list[int], split: int) -> None:
    drafter = Suffix(Options())
    grown = opened(drafter, text[:split])
    copy = drafter.open(Request(tuple(text[:split]), 0), parent=grown)
    for end in range(split, len(text) + 1):
        drafter.update([told(grown, text[:end])])
    assert grown.history == opened(drafter, text).history
    assert copy.history == opened(drafter, text[:split]).history


def test_the_longest_match_is_found_among_many_places_of_its_last_token() -> None:
    """More places of the last token than are looked at, and the only long match is the oldest of them."""
    generator = np.random.default_rng(3)
    noise = [int(token) for pair in generator.integers(10, 10**6, size=3 * REACH) for token in (pair, 7)]
    history = History()
    history.extend([1, 2, 3, 7, 9, *noise, 1, 2, 3, 7])
    found = history.own_matches(64)
    assert found[0].tolist() == [4, 4]
    assert len(found) == REACH + 1


# --- past texts -------------------------------------------------------------------------------------------------------


def test_past_texts_help_their_tenant_alone_and_only_texts_that_begin_later() -> None:
    drafter = Suffix(Options())
    early = opened(drafter, [1, 2], "a")
    said(drafter, [1, 2, 3, 4], "a")
    assert draft(drafter, early) is EMPTY
    assert draft(drafter, opened(drafter, [1, 2], "a")).tokens == (3, 4)
    assert draft(drafter, opened(drafter, [1, 2], "b")) is EMPTY
    assert draft(drafter, opened(Suffix(Options(shared=False)), [1, 2], "a")) is EMPTY


def test_clearing_forgets_a_tenant_or_all() -> None:
    drafter = Suffix(Options())
    for tenant in "abc":
        said(drafter, [1, 2, 3], tenant)
    drafter.clear("a")
    assert [len(draft(drafter, opened(drafter, [1, 2], tenant))) for tenant in "abc"] == [0, 1, 1]
    drafter.clear()
    assert [len(draft(drafter, opened(drafter, [1, 2], tenant))) for tenant in "abc"] == [0, 0, 0]


def test_only_committed_tokens_are_learnt_and_copies_do_not_repeat_what_they_share() -> None:
    drafter = Suffix(Options(depth=2))
    parent = opened(drafter, [1, 2, 3, 4])
    draft(drafter, parent)
    copy = drafter.open(Request((1, 2, 3, 4), 0), parent=parent)
    drafter.update([told(parent, [1, 2, 3, 4, 5]), told(copy, [1, 2, 3, 4, 0])])
    drafter.close(parent)
    drafter.close(copy)
    kept = drafter.tenants.get("")
    assert kept is not None
    assert list(kept.kept) == [1, 2, 3, 4, 5, -1, 3, 4, 0, -1]


def test_texts_do_not_run_into_each_other() -> None:
    drafter = Suffix(Options())
    said(drafter, [1, 2])
    said(drafter, [3, 4])
    assert draft(drafter, opened(drafter, [1, 2])) is EMPTY
    assert draft(drafter, opened(drafter, [2, 3])).tokens == (4,)


def test_the_oldest_texts_are_forgotten_first_and_memory_is_bounded() -> None:
    past = Past(limit=20)
    texts = [[index, index + 1, index + 2] for index in range(0, 300, 3)]
    for text in texts:
        past.add(text)
        assert len(past.kept) <= 20
        assert len(past.history) <= 41
        assert len(past.history.newest) <= 41
    assert past.end == 400
    assert list(past.kept) == [token for text in texts[-5:] for token in (*text, -1)]
    past.add(range(100))  # of a text longer than the limit the end
    assert list(past.kept) == [*range(81, 100), -1]


@given(
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=12), max_size=30),
    st.lists(st.integers(0, 3), min_size=1, max_size=6),
    st.integers(2, 40),
)
def test_forgetting_leaves_the_places_of_what_is_kept(texts: list[list[int]], context: list[int], limit: int) -> None:
    past = Past(limit)
    history = History()
    history.extend(context)
    for text in texts:
        past.add(text)
    fresh = past_of(past.kept.tolist(), limit)
    shift = past.first
    found = past.matches(history.tokens, past.end) - np.array([shift, 0], dtype=np.int32)
    assert found.tolist() == fresh.matches(history.tokens, fresh.end).tolist()


def test_tenants_that_were_away_longest_are_forgotten() -> None:
    drafter = Suffix(Options())
    for index in range(MOST):
        said(drafter, [1, 2, 3], f"tenant {index}")
    said(drafter, [1, 2, 3], "tenant 0")
    said(drafter, [1, 2, 3], "one more")
    assert len(drafter.tenants) == MOST
    assert "tenant 1" not in drafter.tenants
    assert "tenant 0" in drafter.tenants


def test_tenants_together_keep_no_more_than_some_full_ones() -> None:
    drafter = Suffix(Options(limit=10))
    for index in range(FULL + 2):
        for _ in range(4):  # two that count and two that are about to go
            said(drafter, [1, 2, 3, 4], f"tenant {index}")
    assert [f"tenant {index}" in drafter.tenants for index in range(FULL + 2)] == [False] * 2 + [True] * FULL


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth of suffix must be from 1 to 1024, not 0"),
        ({"factor": -1.0}, "factor of suffix must be from 0 to 1e+06, not -1"),
        ({"min_prob": 1.5}, "min_prob of suffix must be from 0 to 1, not 1.5"),
        ({"min_prob": math.nan}, "min_prob of suffix must be from 0 to 1, not nan"),
        ({"doubt": math.inf}, "doubt of suffix must be from 0 to 1e+06, not inf"),
        ({"past_doubt": -1.0}, "past_doubt of suffix must be from 0 to 1e+06, not -1"),
        ({"limit": 0}, "limit of suffix must be from 1 to 100000000 tokens, not 0"),
        (
            {"file": "x", "shared": False},
            "suffix keeps past texts in a file only where it learns from them: leave shared=false out",
        ),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        Options(**options)
    assert str(refused.value) == message


def test_the_environment_chooses_the_twin() -> None:
    assert native.twins("0").matches is matches.matches
    assert native.twins(None) is pytest.importorskip("foredraft._native")
