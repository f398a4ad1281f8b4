"""The streaming detokeniser: its pieces add up to the text of all tokens, and none ends in half a character."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from foredraft.models.text import BROKEN, HELD, Decode, TextState

SPECIAL = 256
"""The one id without text in the vocabularies below; ids under 256 are bytes."""

PIECES = ("the", " quick", "é", "日本", "👩‍👩‍👧", "e\u0301", "\n\n", "d\udce4".encode("utf-8", "surrogateescape"))
"""Longer tokens of the byte-level vocabulary, from id 257; the last one ends in half a character."""


def byte_level(ids: Sequence[int]) -> str:
    """Byte-level BPE: the bytes of all tokens, decoded together."""
    parts = []
    for token in ids:
        if token < 256:
            parts.append(bytes([token]))
        elif token > SPECIAL:
            piece = PIECES[token - SPECIAL - 1]
            parts.append(piece if isinstance(piece, bytes) else piece.encode())
    return b"".join(parts).decode("utf-8", "replace")


def sentencepiece(ids: Sequence[int]) -> str:
    """Byte fallback, where one bad byte breaks its whole run, and a space before every word but the first."""
    text, run = "", b""
    for token in (*ids, -1):
        if 0 <= token < 256:
            run += bytes([token])
            continue
        if token == SPECIAL:
            continue
        try:
            text += run.decode()
        except UnicodeDecodeError:
            text += BROKEN * len(run)
        run = b""
        text += "" if token < 0 else " " if token == 1000 else f" w{token}"
    return text.removeprefix(" ")


def stream(decode: Decode, ids: Sequence[int]) -> list[str]:
    """The pieces of `ids`, the flush last; the window must stay bounded."""
    state, pieces = TextState.of(decode), []
    for token in ids:
        state, piece = state.push(token)
        assert len(state.tail) <= 2 * HELD
        pieces.append(piece)
    return [*pieces, state.flush()]


@given(st.text())
@example("👩‍👩‍👧 e\u0301 日本語 \U0001f1eb\U0001f1f7")
@example("a literal \N{REPLACEMENT CHARACTER}" * 30)
@example("\N{REPLACEMENT CHARACTER}" * 100)
def test_text_byte_by_byte_comes_out_whole(text: str) -> None:
    pieces = stream(byte_level, list(text.encode("utf-8", "replace")))
    assert "".join(pieces) == text.encode("utf-8", "replace").decode()
    assert all(not piece.endswith(BROKEN) for piece in pieces) or BROKEN in text


@given(st.lists(st.integers(0, SPECIAL + len(PIECES)), max_size=120))
def test_byte_level_streams_equal_decode_for_any_ids(ids: list[int]) -> None:
    ids = [token for at, token in enumerate(ids) if token != SPECIAL or at % 2]  # so no character has over KEPT
    assert "".join(stream(byte_level, ids)) == byte_level(ids)


@given(st.lists(st.one_of(st.text(max_size=4), st.integers(1000, 1005), st.just(SPECIAL)), max_size=40))
@example([1000, 1001, SPECIAL, 1002])
@example([SPECIAL, 1000, 1000, 1001])
@example([1001, 1000, 1001])
@example(["é", SPECIAL, "日本", 1001])
def test_spaces_and_byte_fallback_stream_as_decoded(parts: list[str | int]) -> None:
    ids: list[int] = []
    for part in parts:
        ids += [part] if isinstance(part, int) else list(part.encode("utf-8", "replace"))
    assert "".join(stream(sentencepiece, ids)) == sentencepiece(ids)


@pytest.mark.parametrize("run", [[0xFF], [0xE4], [0xE4, 0xBD], [0x80], [0xF0, 0x9F, 0x98]])
@pytest.mark.parametrize("decode", [byte_level, sentencepiece])
def test_endless_broken_bytes_are_released_in_bounded_time(run: list[int], decode: Decode) -> None:
    pieces = stream(decode, run * 200)
    held = 0
    for piece in pieces:
        held = 0 if piece else held + 1
        assert held <= HELD
    if decode is byte_level:
        assert "".join(pieces) == byte_level(run * 200)


def test_a_character_begun_in_broken_bytes_is_still_completed() -> None:
    ids = [0xFF] * (HELD - 1) + list("日x".encode())
    assert "".join(stream(byte_level, ids)).endswith("日x")


def test_tokens_without_text_cost_no_window() -> None:
    state, _ = TextState.of(byte_level).push(ord("a"))
    after, piece = state.push(SPECIAL)
    assert piece == ""
    assert after is state


def test_only_special_tokens_stay_bounded_and_silent() -> None:
    assert "".join(stream(byte_level, [SPECIAL] * 200)) == ""
    assert "".join(stream(byte_level, [SPECIAL] * 200 + [ord("a")])) == "a"


def test_half_a_character_comes_out_only_when_nothing_follows() -> None:
    first, *rest = "日".encode()
    state, piece = TextState.of(byte_level).push(first)
    assert (piece, state.flush()) == ("", BROKEN)
    for byte in rest:
        state, piece = state.push(byte)
    assert (piece, state.flush()) == ("日", "")


def test_states_are_values_that_may_branch() -> None:
    root, _ = TextState.of(byte_level).push(ord("a"))
    assert [root.push(ord(letter))[1] for letter in "bcb"] == ["b", "c", "b"]
