"""A smaller model drafts: a chain, or a tree of a given shape.

Speculative decoding as first described (Leviathan et al. 2211.17192; Chen et al. 2302.01318). How a token is chosen
follows the verifier: with the target's own noise for `match` (2408.07978), independently and with its law for ratio
verifiers, siblings without replacement (Sequoia, 2402.12374). The draft's law is warped by the request's own rules, so
bias, penalties and grammar hold for the draft too. The draft cache catches up from the committed tokens every round;
there is no case for "all accepted".
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from foredraft.core.errors import RuleError, UsageError
from foredraft.core.law import Law, Point, without
from foredraft.core.protocols import Ask, Cache, Model, Needs, News, Query, Request
from foredraft.core.rules import Logits, Rules
from foredraft.core.stream import Purpose
from foredraft.core.tree import EMPTY, ROOT, DraftTree
from foredraft.draft.family import Family, Provided

# Rows of a catch-up pass, and siblings a node may have: lanes of the draft noise are numbered by both.
CHUNK = 512
LANES = 256


@dataclass(frozen=True)
class Options:
    model: str = field(metadata={"help": "the draft model: a known name, a path or a hub id"})
    tree: str = field(default="", metadata={"help": "children a node by depth, as in 3x2x1; a chain by default"})

    def __post_init__(self) -> None:
        if self.tree and not all(width.isdecimal() and 0 < int(width) < LANES for width in self.tree.split("x")):
            raise UsageError(f"tree of drafter 'model' must be widths joined by x, as in 3x2x1, not {self.tree!r}")

    @property
    def widths(self) -> tuple[int, ...]:
        """Children a node by depth; empty for a chain of any length."""
        return tuple(int(width) for width in self.tree.split("x")) if self.tree else ()

    @property
    def nodes(self) -> int | None:
        """Nodes of the whole tree; None for a chain of any length."""
        return sum(itertools.accumulate(self.widths, operator.mul)) or None


@dataclass
class DraftState:
    """cached: tokens in the draft cache, those drafted in the last round included; the first `sure` are committed."""

    cache: Cache
    cached: list[int]
    sure: int = 0


@dataclass
class Growth:
    """A tree under construction. rules: those at each node, ROOT included; frontier: nodes to give children."""

    ask: Ask[DraftState]
    rules: dict[int, Rules]
    frontier: list[int]
    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    laws: list[Law | None] = field(default_factory=list)

    @property
    def is_chain(self) -> bool:
        return self.parents == list(range(-1, len(self.tokens) - 1))

    def add(self, parent: int, token: int, logprob: float, law: Law | None) -> int:
        node = len(self.tokens)
        self.tokens.append(token)
        self.parents.append(parent)
        self.score.append(logprob + (0.0 if parent == ROOT else self.score[parent]))
        self.laws.append(law)
        self.rules[node] = self.rules[parent].after(token)
        return node

    def tree(self) -> DraftTree:
        return DraftTree.of(self.tokens, self.parents, "model", score=self.score, laws=self.laws)


class ModelDrafter:
    """Drafts with a model of its own; all sequences of a round share its passes."""

    needs = Needs()

    def __init__(self, model: Model, widths: tuple[int, ...] = ()) -> None:
        self.model = model
        self.widths = widths

    def open(self, request: Request, parent: DraftState | None = None) -> DraftState:
        if parent is None:
            return DraftState(self.model.open(), [])
        return DraftState(parent.cache.fork(), parent.cached.copy(), parent.sure)

    def propose(self, asks: Sequence[Ask[DraftState]]) -> list[DraftTree]:
        growing = [growth for growth in map(self._start, asks) if growth is not None]
        grown = {id(growth.ask): growth for growth in growing}
        for depth in range(max((growth.ask.budget.depth for growth in growing), default=0)):
            width = 1 if not self.widths else self.widths[depth] if depth < len(self.widths) else 0
            growing = [growth for growth in growing if self._grows(growth, depth, width)]
            if not growing:
                break
            for growth, rows in zip(growing, self._score(growing), strict=True):
                _grow(growth, rows, depth, width)
        return [grown[id(ask)].tree() if id(ask) in grown else EMPTY for ask in asks]

    def update(self, news: Sequence[News[DraftState]]) -> None:
        """Nothing to do: the cache catches up from the committed tokens when the next draft begins."""

    def close(self, state: DraftState) -> None:
        state.cache.close()

    def _start(self, ask: Ask[DraftState]) -> Growth | None:
        """Trims the draft cache to what was committed; None when the text does not fit the draft model."""
        state, text, about = ask.state, ask.committed, self.model.about
        unknown = about.vocab_size < ask.vocab_size and max(text) >= about.vocab_size
        if unknown or len(text) + ask.budget.depth > about.context:
            return None
        agreed = min(state.sure, len(state.cached))
        while agreed < min(len(state.cached), len(text) - 1) and state.cached[agreed] == text[agreed]:
            agreed += 1
        state.cache.trim(agreed)
        del state.cached[agreed:]
        state.sure = agreed
        return Growth(ask, {ROOT: ask.rules}, [ROOT])

    def _grows(self, growth: Growth, depth: int, width: int) -> bool:
        budget = growth.ask.budget
        fits = all(token < self.model.about.vocab_size for token in growth.tokens)
        return (
            fits and bool(growth.frontier) and width > 0 and depth < budget.depth and len(growth.tokens) < budget.rows
        )

    def _score(self, growing: Sequence[Growth]) -> list[list[Logits]]:
        """The draft logits at every frontier node, one pass for all sequences.

        A draft that is a chain so far stays in the cache as it grows; a tree is fed anew at every depth.
        """
        queries = []
        for growth in growing:
            state, text = growth.ask.state, growth.ask.committed
            trunk = growth.tokens if growth.is_chain else []
            if len(state.cached) >= len(text) + len(trunk):
                state.cache.trim(len(text) - 1)
                del state.cached[len(text) - 1 :]
            chain = [*text[len(state.cached) :], *trunk[max(0, len(state.cached) - len(text)) :]]
            self._catch_up(state, chain[: (len(chain) - 1) // CHUNK * CHUNK])
            chain = chain[(len(chain) - 1) // CHUNK * CHUNK :]
            queries.append(_query(growth, chain))
        scores = self.model.score(queries)
        found = []
        for growth, query, score in zip(growing, queries, scores, strict=True):
            state, nodes = growth.ask.state, 0 if growth.is_chain else len(growth.tokens)
            rows = len(query.tokens) - nodes
            found.append([_fit(score.logits(row), growth.ask.vocab_size) for row in query.logits])
            state.cache.keep(range(rows))
            state.cached.extend(query.tokens[:rows])
        return found

    def _catch_up(self, state: DraftState, tokens: Sequence[int]) -> None:
        for start in range(0, len(tokens), CHUNK):
            piece = tuple(tokens[start : start + CHUNK])
            self.model.score([Query(state.cache, piece, tuple(range(-1, len(piece) - 1)))])
            state.cache.keep(range(len(piece)))
            state.cached.extend(piece)


def _query(growth: Growth, chain: Sequence[int]) -> Query:
    """The chain whose last row is the root (or the last node of a chain), then the nodes of a tree."""
    last = len(chain) - 1
    if growth.is_chain:
        return Query(growth.ask.state.cache, tuple(chain), tuple(range(-1, last)), (last,))
    parents = (*range(-1, last), *(last + 1 + parent for parent in growth.parents))
    rows = tuple(last + 1 + node for node in growth.frontier)
    return Query(growth.ask.state.cache, (*chain, *growth.tokens), parents, rows)


def _grow(growth: Growth, rows: Sequence[Logits], depth: int, width: int) -> None:
    """Gives every frontier node its children; how many never depends on which tokens are drawn."""
    frontier, growth.frontier = growth.frontier, []
    for node, logits in zip(frontier, rows, strict=True):
        room = min(width, growth.ask.budget.rows - len(growth.tokens))
        for token, logprob, law in _children(growth.ask, growth.rules[node], logits, depth, node, room):
            growth.frontier.append(growth.add(node, token, logprob, law))


def _children(
    ask: Ask[DraftState], rules: Rules, logits: Logits, depth: int, node: int, count: int
) -> list[tuple[int, float, Law | None]]:
    """Up to `count` children of a node: token, log probability by the draft, and the law it was drawn from."""
    try:
        law = rules.law_of(logits)
    except RuleError:  # the draft model sees nothing that may follow: the target decides
        return []
    here = ask.stream.ahead(depth)
    if ask.draw == "sampled" and not isinstance(law, Point):
        found: list[tuple[int, float, Law | None]] = []
        left: Law | None = law
        for sibling in range(count):
            if left is None:
                break
            token = here.draw(left, Purpose.DRAFT, lane=(node + 1) * LANES + sibling)
            found.append((token, float(np.log(law.prob(token))), left))
            left = without(left, token)
        return found
    if ask.draw == "coupled" and not isinstance(law, Point):
        tokens = here.rank(law, count, Purpose.TARGET)
    else:  # greedy, or chosen without chance: the likeliest, by the law at temperature 1 where greedy has only one
        law = replace(rules, temperature=1.0).law_of(logits) if isinstance(law, Point) else law
        ids, probs = law.support()
        tokens = [int(token) for token in ids[np.argsort(-probs, kind="stable")[:count]]]
    laws = [Point(token, ask.vocab_size) if ask.draw == "sampled" else None for token in tokens]
    return [(token, float(np.log(law.prob(token))), own) for token, own in zip(tokens, laws, strict=True)]


def _fit(logits: Logits, vocab_size: int) -> Logits:
    """Draft logits over the target's vocabulary: padding cut off, tokens the draft does not know impossible."""
    if len(logits) >= vocab_size:
        return logits[:vocab_size]
    return np.concatenate([logits, np.full(vocab_size - len(logits), -np.inf)])


def _build(options: Options, provided: Provided) -> ModelDrafter:
    if provided.model is None:
        raise UsageError("drafter 'model' needs a draft model: write model:NAME")
    return ModelDrafter(provided.model, options.widths)


FAMILY = Family(
    name="model",
    summary="a smaller model of the same vocabulary drafts a chain or a tree",
    options=Options,
    needs=lambda options: Needs(model=options.model),
    build=_build,
    num_speculative_tokens=4,
    positional="model",
    requires="a second model",
    nodes=lambda options: options.nodes,
)
