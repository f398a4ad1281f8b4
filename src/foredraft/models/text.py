"""From tokens to text, one token at a time: a detokeniser as immutable state.

A token may hold part of a character, and some vocabularies write a space only between words; so a token's text is what
decoding a short window gains by it, and what still looks like half a character is held back. Invariant: pushed pieces
plus `flush` equal decode(all tokens), for every text with no character spread over more than KEPT tokens; where the
bytes are not UTF-8 at all, that still holds for decoders that work byte by byte (byte-level BPE).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Decode = Callable[[Sequence[int]], str]
"""token ids -> their text; ids of tokens without text (specials) give nothing, broken bytes give U+FFFD."""

HELD = 16
"""A window this long that still ends in half a character holds broken bytes: they are released."""

KEPT = 8
"""What stays of such a window: an unfinished UTF-8 character has three bytes at most, and few tokens have no text."""

BROKEN = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class TextState:
    """Where the text stands. At most HELD tokens are kept, so a push costs the same at any length.

    tail: the tokens of the window. text: their decoded text. shown: how many of its characters were handed out.
    start: where in `tail` the tokens begin that came after the previous piece; those before it are context.
    """

    decode: Decode
    tail: tuple[int, ...] = ()
    text: str = ""
    shown: int = 0
    start: int = 0

    @classmethod
    def of(cls, decode: Decode) -> TextState:
        """The state before the first token."""
        return cls(decode)

    def push(self, token: int) -> tuple[TextState, str]:
        """The state after one more token, and the text that became certain with it (often one word, sometimes none)."""
        tail = (*self.tail, token)
        text = self.decode(tail)
        if text == self.text and 0 < len(text) == self.shown:
            return self, ""  # a token without text, after whole characters
        certain = len(text.rstrip(BROKEN))
        if certain == len(text) > self.shown:
            return self._settled(tail), text[self.shown :]
        if len(tail) >= HELD:
            return self._released(tail, text)
        shown = max(self.shown, certain)
        return TextState(self.decode, tail, text, shown, self.start), text[self.shown : certain]

    def flush(self) -> str:
        """The text held back, for when no token follows: half a character comes out as U+FFFD."""
        return self.text[self.shown :]

    def _settled(self, tail: tuple[int, ...]) -> TextState:
        """Every character is whole: the window shrinks to the tokens of the piece just handed out."""
        tail = tail[self.start :]
        text = self.decode(tail)
        return TextState(self.decode, tail, text, len(text), len(tail))

    def _released(self, tail: tuple[int, ...], text: str) -> tuple[TextState, str]:
        """Hands out a window of broken bytes, but for its last character, which the next token may yet complete."""
        kept = self.decode(tail[-KEPT:])
        pending = 1 if kept.endswith(BROKEN) else 0
        return TextState(self.decode, tail[-KEPT:], kept, len(kept) - pending), text[self.shown : len(text) - pending]
