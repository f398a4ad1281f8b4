"""Lookahead decoding: the target guesses several future tokens at once, and its guesses become n-grams to draft.

Fu et al. 2024 (arXiv 2402.02057). A window of `w` columns holds the last n - 1 steps of a
Jacobi iteration. Every pass feeds it beside the root and reads one new token a column; a column and its new token are
an n-gram, kept in a pool by its first token. The draft is up to `g` n-grams of the pool that begin with the root.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from foredraft.core.errors import UsageError
from foredraft.core.protocols import Ask, Budget, Needs, News, Request
from foredraft.core.tree import EMPTY, ROOT, DraftTree
from foredraft.draft.family import Family
from foredraft.draft.merge import merge

SOURCE = "lookahead"
# Prior chance that an n-gram's first guess is right, halved with every n-gram that was kept later, and each later one.
RIGHT, GOES_ON = 0.5, 0.7

Gram = tuple[int, ...]


@dataclass(frozen=True)
class Options:
    w: int = field(default=5, metadata={"help": "columns of the window: tokens guessed at once"})
    n: int = field(default=4, metadata={"help": "tokens of an n-gram: a draft is one less"})
    g: int = field(default=5, metadata={"help": "n-grams drafted at once, and kept for one token"})
    prompt: bool = field(default=False, metadata={"help": "fill the pool from the prompt too"})

    def __post_init__(self) -> None:
        if min(self.w, self.g) < 1 or self.n < 2:
            raise UsageError(
                f"lookahead needs w and g of 1 and n of 2 at least, not w={self.w}, n={self.n}, g={self.g}"
            )

    @property
    def nodes(self) -> int:
        """Rows of a full round beside the root: (w + g)(n - 1)."""
        return (self.w + self.g) * (self.n - 1)


@dataclass
class Window:
    """The state of a sequence.

    columns: of each column its tokens, level 0 first, at most n - 1. fed: what the last proposal fed of them, in the
    order of its probes. pool: token -> the n-grams that began with it, without it, the latest last.
    """

    columns: list[list[int]]
    pool: dict[int, list[Gram]] = field(default_factory=dict)
    fed: tuple[int, ...] = ()

    def copy(self) -> Window:
        pool = {token: grams.copy() for token, grams in self.pool.items()}
        return Window([column.copy() for column in self.columns], pool, self.fed)

    def keep(self, gram: Gram, most: int) -> None:
        """Puts an n-gram in the pool as the latest of its first token; the one unused longest leaves."""
        grams = self.pool.setdefault(gram[0], [])
        if gram[1:] in grams:
            grams.remove(gram[1:])
        grams.append(gram[1:])
        del grams[:-most]


class Lookahead:
    """Feeds a window as probe rows and drafts the n-grams that it yields."""

    needs = Needs()

    def __init__(self, options: Options) -> None:
        self.options = options

    def open(self, request: Request, parent: Window | None = None) -> Window:
        """The window begins with tokens of the prompt, evenly spread: the paper's are drawn from it by chance."""
        if parent is not None:
            return parent.copy()
        prompt, w, n = request.prompt, self.options.w, self.options.n
        window = Window([[prompt[column * len(prompt) // w]] for column in range(w)])
        if self.options.prompt:
            for end in range(n, len(prompt) + 1):
                window.keep(prompt[end - n : end], self.options.g)
        return window

    def propose(self, asks: Sequence[Ask[Window]]) -> list[DraftTree]:
        return [self._propose(ask) for ask in asks]

    def update(self, news: Sequence[News[Window]]) -> None:
        for told in news:
            fed, told.state.fed = told.state.fed, ()
            if told.verdict is not None and fed:
                self._read(told, fed)

    def close(self, state: Window) -> None:
        state.pool.clear()

    def _propose(self, ask: Ask[Window]) -> DraftTree:
        """The n-grams, then the window; where the budget is short, each has its share and the window what is left."""
        window, rows, depth = ask.state, ask.budget.rows, ask.budget.depth
        share = rows if rows >= self.options.nodes else rows * self.options.g // (self.options.w + self.options.g)
        drafts = self._drafts(window.pool.get(ask.committed[-1], ()), Budget(share, depth))
        if ask.draw == "sampled":
            drafts = drafts.with_point_laws(ask.vocab_size)
        probes = _window(window.columns, Budget(rows - len(drafts), depth))
        window.fed = probes.tokens
        size = len(drafts)
        return DraftTree(
            drafts.tokens + probes.tokens,
            drafts.parents + tuple(parent + size if parent != ROOT else ROOT for parent in probes.parents),
            drafts.score + probes.score,
            drafts.sources + probes.sources,
            drafts.laws + probes.laws,
            drafts.probes + probes.probes,
        )

    def _drafts(self, grams: Sequence[Gram], budget: Budget) -> DraftTree:
        chains = []
        for rank, gram in enumerate(reversed(grams)):
            first = math.log(RIGHT) * (rank + 1)
            score = [first + step * math.log(GOES_ON) for step in range(len(gram))]
            chains.append(DraftTree.chain(gram, SOURCE, score=score))
        return merge(chains, budget.rows, budget.depth) if chains and budget.rows > 0 else EMPTY

    def _read(self, told: News[Window], fed: tuple[int, ...]) -> None:
        """One new token for every column that was fed: the target's likeliest after the column's last level."""
        tree, columns = told.tree, told.state.columns
        probes = [node for node, probe in enumerate(tree.probes) if probe and tree.sources[node] == SOURCE]
        if tuple(tree.tokens[node] for node in probes) != fed:
            return  # the policy left the window out
        for column, last in zip(columns, _ends(columns, len(fed)), strict=False):
            column.append(told.scores.argmax(told.row(probes[last])))
            if len(column) == self.options.n:
                told.state.keep(tuple(column), self.options.g)
                del column[0]


def _window(columns: Sequence[Sequence[int]], budget: Budget) -> DraftTree:
    """Level 0 as a chain below the root, and the later levels of column i as a chain below its token: probe rows.

    A row at level l of column i so sees the root, columns 0 to i of level 0, and levels 1 to l of its own column, and
    stands at position 1 + i + l after the root: the paper's mask. Whole columns, as many as the budget holds.
    """
    count = rows = 0
    for index, column in enumerate(columns):
        rows += len(column)
        if rows > budget.rows or index + len(column) > budget.depth:
            break
        count += 1
    tokens = [column[0] for column in columns[:count]]
    parents = list(range(-1, count - 1))
    for index, column in enumerate(columns[:count]):
        parent = index
        for token in column[1:]:
            parents.append(parent)
            parent = len(tokens)
            tokens.append(token)
    size = len(tokens)
    return DraftTree.of(tokens, parents, SOURCE, score=(-math.inf,) * size, probes=(True,) * size)


def _ends(columns: Sequence[Sequence[int]], rows: int) -> list[int]:
    """For every column that was fed, which of the `rows` probes is its last level."""
    count = fed = 0
    while fed < rows:
        fed += len(columns[count])
        count += 1
    ends, place = [], count - 1
    for index, column in enumerate(columns[:count]):
        place += len(column) - 1
        ends.append(place if len(column) > 1 else index)
    return ends


FAMILY = Family(
    name="lookahead",
    summary="lookahead decoding: the target's own guesses far ahead become n-grams to draft",
    options=Options,
    needs=lambda options: Needs(),
    build=lambda options, provided: Lookahead(options),
    nodes=lambda options: options.nodes,
)
