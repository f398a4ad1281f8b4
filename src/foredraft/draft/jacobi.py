"""Jacobi decoding: several future tokens are guessed at once, fed, and replaced by what the target says, until right.

Santilli et al. 2023 (arXiv 2305.10427, algorithm 1): greedy decoding as a fixed point. Every pass feeds a guess for
each of the next k tokens and takes the target's likeliest token after each as the next guess; a guess that is right
is accepted, so a pass settles at least one token. A position that enters the window has no guess yet: it is fed the
text's last tokens again (`init=text`), or a blank (`init=blank`, the simplest way of looking ahead: one pass over
blanks gives the first guesses).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from foredraft.core.errors import UnknownName
from foredraft.core.protocols import Ask, Needs, News, Request
from foredraft.core.tree import EMPTY, ROOT, DraftTree
from foredraft.draft.family import Family, Provided

INITS = ("text", "blank")
# Prior chances that a guess is right where those before it are; a filler hardly ever is.
GUESS, FILLER = 0.3, 0.01


@dataclass(frozen=True)
class Options:
    init: str = field(default="text", metadata={"help": "what unknown positions are fed: text, its last tokens; blank"})

    def __post_init__(self) -> None:
        if self.init not in INITS:
            raise UnknownName("init of drafter 'jacobi':", self.init, INITS)


@dataclass
class Guess:
    """Guesses for the tokens that follow the root, as far as there are any."""

    tokens: tuple[int, ...] = ()


class Jacobi:
    """Feeds its guess of the next tokens, and takes over what the target says to it."""

    needs = Needs()

    def __init__(self, options: Options, blank: int = 0) -> None:
        """blank: the token that stands for an unknown one."""
        self.options, self.blank = options, blank
        self.needs = _needs(options)

    def open(self, request: Request, parent: Guess | None = None) -> Guess:
        return Guess(parent.tokens) if parent is not None else Guess()

    def propose(self, asks: Sequence[Ask[Guess]]) -> list[DraftTree]:
        return [self._propose(ask) for ask in asks]

    def update(self, news: Sequence[News[Guess]]) -> None:
        for told in news:
            if told.verdict is not None:
                told.state.tokens = _next(told)

    def close(self, state: Guess) -> None:
        state.tokens = ()

    def _propose(self, ask: Ask[Guess]) -> DraftTree:
        count = min(ask.budget.rows, ask.budget.depth)
        if count < 1:
            return EMPTY
        known = ask.state.tokens[:count]
        tokens = (*known, *self._fillers(ask.committed, count - len(known)))
        guesses = [step < len(known) for step in range(count)]
        score, path = [], 0.0
        for guess in guesses:
            path += math.log(GUESS if guess else FILLER)
            score.append(path)
        # With no guess at all, the fillers are fed to be learnt from alone.
        probes = (not known,) * count
        tree = DraftTree.of(tokens, range(-1, count - 1), "jacobi", score=score, probes=probes)
        return tree.with_point_laws(ask.vocab_size) if ask.draw == "sampled" and known else tree

    def _fillers(self, text: Sequence[int], count: int) -> tuple[int, ...]:
        if self.options.init == "blank":
            return (self.blank,) * count
        last = tuple(text[max(0, len(text) - count) :]) if count else ()
        return (last * (count // len(last) + 1))[:count] if last else ()


def _next(told: News[Guess]) -> tuple[int, ...]:
    """The next iterate from the one that was fed: after every row the target's likeliest token, those said left out.

    Guesses behind the rows that were fed stay as they are. Of a draft that was cut, the rows that are left are read.
    """
    tree, node, said = told.tree, ROOT, [told.scores.argmax(told.row(ROOT))]
    for each in range(len(tree)):
        if "jacobi" in tree.sources[each].split("+") and tree.parents[each] == node:
            node = each
            said.append(told.scores.argmax(told.row(node)))
    return (*said, *told.state.tokens[len(said) :])[len(told.tokens) :]


def _needs(options: Options) -> Needs:
    return Needs(tokenizer=options.init == "blank")


def _build(options: Options, provided: Provided) -> Jacobi:
    spaces = provided.tokenizer.encode(" ") if provided.tokenizer is not None else []
    return Jacobi(options, spaces[-1] if spaces else 0)


FAMILY = Family(
    name="jacobi",
    summary="jacobi decoding: guesses of the next tokens are fed and replaced until they are right",
    options=Options,
    needs=_needs,
    build=_build,
)
