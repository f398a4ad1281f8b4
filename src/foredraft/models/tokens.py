"""A tokenizer as drafters see it (Tokens in `core/protocols.py`): plain text to ids and back, and what an id spells."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property

from foredraft.models.tokenizer import Tokenizer
from foredraft.models.vocabulary import SPACE


def byte_letters() -> dict[str, int]:
    """letter -> byte of byte-level vocabularies (GPT-2, Radford et al. 2019): bytes that are no visible Latin-1 letter
    are spelt by the code points from 256 on, in order.
    """
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + index): byte for index, byte in enumerate(hidden)}


class PlainTokens:
    """The plain text of a tokenizer, without its control tokens: they are neither made of text nor put before it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    @property
    def size(self) -> int:
        return self.tokenizer.size

    @cached_property
    def controls(self) -> dict[int, str]:
        added = self.tokenizer.added
        return {token: literal for literal, token in added.items() if token in self.tokenizer.special}

    @property
    def begin(self) -> tuple[int, ...]:
        bos = self.tokenizer.bos
        return (bos,) if self.tokenizer.add_bos and bos is not None else ()

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_bos=False)

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids)

    def token_bytes(self, token: int) -> bytes | None:
        if token in self.tokenizer.special:
            return None
        if token in self._literals:
            return self._literals[token].encode()
        piece = self.tokenizer.core.id_to_token(token)
        if piece is None:
            return None
        if "ByteLevel" in self._stages:
            spelt = (bytes([self._bytes[letter]]) if letter in self._bytes else letter.encode() for letter in piece)
            return b"".join(spelt)
        if "ByteFallback" in self._stages and len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
            return bytes.fromhex(piece[3:5])
        return piece.replace(SPACE, " ").encode()

    @cached_property
    def _literals(self) -> dict[int, str]:
        """Added tokens by id, those that text may hold included."""
        return {token: word for word, token in (*self.tokenizer.added.items(), *self.tokenizer.words.items())}

    @cached_property
    def _bytes(self) -> dict[str, int]:
        return byte_letters()

    @cached_property
    def _stages(self) -> frozenset[str]:
        """The kinds of the decoder's stages. The library tells them only by its pickled state, which is JSON."""
        decoder = self.tokenizer.core.decoder
        if decoder is None:
            return frozenset()
        state = json.loads(decoder.__getstate__())
        return frozenset(stage["type"] for stage in (state, *state.get("decoders", ())))
