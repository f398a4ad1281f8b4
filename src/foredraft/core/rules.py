"""Rules: how logits become the law a token is drawn from. One function for target and draft alike.

The order is Hugging Face's (algorithms, "warping"): bias, bad words, minimum length; penalties; grammar; temperature;
top-k; top-p; min-p; softmax. Rules are immutable: `after(token)` gives the rules one token further on, so every node of
a draft tree has those of its own path and a rejection needs no undo.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from foredraft.core.errors import RuleError, UsageError, WeightsError
from foredraft.core.law import Law, Point, lifted, of_probs
from foredraft.core.native import TWINS
from foredraft.core.params import SamplingParams
from foredraft.core.sampling import Logits as Logits
from foredraft.core.tree import DraftTree

# Tokens said since the counts were last folded: small enough to scan, large enough to fold seldom.
FOLD = 64

NOTHING_LEFT = "the rules leave no token that may follow: relax bad words, allowed or minimum tokens, or the grammar"


class Rule(Protocol):
    """One transformation of logits with the state of one path."""

    def apply(self, logits: Logits) -> Logits:
        """The transformed logits, shape [vocab]; the argument is never written to."""

    def after(self, token: int) -> Rule:
        """The rule after `token` was said; any token, for drafts may hold what the rule itself forbids."""


class Constraint(Rule, Protocol):
    """A rule that knows which tokens may follow before it sees logits: a grammar. `apply` only forbids."""

    def allows(self, token: int) -> bool:
        """Whether `token` may be said here: False where `apply` gives -inf whatever the logits."""

    def few(self) -> NDArray[np.int64] | None:
        """The ids that may follow, ascending, where they are few; None where they are many."""

    def prefix(self, tokens: Sequence[int]) -> int:
        """How many of `tokens`, said one after another, may stand: never too few, and quickly found."""

    def forced(self) -> tuple[tuple[int, ...], int]:
        """Tokens of the text that must follow, and how many of the first are certain; the others only spell it."""

    def after(self, token: int) -> Constraint: ...


class Row(Protocol):
    """What rules read of a scored pass; `protocols.Scores` is one."""

    @property
    def vocab_size(self) -> int: ...

    def logits(self, row: int) -> Logits: ...

    def argmax(self, row: int) -> int: ...


@dataclass(frozen=True)
class Rules:
    """All rules at one node: path-dependent `steps` in their order, the grammar, then the sampling parameters."""

    steps: tuple[Rule, ...] = ()
    grammar: Constraint | None = None
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    def after(self, token: int) -> Rules:
        """The rules at the child that says `token`."""
        if not self.steps and self.grammar is None:
            return self
        grammar = self.grammar.after(token) if self.grammar is not None else None
        return replace(self, steps=tuple(step.after(token) for step in self.steps), grammar=grammar)

    @property
    def argmax_only(self) -> bool:
        """Whether laws, here and after any tokens, ask for the argmax alone."""
        return self.temperature == 0 and not self.steps and self.grammar is None

    def law(self, scores: Row, row: int) -> Law:
        """The law of the token after `row` of a pass; greedy without steps asks for the argmax first, often alone."""
        if self.temperature == 0 and not self.steps:
            best = scores.argmax(row)
            if self.grammar is None or self.grammar.allows(best):
                return Point(best, scores.vocab_size)
        return self.law_of(scores.logits(row))

    def law_of(self, logits: Logits) -> Law:
        """The law of the next token from logits [vocab]. Raises RuleError when no token is left."""
        for step in self.steps:
            logits = step.apply(logits)
        if self.grammar is None:
            return self._law(logits)
        few = self.grammar.few()
        if few is None:
            return self._law(self.grammar.apply(logits))
        if not len(few):
            raise RuleError(NOTHING_LEFT)
        return lifted(self._law(logits[few]), few, len(logits))

    def _law(self, logits: Logits) -> Law:
        if self.temperature > 0:
            law = warp(logits, self.temperature, self.top_k, self.top_p, self.min_p)
            if law is not None:
                return law
        best = TWINS.argmax(logits)
        if np.isnan(logits[best]) or logits[best] == np.inf:
            raise WeightsError("the model's logits are not numbers: its weights are damaged, or its type is too narrow")
        if logits[best] == -np.inf:
            raise RuleError(NOTHING_LEFT)
        return Point(best, len(logits))


def warp(logits: Logits, temperature: float, top_k: int, top_p: float, min_p: float) -> Law | None:
    """The law after temperature > 0, top-k, top-p and min-p, in float64; None when the largest logit is not finite."""
    ids, probs = TWINS.warp(logits, temperature, top_k, top_p, min_p)
    return of_probs(ids, probs, len(logits)) if len(probs) else None


@dataclass(frozen=True)
class Bias:
    """Adds to the logits of single tokens (OpenAI's logit_bias)."""

    ids: NDArray[np.int64]
    values: NDArray[np.float64]

    def apply(self, logits: Logits) -> Logits:
        out = logits.astype(np.float64)
        out[self.ids] += self.values
        return out

    def after(self, token: int) -> Bias:
        return self


@dataclass(frozen=True)
class Allowed:
    """Nothing but these tokens may be said."""

    ids: NDArray[np.int64]

    def apply(self, logits: Logits) -> Logits:
        out = np.full_like(logits, -np.inf)
        out[self.ids] = logits[self.ids]
        return out

    def after(self, token: int) -> Allowed:
        return self


@dataclass(frozen=True)
class BadWords:
    """Forbids the last token of a word when its earlier tokens have just been said."""

    words: tuple[tuple[int, ...], ...]
    said: tuple[int, ...] = ()

    def apply(self, logits: Logits) -> Logits:
        banned = [word[-1] for word in self.words if self.said[len(self.said) - len(word) + 1 :] == word[:-1]]
        return _banned(logits, banned)

    def after(self, token: int) -> BadWords:
        longest = max(len(word) for word in self.words)
        return replace(self, said=(*self.said, token)[-longest:])


@dataclass(frozen=True)
class MinTokens:
    """Forbids the tokens that would stop the text while `left` more must be said."""

    left: int
    ids: tuple[int, ...]

    def apply(self, logits: Logits) -> Logits:
        return _banned(logits, self.ids) if self.left > 0 else logits

    def after(self, token: int) -> MinTokens:
        return replace(self, left=self.left - 1) if self.left > 0 else self


@dataclass(frozen=True)
class Penalties:
    """Repetition (prompt and output), presence and frequency (output) penalties, as vLLM and OpenAI define them."""

    repetition: float
    presence: float
    frequency: float
    prompt: frozenset[int]
    counts: Mapping[int, int]
    recent: tuple[int, ...] = ()

    def apply(self, logits: Logits) -> Logits:
        counts = _counted(self.counts, self.recent)
        out = logits.astype(np.float64)
        seen = np.array(sorted(self.prompt | counts.keys()), dtype=np.int64)
        if self.repetition != 1 and len(seen):
            out[seen] = np.where(out[seen] > 0, out[seen] / self.repetition, out[seen] * self.repetition)
        if counts:
            ids = np.fromiter(counts.keys(), dtype=np.int64)
            times = np.fromiter(counts.values(), dtype=np.float64)
            out[ids] -= self.presence + self.frequency * times
        return out

    def after(self, token: int) -> Penalties:
        recent = (*self.recent, token)
        if len(recent) < FOLD:
            return replace(self, recent=recent)
        return replace(self, counts=_counted(self.counts, recent), recent=())


def _counted(counts: Mapping[int, int], recent: Iterable[int]) -> dict[int, int]:
    total = dict(counts)
    for token in recent:
        total[token] = total.get(token, 0) + 1
    return total


def _banned(logits: Logits, ids: Sequence[int]) -> Logits:
    if not ids:
        return logits
    out = logits.copy()
    out[list(ids)] = -np.inf
    return out


def rules_of(
    params: SamplingParams,
    *,
    prompt: Sequence[int],
    vocab_size: int,
    stop_ids: Iterable[int],
    bad_words: Sequence[tuple[int, ...]] = (),
    grammar: Constraint | None = None,
) -> Rules:
    """The rules at the first output token.

    stop_ids: what ends the text, which min_tokens holds back. bad_words: params.bad_words as token sequences, which
    only the tokenizer knows.
    Raises UsageError for a token id outside the vocabulary.
    """
    steps: list[Rule] = []
    ends = _checked(stop_ids, vocab_size, "stop_token_ids")
    if params.logit_bias:
        ids = _checked(params.logit_bias, vocab_size, "logit_bias")
        values = np.array([params.logit_bias[int(token)] for token in ids], dtype=np.float64)
        steps.append(Bias(ids, values))
    if params.allowed_token_ids is not None:
        steps.append(Allowed(_checked(params.allowed_token_ids, vocab_size, "allowed_token_ids")))
    if bad_words:
        steps.append(BadWords(tuple(bad_words)))
    if params.min_tokens:
        steps.append(MinTokens(params.min_tokens, tuple(ends.tolist())))
    if params.repetition_penalty != 1 or params.presence_penalty or params.frequency_penalty:
        penalties = (params.repetition_penalty, params.presence_penalty, params.frequency_penalty)
        steps.append(Penalties(*penalties, prompt=frozenset(prompt), counts={}))
    return Rules(tuple(steps), grammar, params.temperature, params.top_k, params.top_p, params.min_p)


def pruned(tree: DraftTree, rules: Rules) -> DraftTree:
    """`tree` without drafts that the grammar forbids, which no verifier can accept: their rows are free again.

    rules: those at the root. A tree with laws stays whole: dropping after looking would change them.
    """
    if rules.grammar is None or not len(tree) or any(law is not None for law in tree.laws):
        return tree
    inner, alive = set(tree.parents), set[int]()
    for leaf in range(len(tree)):
        if leaf not in inner:
            path = tree.path(leaf)
            drafts = [tree.tokens[node] for node in path if not tree.probes[node]]  # probes are never said
            said = rules.grammar.prefix(drafts)
            alive.update(path if said == len(drafts) else path[:said])
    return tree if len(alive) == len(tree) else tree.select(alive)


def _checked(ids: Iterable[int], vocab_size: int, name: str) -> NDArray[np.int64]:
    array = np.array(sorted(set(ids)), dtype=np.int64)
    if len(array) and not 0 <= array[0] <= array[-1] < vocab_size:
        raise UsageError(f"{name} names a token id outside the vocabulary: use ids from 0 to {vocab_size - 1}")
    return array
