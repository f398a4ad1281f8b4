"""Where a text stands in a grammar, as immutable state: what a draft tree's nodes and the rules of a text hold.

llguidance's matchers move on when they are told a token. Here one is copied first, so a state never changes: branches
of a tree share their beginning and know nothing of each other, and a rejection needs no undo. A copy and a step take
a few microseconds. What a state has computed (its mask, its children) it keeps while somebody holds it.
"""

from __future__ import annotations

import itertools
import re
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from llguidance import LLMatcher
from numpy.typing import NDArray

from foredraft.core.errors import RuleError
from foredraft.core.sampling import Logits
from foredraft.grammar.vocabulary import Vocabulary

BEHIND = re.compile(r"\n<state>|\n\s*\d+ \|")

RECENT = 64
"""States kept though nobody holds them: those that drafting made and verification will ask for again."""


FEW = 1024
"""As many allowed tokens are picked out of the logits, rather than all others masked."""


class Shared:
    """What all states of one grammar share. Matchers are not safe for several threads, so each use takes the lock."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.lock = threading.Lock()
        self.recent: deque[State] = deque(maxlen=RECENT)


class State:
    """The grammar after the tokens said so far. matcher: None where nothing may follow: past the end, or off the path.

    The law of the next token is p restricted to `allows`. llguidance's mask is that set: where the grammar leaves one
    way for the text to go on, the tokens that spell it the model's usual way and no others.
    """

    def __init__(self, shared: Shared, matcher: LLMatcher | None) -> None:
        self._shared = shared
        self._matcher = matcher
        self._children: dict[int, weakref.ref[State]] = {}

    def allows(self, token: int) -> bool:
        """Whether the next token may be `token`."""
        return bool(self._mask[token >> 3] >> (token & 7) & 1)

    def apply(self, logits: Logits) -> Logits:
        """Logits [vocab] with -inf for every token that may not follow. Raises RuleError where llguidance gave up."""
        out: NDArray[np.floating] = np.full_like(logits, -np.inf)
        np.copyto(out, logits, where=self._allowed())
        return out

    def few(self) -> NDArray[np.int64] | None:
        """The ids that may follow, ascending, where there are at most FEW of them."""
        return self._few

    @cached_property
    def _few(self) -> NDArray[np.int64] | None:
        count = int.from_bytes(self._mask, "little").bit_count()
        return np.flatnonzero(self._allowed()) if count <= FEW else None

    def _allowed(self) -> NDArray[np.bool_]:
        mask, size = np.frombuffer(self._mask, dtype=np.uint8), self._shared.vocabulary.size
        return np.unpackbits(mask, bitorder="little", count=size).view(np.bool_)

    def after(self, token: int) -> State:
        """The state once `token` was said, the same object for the same token; one that allows nothing where it could
        not be said, or ended the text.
        """
        known = self._children.get(token)
        state = known() if known is not None else None
        if state is None:
            state = State(self._shared, self._stepped(token))
            self._children[token] = weakref.ref(state)
            self._shared.recent.append(state)
        return state

    def prefix(self, tokens: Sequence[int]) -> int:
        """How many of `tokens` the grammar lets follow one another, an end token being the last; a few microseconds.

        Never less than `allows` would let pass, sometimes more: it asks for the text, not for its spelling.
        """
        if self._matcher is None:
            return 0
        text = list(itertools.takewhile(lambda token: token not in self._shared.vocabulary.ends, tokens))
        with self._shared.lock:
            said: int = self._matcher.validate_tokens(text)
        return said + 1 if said == len(text) < len(tokens) else said

    def forced(self) -> tuple[tuple[int, ...], int]:
        """Tokens of the text that must follow, and how many of the first are certain: each is the only one allowed.

        The tokens after those spell the rest of that text; its last characters may yet be joined by what follows them.
        """
        return self._forced

    @cached_property
    def _forced(self) -> tuple[tuple[int, ...], int]:
        if self._matcher is None:
            return (), 0
        with self._shared.lock:
            certain = tuple(self._matcher.compute_ff_tokens())
            text = self._matcher.compute_ff_bytes()
        spelt = tuple(self._shared.vocabulary.native.tokenize_bytes(text)) if text else ()
        whole = spelt[: len(certain)] == certain
        return (spelt if whole else certain), len(certain)

    @cached_property
    def _mask(self) -> bytes:
        """One bit a token, lowest first."""
        if self._matcher is None:
            return bytes(self._shared.vocabulary.size // 8 + 1)
        with self._shared.lock:
            mask: bytes = self._matcher.compute_bitmask()
            if self._matcher.is_error():
                raise RuleError(
                    f"the grammar cannot be followed any further ({shortened(self._matcher.get_error())}): simplify it"
                )
        return mask

    def _stepped(self, token: int) -> LLMatcher | None:
        if self._matcher is None or token in self._shared.vocabulary.ends:
            return None
        with self._shared.lock:
            if self._matcher.validate_tokens([token]) == 0:
                return None
            matcher = self._matcher.deep_copy()
            return matcher if matcher.consume_token(token) else None


def shortened(error: str) -> str:
    """What llguidance says went wrong on one line, without the parser's state and the grammar's lines behind it."""
    return " ".join(BEHIND.split(error)[0].split())[:200]
