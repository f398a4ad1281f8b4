"""A draft model with another vocabulary: its text is translated (SLEM), or its tokens are (TLI).

String-level exact match and token-level intersection of Timor et al. 2502.05202 (algorithms 2 and 4). SLEM writes on in
the draft model's own tokens, as likely as it can, and tokenises the text anew for the target: any pair of models will
do, and what is drafted is a guess without chance. TLI lets the draft model say only what both vocabularies have; its
tokens are drawn like those of any draft model, and carry their laws.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from foredraft.core.errors import UsageError
from foredraft.core.protocols import Ask, Model, Needs, News, Request
from foredraft.core.round import run_round
from foredraft.core.rules import Rules
from foredraft.core.sequence import Sequence as Seq
from foredraft.core.stop import Stop, StopState
from foredraft.core.tree import EMPTY, DraftTree
from foredraft.draft.caught_up import CaughtUp
from foredraft.draft.family import Family, Provided
from foredraft.draft.intersection import Intersection
from foredraft.draft.likeliest import Likeliest
from foredraft.draft.none import Nothing
from foredraft.draft.second import Second
from foredraft.draft.staged import Inner, Stage, Staged
from foredraft.draft.vocabularies import Vocabularies, cut_whole, encode, ends, spelling, whole
from foredraft.verify.match import Match

METHODS = ("slem", "tli")

# Target tokens before the root that are tokenised again with what was drafted (as Hugging Face's look-back).
LOOK_BACK = 10
# Bytes at the end of a text that are tokenised again every round, and those that stay when the rest is settled.
TAIL, KEPT = 512, 96
# The bytes of a character of UTF-8 after its first.
CONTINUING = bytes(range(0x80, 0xC0))


@dataclass(frozen=True)
class Options(Second):
    method: str = field(default="slem", metadata={"help": "slem: text is tokenised anew; tli: tokens that both have"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method not in METHODS:
            raise UsageError(f"method of drafter 'translate' must be slem or tli, not {self.method!r}")


class Tli(Staged):
    """The draft model says tokens of the intersection, in target ids."""

    def __init__(self, model: Model, vocabularies: Vocabularies) -> None:
        self.seen = Intersection(model, vocabularies, vocabularies.target.size)
        super().__init__(self.seen, Nothing(), num_speculative_tokens=0, source="translate")

    def _length(self, ask: Ask[Stage]) -> int:
        return self.seen.spelt(ask.committed)


@dataclass
class Respelt:
    """The committed text in draft tokens. read: target tokens taken in. tail: the bytes after the settled tokens.

    The tail is tokenised again every round, since what follows a word can change the tokens of its beginning.
    """

    read: int = 0
    settled: list[int] = field(default_factory=list)
    tail: bytes = b""

    def follow(self, text: Sequence[int], vocabularies: Vocabularies) -> tuple[list[int], bytes]:
        """The tokens of `text`, and the bytes at its end that are no whole character yet."""
        if not self.read:
            self.settled += vocabularies.draft.begin
        for token in text[self.read :]:
            self._take(token, vocabularies)
        self.read = len(text)
        tokens, length = vocabularies.draft, whole(self.tail)
        ids = encode(tokens, self.tail[:length])
        if length > TAIL:
            self._settle(ids, vocabularies)
            length = whole(self.tail)
            ids = encode(tokens, self.tail[:length])
        return [*self.settled, *ids], self.tail[length:]

    def _take(self, token: int, vocabularies: Vocabularies) -> None:
        name = vocabularies.target.controls.get(token)
        if name is None:
            self.tail += vocabularies.target.token_bytes(token) or b""
            return
        self.settled += encode(vocabularies.draft, self.tail)
        self.tail = b""
        known = vocabularies.spell(token)
        if self.settled != list(known):  # the text may begin with what the draft model puts there itself
            self.settled += known

    def _settle(self, ids: Sequence[int], vocabularies: Vocabularies) -> None:
        """All but the last few words: up to a token that begins with white space or, without one, any character."""
        tokens = vocabularies.draft
        marks = ends(tokens, ids)
        if spelling(tokens, ids) != self.tail[: marks[-1]]:  # a vocabulary that does not spell what it reads
            self.settled += ids
            self.tail = self.tail[whole(self.tail) :]
            return
        starts = [tokens.token_bytes(token) or b"" for token in ids]
        last = bisect_left(marks, len(self.tail) - KEPT)
        spaces = [at for at in range(1, last + 1) if starts[at][:1].isspace()]
        characters = [at for at in range(1, last + 1) if starts[at].lstrip(CONTINUING) == starts[at] != b""]
        if at := max(spaces or characters, default=0):
            self.settled += ids[:at]
            self.tail = self.tail[marks[at - 1] :]

    def copy(self) -> Respelt:
        return replace(self, settled=self.settled.copy())


@dataclass
class Translation:
    """One sequence: the draft model's cache, and the text in its tokens."""

    draft: CaughtUp
    text: Respelt


