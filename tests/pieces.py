"""Vocabularies whose text is cut into the longest pieces, pairs of them, and a draft model of such a pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from foredraft.draft.vocabularies import Vocabularies
from foredraft.models.toy import Tables


@dataclass(frozen=True)
class Pieces:
    """A vocabulary whose text is cut into the longest pieces from left to right; `controls` have no text."""

    pieces: tuple[bytes, ...]
    controls: Mapping[int, str] = field(default_factory=dict)
    begin: tuple[int, ...] = ()
    prefix: bytes = b""

    @property
    def size(self) -> int:
        return len(self.pieces)

    def encode(self, text: str) -> list[int]:
        rest, ids = self.prefix + text.encode(), list[int]()
        while rest:
            fitting = [(len(one), -at) for at, one in enumerate(self.pieces) if one and rest.startswith(one)]
            length, at = max(fitting, default=(1, 1))
            ids += [-at] if fitting else []
            rest = rest[length:]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join(self.pieces[token] for token in ids).decode("utf-8", "replace")

    def token_bytes(self, token: int) -> bytes | None:
        return self.pieces[token] or None


LETTERS = Vocabularies(Pieces((b"a", b"b", b"ab")), Pieces((b"ba", b"b", b"a", b"aa", b"c")))


HALVES = Vocabularies(
    Pieces((b"\xc3", b"\xa9", b"a")),
    Pieces((b"a", "é".encode(), b"\xa9", b"\xc3", "\N{REPLACEMENT CHARACTER}".encode())),
)


CONTROLS = Vocabularies(
    Pieces((b"", b"a", b" b"), {0: "<end>"}),
    Pieces((b"", b"b", b" ", b"", b" b", b"a"), {0: "<begin>", 3: "<end>"}, begin=(0,), prefix=b" "),
)


PAIRS = {"letters": LETTERS, "halves": HALVES, "controls": CONTROLS}


def draft_net(pair: Vocabularies, seed: int = 31, scale: float = 1.0) -> Tables:
    return Tables.random(pair.draft.size, order=1, seed=seed, scale=scale, context=160)
