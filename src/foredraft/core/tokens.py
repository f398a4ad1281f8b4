"""The contract of a vocabulary, as drafters that deal in text see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class Tokens(Protocol):
    """A vocabulary, for drafters that deal in text: plain text to ids and back, no control tokens."""

    @property
    def size(self) -> int:
        """Ids, padding included."""

    @property
    def controls(self) -> Mapping[int, str]:
        """Control tokens and their literals, which are what vocabularies have in common."""

    @property
    def begin(self) -> tuple[int, ...]:
        """What the model wants before any text: its BOS token, or nothing."""

    def encode(self, text: str) -> list[int]:
        """The ids of plain text: nothing put before it, control tokens' literals spelt out like any other text."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, control tokens left out. UsageError for an id outside the vocabulary."""

    def token_bytes(self, token: int) -> bytes | None:
        """What a token adds to the bytes of a text, its leading space included; None for control and padding ids."""