class Slem:
    """Drafts text, and tokenises it for the target; all sequences of a round share the draft model's passes."""

    needs = Needs(reads=True)

    def __init__(self, model: Model, vocabularies: Vocabularies) -> None:
        self.model, self.vocabularies = model, vocabularies
        self.policy = Inner(0, model.about.vocab_size)

    def open(self, request: Request, parent: Translation | None = None) -> Translation:
        if parent is None:
            return Translation(CaughtUp(self.model.open()), Respelt())
        return Translation(parent.draft.fork(), parent.text.copy())

    def behind(self, state: Translation, committed: Sequence[int]) -> int:
        return len(committed) - state.text.read

    def propose(self, asks: Sequence[Ask[Translation]]) -> list[DraftTree]:
        runs, held = {}, {}
        for index, ask in enumerate(asks):
            settled = len(ask.state.text.settled)
            ids, held[index] = ask.state.text.follow(ask.committed, self.vocabularies)
            depth = min(ask.budget.rows, ask.budget.depth)
            if ids and depth > 0 and len(ids) + depth <= self.model.about.context:
                runs[index] = self._run(ask, ids, settled, depth)
        try:
            while active := [run for run in runs.values() if not run.finished]:
                run_round(self.model, self.policy, active)
            trees = [self._tree(ask, runs[at], held[at]) if at in runs else EMPTY for at, ask in enumerate(asks)]
        finally:
            for index, run in runs.items():
                asks[index].state.draft.cached[:] = run.committed[: run.cache.length]
        return [
            tree.with_point_laws(ask.vocab_size) if ask.draw == "sampled" else tree
            for ask, tree in zip(asks, trees, strict=True)
        ]

    def update(self, news: Sequence[News[Translation]]) -> None:
        """The text is read from what is committed when the next draft begins."""

    def close(self, state: Translation) -> None:
        state.draft.cache.close()

    def _run(self, ask: Ask[Translation], ids: list[int], settled: int, depth: int) -> Seq:
        """The likeliest continuation by the draft model; the rules of the request speak of the target's ids."""
        draft = ask.state.draft
        draft.sure = min(draft.sure, settled)
        draft.follow(ids)
        return Seq(
            request=Request((), 0),
            committed=list(ids),
            cache=draft.cache,
            rules=Rules(temperature=1.0),
            stop=StopState(Stop(frozenset(self.vocabularies.draft.controls), (), depth)),
            stream=Likeliest(),
            verifier=Match(),
            sources=(),
            keep_laws=True,
        )

    def _tree(self, ask: Ask[Translation], run: Seq, held: bytes) -> DraftTree:
        """What was said since the root, in target tokens. held: the part of a character that the text ends with."""
        draft, target = self.vocabularies.draft, self.vocabularies.target
        said = run.committed[len(run.committed) - run.stop.count :]
        laws = [law for step in run.steps for law in step.laws]
        sums = list(accumulate(math.log(law.prob(token)) for token, law in zip(said, laws, strict=True)))
        end = said.pop() if said and said[-1] in draft.controls else None
        text = spelling(draft, said)
        if not text.startswith(held):  # the draft model ends the character another way
            return EMPTY
        tokens = self._retokenised(ask.committed, text[len(held) :])
        marks = [mark - len(held) for mark in ends(draft, said)]
        score = [sums[bisect_left(marks, mark)] for mark in ends(target, tokens)]
        complete = spelling(target, tokens) == text[len(held) :]
        stop = self.vocabularies.target_controls.get(draft.controls[end]) if end is not None and complete else None
        if stop is not None:
            tokens, score = [*tokens, stop], [*score, sums[-1]]
        depth = min(ask.budget.rows, ask.budget.depth)
        return DraftTree.chain(tokens[:depth], "translate", score=score[:depth])

    def _retokenised(self, committed: Sequence[int], text: bytes) -> list[int]:
        """The target's tokens of drafted `text`, as they come where the last committed tokens are tokenised with it.

        Where a token would reach across the root, the text alone is tokenised: what is committed stands.
        """
        target = self.vocabularies.target
        back = list[int]()
        for token in reversed(committed[-LOOK_BACK:]):
            if token in target.controls:
                break
            back.insert(0, token)
        before = spelling(target, back).lstrip(CONTINUING)  # not from the middle of a character
        ids = encode(target, joined := cut_whole(before + text))
        marks = [0, *ends(target, ids)]
        if len(before) in marks and spelling(target, ids) == joined:
            return ids[marks.index(len(before)) :]
        rest = text.lstrip(CONTINUING)
        bytes_first = self.vocabularies.single_bytes(text[: len(text) - len(rest)])
        ids = encode(target, alone := cut_whole(rest))
        return [*bytes_first, *ids] if bytes_first is not None and spelling(target, ids) == alone else []


def _build(options: Options, provided: Provided) -> Slem | Tli:
    if provided.model is None or provided.tokenizer is None or provided.second_tokenizer is None:
        raise UsageError("drafter 'translate' needs a draft model and both tokenizers: write translate:NAME")
    vocabularies = Vocabularies(provided.tokenizer, provided.second_tokenizer)
    return (Slem if options.method == "slem" else Tli)(provided.model, vocabularies)


FAMILY = Family(
    name="translate",
    summary="a smaller model of another vocabulary drafts, by its text or by the tokens that both have",
    options=Options,
    needs=lambda options: Needs(model=options.model, thrift=options.thrift, tokenizer=True, other_vocabulary=True),
    build=_build,
    positional="model",
    requires="a second model",
)
