"""Stopping: the earliest of end token, stop string and cap, however the tokens arrive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from foredraft.core.params import SamplingParams
from foredraft.core.stop import Finish, Stop, StopState, stop_of, trim
from foredraft.models.text import TextState

# Token ids and what they decode to: single letters, longer pieces, and the end token, which has no text.
PIECES = ["a", "b", "c", "ab", "aab", "bca", "", " "]
A, B, C, AB, AAB, BCA, EOS, SPACE = range(8)


def decode(ids: Sequence[int]) -> str:
    return "".join(PIECES[token] for token in ids)


def state(
    *strings: str, ids: Sequence[int] = (EOS,), max_tokens: int = 99, include: bool = False, text: bool = True
) -> StopState:
    stop = Stop(frozenset(ids), strings, max_tokens, include)
    return StopState(stop, TextState.of(decode) if text else None)


@dataclass(frozen=True)
class Ending:
    tokens: tuple[int, ...]
    text: str
    finish: Finish | None
    reason: int | str | None


def ended(start: StopState, *blocks: Sequence[int]) -> Ending:
    """What the blocks leave, released text put together; blocks after the end must add nothing."""
    tokens: tuple[int, ...] = ()
    text = ""
    for block in blocks:
        kept, start = trim(start, block)
        tokens, text = tokens + kept, text + start.released
    return Ending(tokens, text, start.finish, start.reason)


def slow(stop: Stop, tokens: Sequence[int]) -> Ending:
    """The definition: one token at a time, the whole text searched every time."""
    text = ""
    for count, token in enumerate(tokens, 1):
        if token in stop.ids:
            return Ending(tuple(tokens[:count]), text, "stop", token)
        text += PIECES[token]
        matches = [(text.find(string), string) for string in stop.strings if string in text]
        if matches:
            at, string = min(matches, key=lambda match: match[0])
            end = at + len(string) if stop.include_string else at
            return Ending(tuple(tokens[:count]), text[:end], "stop", string)
        if count == stop.max_tokens:
            return Ending(tuple(tokens[:count]), text, "length", None)
    return Ending(tuple(tokens), text, None, None)


def test_the_end_token_within_a_block_ends_it() -> None:
    assert ended(state(), [A, B, EOS, C, A]) == Ending((A, B, EOS), "ab", "stop", EOS)
    assert ended(state(), [EOS]) == Ending((EOS,), "", "stop", EOS)


def test_any_of_several_stop_ids_ends_the_text_and_is_the_reason() -> None:
    assert ended(state(ids=(EOS, C)), [A, C, EOS]) == Ending((A, C), "a", "stop", C)


def test_a_stop_string_within_a_token_and_across_tokens_and_blocks() -> None:
    assert ended(state("ca"), [A, BCA, B]) == Ending((A, BCA), "ab", "stop", "ca")
    assert ended(state("abc"), [A, B, C]) == Ending((A, B, C), "", "stop", "abc")
    assert ended(state("abc"), [B, A], [B], [C, C]) == Ending((B, A, B, C), "b", "stop", "abc")


def test_a_stop_string_that_begins_again_within_itself() -> None:
    assert ended(state("aab"), [A, A, A, B]) == Ending((A, A, A, B), "a", "stop", "aab")
    assert ended(state("aab"), [A], [A], [A], [A], [B]) == Ending((A, A, A, A, B), "aa", "stop", "aab")
    assert ended(state("abab", "bb"), [A, B, B]) == Ending((A, B, B), "a", "stop", "bb")


def test_the_stop_string_is_included_when_asked_for() -> None:
    assert ended(state("bc", include=True), [A, BCA]) == Ending((A, BCA), "abc", "stop", "bc")


def test_the_earliest_stop_string_wins() -> None:
    assert ended(state("ca", "b"), [A, BCA]) == Ending((A, BCA), "a", "stop", "b")


def test_the_cap_comes_before_a_later_stop_and_after_an_earlier_one() -> None:
    assert ended(state(max_tokens=2), [A, B, EOS]) == Ending((A, B), "ab", "length", None)
    assert ended(state(max_tokens=3), [A, EOS, B]) == Ending((A, EOS), "a", "stop", EOS)
    assert ended(state(max_tokens=2), [A, EOS]) == Ending((A, EOS), "a", "stop", EOS)
    assert ended(state("bc", max_tokens=2), [A, B, C]) == Ending((A, B), "ab", "length", None)
    assert ended(state("ab", max_tokens=2), [A, B, C]) == Ending((A, B), "", "stop", "ab")


def test_text_held_back_is_released_when_no_stop_string_can_claim_it() -> None:
    kept, now = trim(state("abc"), [C, A, B])
    assert (kept, now.released, now.held) == ((C, A, B), "c", "ab")
    _, then = trim(now, [A])
    assert (then.released, then.held) == ("ab", "a")
    assert ended(now, [EOS]).text == "ab"


def test_nothing_follows_the_end() -> None:
    assert ended(state(), [A, EOS], [A, B]) == Ending((A, EOS), "a", "stop", EOS)
    assert ended(state(max_tokens=1), [A], [B]) == Ending((A,), "a", "length", None)


def test_without_text_ids_and_the_cap_still_stop() -> None:
    assert ended(state(text=False), [A, EOS, B]) == Ending((A, EOS), "", "stop", EOS)
    assert ended(state(text=False, max_tokens=2), [A, A, A]) == Ending((A, A), "", "length", None)


def test_trim_leaves_its_argument_alone() -> None:
    start = state("abc")
    _, now = trim(start, [A, B])
    assert (start.count, start.held, now.count, now.held) == (0, "", 2, "ab")
    assert trim(start, [A, B]) == trim(start, [A, B])


STRINGS = st.lists(st.text("abc", min_size=1, max_size=4), max_size=3, unique=True)
TOKENS = st.lists(st.sampled_from([A, A, A, B, B, C, AB, AAB, BCA, SPACE, EOS]), max_size=14)


@given(TOKENS, STRINGS, st.integers(1, 16), st.booleans(), st.sets(st.integers(1, 13)))
@example([A, A, A, B, C], ["aab"], 16, False, {1, 3})
def test_blocks_of_any_size_end_as_one_token_at_a_time(
    tokens: list[int], strings: list[str], cap: int, include: bool, cuts: set[int]
) -> None:
    start = state(*strings, max_tokens=cap, include=include)
    edges = [0, *sorted(cut for cut in cuts if cut < len(tokens)), len(tokens)]
    blocks = [tokens[begin:end] for begin, end in zip(edges, edges[1:], strict=False)]
    split, single, whole = ended(start, *blocks), ended(start, *([token] for token in tokens)), ended(start, tokens)
    assert split == single == whole
    expected = slow(start.rules, tokens)
    assert split.tokens == expected.tokens
    assert (split.finish, split.reason) == (expected.finish, expected.reason)
    if expected.finish is not None:
        assert split.text == expected.text


@given(TOKENS, STRINGS)
def test_released_text_is_never_claimed_by_a_stop_string(tokens: list[int], strings: list[str]) -> None:
    """What is held is exactly the longest end of the text that begins a stop string; all else is out."""
    now, released, said = state(*strings, ids=()), "", ""
    for token in tokens:
        _, now = trim(now, [token])
        released, said = released + now.released, said + PIECES[token]
        if now.finish is not None:
            break
        beginnings = {string[:length] for string in strings for length in range(1, len(string))}
        held = max((begin for begin in beginnings if said.endswith(begin)), key=len, default="")
        assert now.held == held
        assert released + held == said


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({}, {EOS}),
        ({"stop_token_ids": (C, A)}, {EOS, C, A}),
        ({"ignore_eos": True}, set()),
        ({"ignore_eos": True, "stop_token_ids": (C,)}, {C}),
    ],
)
def test_stop_of_gathers_the_ids(options: dict, ids: set[int]) -> None:
    made = stop_of(SamplingParams(**options), [EOS], room=50, text=TextState.of(decode))
    assert made.rules.ids == ids


@pytest.mark.parametrize(("max_tokens", "room", "cap"), [(10, 50, 10), (60, 50, 50), (None, 50, 50)])
def test_the_cap_is_the_smaller_of_wish_and_room(max_tokens: int | None, room: int, cap: int) -> None:
    made = stop_of(SamplingParams(max_tokens=max_tokens), [EOS], room=room, text=None)
    assert made.remaining == cap
    assert made.text is None


def test_ignored_ends_go_on() -> None:
    made = stop_of(SamplingParams(ignore_eos=True, max_tokens=4), [EOS], room=50, text=TextState.of(decode))
    assert ended(made, [A, EOS, B], [EOS]) == Ending((A, EOS, B, EOS), "ab", "length", None)
