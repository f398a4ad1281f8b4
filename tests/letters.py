"""A vocabulary of single letters."""

from __future__ import annotations

from collections.abc import Sequence


class Letters:
    """size: with the ids behind the letters, which have no text."""

    def __init__(self, letters: str = "abcdef", size: int | None = None) -> None:
        self.letters, self.size = letters, size or len(letters)

    def encode(self, text: str) -> list[int]:
        return [self.letters.index(letter) for letter in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self.letters[token] for token in ids)

    def token_bytes(self, token: int) -> bytes | None:
        return self.letters[token].encode() if token < len(self.letters) else None
