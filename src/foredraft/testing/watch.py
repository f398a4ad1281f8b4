"""Watching a drafter at work: a wrapper that notes its proposals, and the ways of driving it that the kit needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from foredraft.core import tree
from foredraft.core.events import Step
from foredraft.core.protocols import AnyDrafter, AnyPolicy, Ask, Budget, Draw, Load, Model, News, Plan, Query, Request
from foredraft.core.round import CHUNK, run_round
from foredraft.core.sequence import Sequence as Seq
from foredraft.core.stop import StopState, trim
from foredraft.core.stream import Purpose, Stream
from foredraft.core.tree import ROOT, DraftTree
from foredraft.verify.match import Match

# What a policy may ask for, from nothing at all to more than anybody drafts.
BUDGETS = (Budget(4, 4), Budget(1, 1), Budget(0, 0), Budget(6, 2), Budget(2, 3), Budget(9, 9), Budget(3, 1))


@dataclass
class Place:
    """How many passes of a sequence have emitted something."""

    emitted: int = 0


class Varied:
    """A policy that goes through `BUDGETS`, by the passes that emitted something (so chunking changes nothing)."""

    def open(self, request: Request) -> Place:
        return Place()

    def budget(self, state: Place, source: str, so_far: DraftTree, load: Load) -> Budget:
        return BUDGETS[state.emitted % len(BUDGETS)]

    def shape(self, states: Sequence[Place], trees: Sequence[DraftTree], load: Load) -> list[Plan]:
        return [Plan(tree) for tree in trees]

    def update(self, state: Place, step: Step) -> None:
        state.emitted += bool(step.tokens)


class PointMatch(Match):
    """Sample and match that asks for drafts chosen without chance, the third way of drawing."""

    draw: Draw = "point"


@dataclass(frozen=True)
class Proposal:
    """One answer of a drafter."""

    draw: Draw
    committed: tuple[int, ...]
    tree: DraftTree


@dataclass
class Watch:
    """The state of a watched drafter: its own, and what it proposed for this sequence."""

    state: Any
    proposals: list[Proposal] = field(default_factory=list)


class Watched:
    """Passes everything on to `drafter`; raises AssertionError where it breaks its contract.

    The round makes a fault of it, and `drive` an AssertionError again.
    """

    def __init__(self, drafter: AnyDrafter) -> None:
        self.drafter = drafter
        self.needs = drafter.needs
        self.open_states = 0

    def open(self, request: Request, parent: Watch | None = None) -> Watch:
        state = self.drafter.open(request, parent.state if parent is not None else None)
        assert state is not None, "open returned None, which stands for a drafter that has failed"
        self.open_states += 1
        return Watch(state)

    def propose(self, asks: Sequence[Ask[Watch]]) -> list[DraftTree]:
        before = [tuple(ask.committed) for ask in asks]
        trees = self.drafter.propose([replace(ask, state=ask.state.state) for ask in asks])
        assert len(trees) == len(asks), f"{len(trees)} trees for {len(asks)} asks"
        for ask, text, proposed in zip(asks, before, trees, strict=True):
            assert tuple(ask.committed) == text, "propose wrote to the committed tokens"
            check_proposal(ask, proposed)
            ask.state.proposals.append(Proposal(ask.draw, text, proposed))
        return trees

    def ahead(self, asks: Sequence[Ask[Watch]], trees: Sequence[DraftTree]) -> None:
        drafter: Any = self.drafter
        drafter.ahead([replace(ask, state=ask.state.state) for ask in asks], trees)

    def behind(self, state: Watch, committed: Sequence[int]) -> int:
        drafter: Any = self.drafter
        behind = drafter.behind(state.state, committed)
        assert 0 <= behind <= len(committed), f"{behind} tokens to read of a text of {len(committed)}"
        return int(behind)

    def update(self, news: Sequence[News[Watch]]) -> None:
        before = [tuple(told.committed) for told in news]
        self.drafter.update([replace(told, state=told.state.state) for told in news])
        for told, text in zip(news, before, strict=True):
            assert tuple(told.committed) == text, "update wrote to the committed tokens"

    def close(self, state: Watch) -> None:
        self.drafter.close(state.state)
        self.open_states -= 1


def check_proposal(ask: Ask[Any], proposed: DraftTree) -> None:
    """Raises AssertionError (or DraftError) unless the tree is what `ask` allows."""
    tree.check(proposed, ask.vocab_size, ask.budget.rows, ask.budget.depth, needs_laws=ask.draw == "sampled")
    for node, parent in enumerate(proposed.parents):
        law, above = proposed.laws[node], 0.0 if parent == ROOT else proposed.score[parent]
        assert proposed.score[node] <= above + 1e-9, f"node {node} is held likelier than its parent"
        assert proposed.sources[node], f"node {node} has no source"
        if ask.draw != "sampled":
            assert law is None, f"node {node} carries a law although drafts are to be {ask.draw}"
        elif law is not None:
            assert abs(float(law.support()[1].sum()) - 1) < 1e-9, f"the law of node {node} does not sum to 1"


def drive(
    model: Model, policy: AnyPolicy, sequences: Sequence[Seq], *, chunk: int = CHUNK, rounds: int | None = None
) -> None:
    """Rounds over all unfinished sequences until they are done or `rounds` are up; any fault is an AssertionError."""
    while rounds != 0 and (active := [sequence for sequence in sequences if not sequence.finished]):
        for step in run_round(model, policy, active, chunk=chunk):
            assert step.fault is None, step.fault
        rounds = rounds - 1 if rounds is not None else None


def feed(model: Model, policy: AnyPolicy, sequence: Seq, chunk: int) -> None:
    """The prompt up to its last token, in chunks, emitting nothing."""
    while (rest := len(sequence.committed) - 1 - sequence.cache.length) > 0:
        drive(model, policy, [sequence], chunk=min(rest, chunk), rounds=1)


def plain_text(model: Model, request: Request, stop: StopState, stream: Stream) -> tuple[int, ...]:
    """What plain decoding says: one fresh pass a token, no round, no verifier."""
    text, rules = list(request.prompt), request.rules
    while stop.finish is None:
        cache, last = model.open(), len(text) - 1
        scores = model.score([Query(cache, tuple(text), tuple(range(-1, last)), (last,))])[0]
        token = stream.at(len(text) - len(request.prompt)).draw(rules.law(scores, last), Purpose.TARGET)
        cache.close()
        rules = rules.after(token)
        kept, stop = trim(stop, (token,))
        text += kept
    return tuple(text[len(request.prompt) :])


def assert_same_proposals(first: Sequence[Proposal], second: Sequence[Proposal], what: str) -> None:
    """Round by round the same trees; scores and laws up to rounding."""
    assert len(first) == len(second), f"{what}: {len(first)} and {len(second)} proposals"
    for mine, other in zip(first, second, strict=True):
        assert mine.committed == other.committed, f"{what}: different texts"
        one, two = mine.tree, other.tree
        same = (one.tokens, one.parents, one.probes) == (two.tokens, two.parents, two.probes)
        assert same, f"{what}: after {list(mine.committed)} {one.tokens} {one.parents}, then {two.tokens} {two.parents}"
        assert np.allclose(one.score, two.score, atol=1e-9), f"{what}: scores differ"
        for law, twin in zip(one.laws, two.laws, strict=True):
            assert (law is None) == (twin is None)
            assert law is None or twin is None or np.allclose(law.dense(), twin.dense(), atol=1e-9), f"{what}: laws"


def assert_drawn_from_their_laws(found: Mapping[tuple[tuple[int, ...], DraftTree], float]) -> None:
    """found: every text and the tree drafted after it that can come up, and their probability.

    Over them all, the token of a node, given the text, its ancestors and earlier siblings, must fall as often as the
    laws it carries say; dropping a token after looking shows here.
    """
    drawn: dict[tuple[object, int], float] = {}
    promised: dict[tuple[object, int], float] = {}
    for (text, proposed), weight in found.items():
        for node, token in enumerate(proposed.tokens):
            law = proposed.laws[node]
            if law is None:
                continue
            seen = (text, *_seen(proposed, node))
            drawn[seen, token] = drawn.get((seen, token), 0.0) + weight
            for other, prob in zip(*law.support(), strict=True):
                promised[seen, int(other)] = promised.get((seen, int(other)), 0.0) + weight * float(prob)
    for key in drawn.keys() | promised.keys():
        chance, said = drawn.get(key, 0.0), promised.get(key, 0.0)
        assert abs(chance - said) < 1e-12, f"token {key[1]} after {key[0]} comes with {chance:g}, its law says {said:g}"


def _seen(proposed: DraftTree, node: int) -> tuple[tuple[int, ...], ...]:
    """For each step of the node's path, the tokens of the earlier siblings and, of its ancestors, their own."""
    seen = []
    for step in proposed.path(node):
        family = proposed.children(proposed.parents[step])
        place = family.index(step) + (step != node)
        seen.append(tuple(proposed.tokens[other] for other in family[:place]))
    return tuple(seen)
