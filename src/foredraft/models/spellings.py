"""The bytes that each token stands for in a text: of byte-level BPE vocabularies, and of SentencePiece's kind.

Byte-level vocabularies write every byte as a printable character: those of Latin-1 that print stand for themselves, the
other bytes, in order, for the characters from U+0100 on (Radford et al. 2019, GPT-2's encoder).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from foredraft.core.errors import UsageError
from foredraft.models.tokenizer import Tokenizer
from foredraft.models.vocabulary import SPACE

PRINTABLE = (*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1))
OTHERS = tuple(byte for byte in range(256) if byte not in PRINTABLE)
BYTE_OF = {chr(byte): byte for byte in PRINTABLE} | {chr(0x100 + at): byte for at, byte in enumerate(OTHERS)}
BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def spellings(tokenizer: Tokenizer, size: int) -> list[bytes]:
    """The bytes of ids 0 … size - 1: of control tokens their literal, of padding nothing.

    Raises UsageError for a tokenizer that spells text in another way.
    """
    spell = _speller(tokenizer)
    literals = {token: literal for literal, token in (*tokenizer.words.items(), *tokenizer.added.items())}
    found = []
    for token in range(size):
        piece = tokenizer.core.id_to_token(token) if token < tokenizer.size else None
        if token in literals:
            found.append(literals[token].encode())
        else:
            found.append(spell(piece) if piece is not None else b"")
    return found


def plain_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of `text` in the middle of a text, where some tokenizers would put a space before its beginning."""
    core = tokenizer.rest or tokenizer.core
    ids = list(core.encode(text, add_special_tokens=False).ids)
    anchor = list(core.encode("\n", add_special_tokens=False).ids)
    if len(anchor) == 1:
        return ids
    longer = list(core.encode("\n" + text, add_special_tokens=False).ids)
    return longer[len(anchor) :] if longer[: len(anchor)] == anchor else ids


def _speller(tokenizer: Tokenizer) -> Callable[[str], bytes]:
    stages = tokenizer.core.decoder.__getstate__().decode() if tokenizer.core.decoder is not None else ""
    if "ByteLevel" in stages:
        return _of_bytes
    if "ByteFallback" in stages or "Metaspace" in stages:
        return _of_sentencepiece
    raise UsageError("guided generation needs a tokenizer of bytes or of SentencePiece's kind: choose another model")


def _of_bytes(piece: str) -> bytes:
    if all(letter in BYTE_OF for letter in piece):
        return bytes(BYTE_OF[letter] for letter in piece)
    return piece.encode()  # an added word, written as it is read


def _of_sentencepiece(piece: str) -> bytes:
    byte = BYTE.fullmatch(piece)
    return bytes([int(byte[1], 16)]) if byte else piece.replace(SPACE, " ").encode()
