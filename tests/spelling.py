"""The published ways to spell a text in tokens, written out again and slowly: what fast tokenizers must equal.

Both kinds of BPE are one algorithm: neighbours are joined, the pair that comes first in the order of joins first, the
leftmost of equals, until none may be joined. SentencePiece orders pairs by the score of their union, byte-level BPE by
the place of the pair in a list.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from tokenizers.normalizers import NFC

Order = Callable[[str, str], float | None]
"""(left, right) -> when they are joined, the least first; None: never."""


def join(parts: Sequence[str], order: Order) -> list[str]:
    """`parts` with neighbours joined as far as `order` lets them."""
    alive: list[str | None] = list(parts)
    after = [*range(1, len(parts)), -1]
    before = list(range(-1, len(parts) - 1))
    waiting: list[tuple[float, int, int, str, str]] = []

    def consider(left: int, right: int) -> None:
        one, other = alive[left] if left >= 0 else None, alive[right] if right >= 0 else None
        when = None if one is None or other is None else order(one, other)
        if when is not None:
            heapq.heappush(waiting, (when, left, right, str(one), str(other)))

    for at in range(len(parts) - 1):
        consider(at, at + 1)
    while waiting:
        _, left, right, one, other = heapq.heappop(waiting)
        if alive[left] != one or alive[right] != other or after[left] != right:
            continue  # one of them has been joined meanwhile
        alive[left], alive[right], after[left] = one + other, None, after[right]
        if after[left] >= 0:
            before[after[left]] = left
        consider(before[left], left)
        consider(left, after[left])
    return [part for part in alive if part is not None]


def cut_at(words: Sequence[str], text: str) -> list[tuple[bool, str]]:
    """(is it a word?, piece) of `text`, the longest word where several begin."""
    if not words:
        return [(False, text)] if text else []
    pattern = "(" + "|".join(map(re.escape, sorted(words, key=len, reverse=True))) + ")"
    return [(bool(at % 2), piece) for at, piece in enumerate(re.split(pattern, text)) if piece]


# --- SentencePiece ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pieces:
    """ids, scores: of the pieces that text is joined to. words: user-defined pieces, found first. space: put first."""

    ids: Mapping[str, int]
    scores: Mapping[str, float]
    words: Mapping[str, int]
    unknown: int | None = None
    space: bool = False

    @classmethod
    def of(cls, metadata: Mapping[str, Any], structure: Sequence[str] = ()) -> Pieces:
        """What GGUF metadata lists. structure: user-defined pieces that text must not become."""
        tokens, types, scores = (metadata[f"tokenizer.ggml.{key}"] for key in ("tokens", "token_type", "scores"))
        normal = {piece: token for token, piece in enumerate(tokens) if types[token] == 1}
        bytes_ = {piece: token for token, piece in enumerate(tokens) if types[token] == 6}
        users = {piece: token for token, piece in enumerate(tokens) if types[token] == 4 and piece not in structure}
        words = {piece.replace(" ", "▁"): token for piece, token in users.items()}
        known = {piece: scores[token] for piece, token in normal.items()}
        unknown = metadata.get("tokenizer.ggml.unknown_token_id")
        return cls(normal | bytes_, known, words, unknown, metadata.get("tokenizer.ggml.add_space_prefix", True))

    def spell(self, text: str) -> list[int]:
        """The ids of a text."""
        ids: list[int] = []
        text = (" " + text if self.space and text else text).replace(" ", "▁")
        for is_word, piece in cut_at(list(self.words), text):
            parts = join(piece, self._when) if not is_word else []
            ids += [self.words[piece]] if is_word else [token for part in parts for token in self._ids(part)]
        fused = [token for at, token in enumerate(ids) if token != self.unknown or ids[at - 1 : at] != [token]]
        return fused

    def text(self, ids: Sequence[int]) -> str:
        """The text of ids that a text was spelt in."""
        text = b"".join(self._bytes_of[token] for token in ids).decode().replace("▁", " ")
        return text.removeprefix(" ") if self.space else text

    @cached_property
    def _bytes_of(self) -> dict[int, bytes]:
        spelt = {token: piece.encode() for piece, token in {**self.ids, **self.words}.items()}
        return spelt | {self.ids[f"<0x{byte:02X}>"]: bytes([byte]) for byte in range(256)}

    def _when(self, left: str, right: str) -> float | None:
        score = self.scores.get(left + right)
        return None if score is None else -score

    def _ids(self, part: str) -> list[int]:
        if part in self.scores:
            return [self.ids[part]]
        spelt = [self.ids.get(f"<0x{byte:02X}>", self.unknown) for byte in part.encode()]
        return [self.unknown] if None in spelt or self.unknown in spelt else spelt  # type: ignore[return-value]


# --- byte-level BPE ---------------------------------------------------------------------------------------------------

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+"
GPT2 += r"|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+"
LATER = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS| ?[^\p{White_Space}\p{L}\p{N}]+[\r\n]*"
LATER += r"|\p{White_Space}*[\r\n]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+"
PATTERNS = {
    "gpt-2": GPT2,
    "smollm": GPT2,
    "qwen2": LATER.replace("DIGITS", r"\p{N}"),
    "llama-bpe": LATER.replace("DIGITS", r"\p{N}{1,3}"),
}


@cache
def alphabet() -> dict[int, str]:
    """The letter that stands for each byte: itself where it is visible, else one from 256 upwards."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {byte: chr(byte) for byte in visible} | {byte: chr(256 + at) for at, byte in enumerate(hidden)}


@dataclass(frozen=True)
class Words:
    """Byte-level BPE of a family. ids: of the words that text may become. ranks: (left, right) -> place in the list."""

    family: str
    ids: Mapping[str, int]
    ranks: Mapping[tuple[str, str], int]

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Words:
        """What GGUF metadata lists."""
        tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
        ids = {word: token for token, word in enumerate(tokens) if types[token] == 1}
        pairs = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
        ranks = {(left, right): rank for rank, (left, right) in enumerate(pairs) if left + right in ids}
        return cls(metadata["tokenizer.ggml.pre"], ids, ranks)

    def spell(self, text: str) -> list[int]:
        """The ids of a text; bytes that the vocabulary lacks are left out beforehand (SmolLM2's lacks some)."""
        import regex  # knows classes of characters, which the standard library's does not

        if self.family == "qwen2":
            text = NFC().normalize_str(text)  # not Python's, which knows marks of a later Unicode
        runs = regex.split(r"(\p{N})", text) if self.family == "smollm" else [text]
        letter = alphabet()
        ids: list[int] = []
        for run in runs:
            for found in regex.finditer(PATTERNS[self.family], run):
                word = "".join(letter[byte] for byte in found[0].encode())
                whole = self.family == "llama-bpe" and word in self.ids
                known = [byte for byte in word if byte in self.ids]
                parts = [word] if whole else join(known, lambda left, right: self.ranks.get((left, right)))
                ids += [self.ids[part] for part in parts]
        return ids

    def text(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        letters = "".join(self._word_of[token] for token in ids)
        byte = {letter: byte for byte, letter in alphabet().items()}
        return bytes(byte[letter] for letter in letters).decode("utf-8", "replace")

    @cached_property
    def _word_of(self) -> dict[int, str]:
        return {token: word for word, token in self.ids.items()}
