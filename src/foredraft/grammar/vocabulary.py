"""A model's vocabulary as llguidance wants it: the bytes of every token, which ones end a text, and how text is cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import llguidance

Encode = Callable[[str], Sequence[int]]


class _Spelt:
    """The attributes that llguidance's TokenizerWrapper asks for."""

    def __init__(self, tokens: Sequence[bytes], special: Iterable[int], ends: Sequence[int], encode: Encode) -> None:
        self.tokens = list(tokens)
        self.special_token_ids = sorted(special)
        self.bos_token_id = None
        self.eos_token_id = ends[0]
        self._encode = encode
        self._longest = max(map(len, self.tokens), default=0)
        self._id_of = {piece: token for token, piece in reversed([*enumerate(self.tokens)])}
        for token in self.special_token_ids:  # no text is spelt with these
            self._id_of.pop(self.tokens[token], None)

    def __call__(self, text: str) -> list[int]:
        """The tokens that spell `text`: the model's own way, or the longest pieces where that would change it."""
        wanted, ids = text.encode(), self._encode(text)
        if b"".join(self.tokens[token] for token in ids) == wanted:
            return list(ids)
        found, at = list[int](), 0
        while at < len(wanted):
            ends = range(min(len(wanted), at + self._longest), at, -1)
            end = next((end for end in ends if wanted[at:end] in self._id_of), None)
            if end is None:
                return []  # the vocabulary cannot spell it
            found.append(self._id_of[wanted[at:end]])
            at = end
        return found


class Vocabulary:
    """tokens: the bytes of every id the model scores, empty for padding. special: ids that are structure, not text.
    ends: ids that end a text, at least one. encode: plain text to ids.
    """

    def __init__(self, tokens: Sequence[bytes], special: Iterable[int], ends: Iterable[int], encode: Encode) -> None:
        self.size = len(tokens)
        self.ends = frozenset(ends)
        order = sorted(self.ends)
        wrapper = llguidance.TokenizerWrapper(_Spelt(tokens, {*special, *order}, order, encode))
        self.native = llguidance.LLTokenizer(wrapper, n_vocab=self.size, eos_token=order)
