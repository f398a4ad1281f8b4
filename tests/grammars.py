"""A vocabulary of eight tokens, grammars over it, and what they allow by searching the list of their words."""

from __future__ import annotations

from collections.abc import Sequence
from os.path import commonprefix

import numpy as np

from foredraft.core.params import StructuredOutputsParams
from foredraft.grammar.compile import Grammars
from foredraft.grammar.state import State
from foredraft.grammar.vocabulary import Vocabulary

PIECES = (b"a", b"b", b"c", b"ab", b"bc", b"abc", b"ca", b"<end>")
END = 7
PLAIN = range(END)


def longest_first(text: str) -> list[int]:
    """The tokens of `text`, the longest piece first."""
    ids, at = [], 0
    while at < len(text):
        fits = [(len(PIECES[token]), token) for token in PLAIN if text.encode().startswith(PIECES[token], at)]
        if not fits:
            return []  # not a text of this alphabet
        best = max(fits)
        ids.append(best[1])
        at += best[0]
    return ids


def grammars(padding: int = 0) -> Grammars:
    return Grammars(Vocabulary([*PIECES, *[b""] * padding], [END], [END], longest_first))


def first(words: Sequence[str]) -> State:
    """The state before a text that must be one of `words`."""
    return grammars().first(StructuredOutputsParams(choice=tuple(words)))


def spelt(tokens: Sequence[int]) -> str:
    return b"".join(PIECES[token] for token in tokens).decode()


def follow(state: State, tokens: Sequence[int]) -> State:
    for token in tokens:
        state = state.after(token)
    return state


def allowed(state: State) -> set[int]:
    return {token for token in range(len(PIECES)) if state.allows(token)}


def searched(words: Sequence[str], prefix: str) -> set[int]:
    """The tokens after which some word can still be said, read off the list."""
    going = {token for token in PLAIN if any(word.startswith(prefix + spelt([token])) for word in words)}
    return going | ({END} if prefix in words else set())


def must_follow(words: Sequence[str], prefix: str) -> str:
    """What every word that begins with `prefix` says next; nothing where the text may end."""
    left = [word[len(prefix) :] for word in words if word.startswith(prefix)]
    return "" if prefix in words else commonprefix(left)


def random_words(generator: np.random.Generator) -> list[str]:
    """Up to six words that share beginnings now and then."""
    stem = "".join(generator.choice(list("abc"), size=generator.integers(0, 5)))
    words = set()
    for _ in range(int(generator.integers(1, 7))):
        word = "".join(generator.choice(list("abc"), size=generator.integers(1, 6)))
        words.add(stem + word if generator.random() < 0.7 else word)
    return sorted(words)
