"""Two vocabularies and the ways between them: tokens that are equal, control tokens by name, and text by its bytes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from foredraft.core.tokens import Tokens

UNKNOWN = "\N{REPLACEMENT CHARACTER}".encode()


class Vocabularies:
    """`target`'s and `draft`'s. Tokens are equal when their bytes are, control tokens when their names are."""

    def __init__(self, target: Tokens, draft: Tokens) -> None:
        self.target, self.draft = target, draft
        self._spelt: dict[int, tuple[int, ...]] = {}

    @cached_property
    def draft_controls(self) -> dict[str, int]:
        return {literal: token for token, literal in self.draft.controls.items()}

    @cached_property
    def target_controls(self) -> dict[str, int]:
        return {literal: token for token, literal in self.target.controls.items()}

    @cached_property
    def shared(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The equal tokens, as target ids (ascending) and draft ids; of several with the same bytes the lowest."""
        pairs = {token: self._ids[text] for text, token in self._target_ids.items() if text in self._ids}
        controls = self.target_controls
        pairs |= {controls[name]: token for name, token in self.draft_controls.items() if name in controls}
        ids = np.array(sorted(pairs.items()), dtype=np.int64).reshape(-1, 2)
        return ids[:, 0], ids[:, 1]

    def spell(self, token: int) -> tuple[int, ...]:
        """A target token in draft tokens, one at least: its equal, or those that spell it."""
        if token not in self._spelt:
            self._spelt[token] = self._spell(token)
        return self._spelt[token]

    def _spell(self, token: int) -> tuple[int, ...]:
        name = self.target.controls.get(token)
        if name is not None and name in self.draft_controls:
            return (self.draft_controls[name],)
        text = self.target.token_bytes(token) or (name or "").encode() or UNKNOWN
        if text in self._ids:
            return (self._ids[text],)
        if is_text(text):
            return tuple(encode(self.draft, text) or encode(self.draft, UNKNOWN))
        single = [self._ids.get(bytes([byte])) for byte in text]  # part of a character
        known = tuple(one for one in single if one is not None)
        return known if len(known) == len(text) else tuple(encode(self.draft, UNKNOWN))

    def single_bytes(self, text: bytes) -> list[int] | None:
        """Target tokens of one byte each; None where the target has no such token."""
        found = [self._target_ids.get(bytes([byte])) for byte in text]
        return None if None in found else [token for token in found if token is not None]

    @cached_property
    def _target_ids(self) -> dict[bytes, int]:
        return _by_bytes(self.target)

    @cached_property
    def _ids(self) -> dict[bytes, int]:
        return _by_bytes(self.draft)


def _by_bytes(tokens: Tokens) -> dict[bytes, int]:
    """bytes -> the lowest plain token that adds them to a text."""
    found: dict[bytes, int] = {}
    for token in range(tokens.size):
        text = tokens.token_bytes(token)
        if text and token not in tokens.controls:
            found.setdefault(text, token)
    return found


def encode(tokens: Tokens, text: bytes) -> list[int]:
    """The ids of UTF-8 `text`, without the space that some vocabularies put before every text."""
    if not text:
        return []
    ids = tokens.encode(text.decode("utf-8", "replace"))
    if text.startswith(b" ") and spelling(tokens, ids) == b" " + text:
        return tokens.encode(text[1:].decode("utf-8", "replace"))
    return ids


def spelling(tokens: Tokens, ids: Sequence[int]) -> bytes:
    """The bytes of plain tokens; what has none adds none."""
    return b"".join(tokens.token_bytes(token) or b"" for token in ids)


def ends(tokens: Tokens, ids: Sequence[int]) -> list[int]:
    """How many bytes are spelt once each token is."""
    return list(accumulate(len(tokens.token_bytes(token) or b"") for token in ids))


def is_text(text: bytes) -> bool:
    """Whether these are whole characters."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def whole(text: bytes) -> int:
    """How many bytes of `text` stand before a character that is cut short at its end."""
    for length in range(1, min(3, len(text)) + 1):
        lead = text[-length]
        if lead >= 0xC0:  # the first byte of a character of two, three or four
            size = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return len(text) - length if length < size else len(text)
        if lead < 0x80:
            break
    return len(text)


def cut_whole(text: bytes) -> bytes:
    """`text` without a character that is cut short at its end."""
    return text[: whole(text)]
