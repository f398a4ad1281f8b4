"""The drafter is itself speculated: a cheap drafter drafts for the draft model, which drafts for the target.

Staged speculation (Spector, Re 2308.04623, section 3) and the vertical cascade of Cascade Speculative Drafting (Chen et
al. 2312.11462, section 3.1): the round runs inside the round, so the draft model says exactly what it would say
alone, in fewer passes. With `horizontal` the draft model writes the first tokens only and the cheap drafter the rest,
which are reached less often (2312.11462, section 3.2). The inner drafter's state stands at what the target committed;
every draft runs ahead from there on a copy of no tenant, which is thrown away.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from foredraft.core.errors import DraftError, UsageError
from foredraft.core.events import Step
from foredraft.core.law import Law, Point
from foredraft.core.protocols import AnyDrafter, Ask, Budget, Load, Model, Needs, News, Plan, Request
from foredraft.core.round import run_round
from foredraft.core.sequence import Sequence as Seq
from foredraft.core.sequence import Source
from foredraft.core.stop import Stop, StopState
from foredraft.core.stream import Purpose
from foredraft.core.tree import EMPTY, ROOT, DraftTree
from foredraft.draft import Spec, specify
from foredraft.draft.caught_up import CaughtUp
from foredraft.draft.family import Family, Provided
from foredraft.draft.fitted import Fitted
from foredraft.draft.likeliest import Likeliest
from foredraft.draft.model_laws import chances, entropy_of
from foredraft.draft.second import Second
from foredraft.verify.match import Match

INNER = 4  # drafts of an inner round when nobody says: its passes are small, and what they cost is not measured


@dataclass(frozen=True)
class Options(Second):
    inner: str = field(default="lookup", metadata={"help": "what drafts for it, options after colons: lookup:n=2:k=6"})
    horizontal: int = field(
        default=0, metadata={"help": "tokens the model drafts before the inner drafter adds the rest; 0: it drafts all"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        needs = self.drafter.needs
        if replace(needs, grammar=False, prediction=False) != Needs(top=needs.top):
            raise UsageError(
                f"staged cannot speculate its model with {self.inner!r}, which needs more than the text: "
                "choose one that needs nothing, such as lookup"
            )

    @property
    def drafter(self) -> Spec:
        """The inner drafter; inside a specification a colon stands for the comma between its options."""
        name, _, rest = self.inner.partition(":")
        return specify(f"{name}:{rest.replace(':', ',')}")


@dataclass
class Stage:
    """draft: the draft model's cache. inner: the inner drafter's state; it knows of the target's text only."""

    request: Request
    draft: CaughtUp
    inner: Any


@dataclass(frozen=True)
class Inner:
    """The policy of the inner rounds: so many drafts a pass, none that the draft model has no token for."""

    num_speculative_tokens: int
    vocab_size: int

    def open(self, request: Request) -> Inner:
        return self

    def budget(self, state: Inner, source: str, so_far: DraftTree, load: Load) -> Budget:
        return Budget(self.num_speculative_tokens, self.num_speculative_tokens)

    def shape(self, states: Sequence[Inner], trees: Sequence[DraftTree], load: Load) -> list[Plan]:
        return [Plan(self._known(tree)) for tree in trees]

    def update(self, state: Inner, step: Step) -> None:
        """Nothing to learn."""

    def _known(self, tree: DraftTree) -> DraftTree:
        if all(token < self.vocab_size for token in tree.tokens):
            return tree
        kept: set[int] = {ROOT}
        for node, parent in enumerate(tree.parents):
            if parent in kept and tree.tokens[node] < self.vocab_size:
                kept.add(node)
        return tree.select(kept - {ROOT})


class Staged:
    """Drafts with a model whose own decoding is speculated by `inner`; all sequences of a round share its passes.

    num_speculative_tokens: drafts of an inner round. horizontal: see `Options`.
    """

    def __init__(
        self,
        model: Model,
        inner: AnyDrafter,
        *,
        num_speculative_tokens: int = INNER,
        horizontal: int = 0,
        source: str = "staged",
    ) -> None:
        self.model, self.inner, self.source = model, inner, source
        self.policy = Inner(num_speculative_tokens, model.about.vocab_size)
        self.horizontal = horizontal
        self.needs = Needs(top=inner.needs.top, reads=True)

    def open(self, request: Request, parent: Stage | None = None) -> Stage:
        if parent is None:
            return Stage(request, CaughtUp(self.model.open()), self.inner.open(request))
        return Stage(request, parent.draft.fork(), self.inner.open(request, parent.inner))

    def behind(self, state: Stage, committed: Sequence[int]) -> int:
        return max(0, len(committed) - len(state.draft.cached))

    def propose(self, asks: Sequence[Ask[Stage]]) -> list[DraftTree]:
        runs = {index: self._run(ask) for index, ask in enumerate(asks) if self._fits(ask)}
        try:
            while active := [run for at, run in runs.items() if not (run.finished or _stopped(asks[at], run))]:
                model = Fitted.of(self.model, asks[0].vocab_size)
                faults = [step.fault for step in run_round(model, self.policy, active) if step.fault is not None]
                if faults:
                    raise DraftError(f"the inner drafter failed: {faults[0]}")
            return [self._tree(ask, runs[index]) if index in runs else EMPTY for index, ask in enumerate(asks)]
        finally:
            for index, run in runs.items():
                asks[index].state.draft.cached[:] = run.committed[: run.cache.length]
                run.release()

    def update(self, news: Sequence[News[Stage]]) -> None:
        """The inner drafter learns of the text as if it drafted for the target itself."""
        self.inner.update([replace(told, state=told.state.inner) for told in news])

    def close(self, state: Stage) -> None:
        self.inner.close(state.inner)
        state.draft.cache.close()

    def _fits(self, ask: Ask[Stage]) -> bool:
        room, size = min(ask.budget.rows, ask.budget.depth), self.model.about.vocab_size
        unknown = size < ask.vocab_size and max(ask.committed) >= size
        return room > 0 and not unknown and self._length(ask) + room <= self.model.about.context

    def _length(self, ask: Ask[Stage]) -> int:
        """Positions that the text takes in the draft model."""
        return len(ask.committed)

    def _run(self, ask: Ask[Stage]) -> Seq:
        """A generation of the draft model from the root on, to the depth of the budget."""
        state, rules, stream = ask.state, ask.rules, ask.stream
        state.draft.follow(ask.committed)
        if ask.draw == "point" or rules.temperature == 0:
            rules, stream = replace(rules, temperature=rules.temperature or 1.0), Likeliest(stream.position)
        elif ask.draw == "sampled":
            stream = stream.independent(0)
        depth = min(ask.budget.rows, ask.budget.depth, self.horizontal or ask.budget.depth)
        return Seq(
            request=state.request,
            committed=list(ask.committed),
            cache=state.draft.cache,
            rules=rules,
            stop=StopState(Stop(frozenset(), (), depth)),
            stream=stream,
            verifier=Match(),
            sources=(Source("inner", self.inner, self.inner.open(replace(state.request, tenant=None), state.inner)),),
            keep_laws=True,
        )

    def _tree(self, ask: Ask[Stage], run: Seq) -> DraftTree:
        """What the draft model said as the trunk; then the cheap tail, or the runners-up where the budget has room."""
        stopped = _stopped(ask, run)
        laws = _laws(run)[:stopped]
        tokens = run.committed[len(ask.committed) :][:stopped]
        grown = Grown(ask)
        last = ROOT
        for depth, (token, law) in enumerate(zip(tokens, laws, strict=True)):
            chance = _estimates(ask, depth, law, token, 1)[0][1]
            last = grown.add(last, token, math.log(chance), law, self.source)
        if stopped is None and len(tokens) == self.horizontal:
            self._add_tail(grown, run, last)
        if ask.draw != "sampled" or ask.rules.temperature == 0:  # a ratio test must not depend on what was drawn
            _add_runners_up(grown, laws, self.source)
        return grown.tree()

    def _add_tail(self, grown: Grown, run: Seq, last: int) -> None:
        """What the inner drafter expects after the draft model's tokens."""
        ask, said = grown.ask, len(grown.tokens)
        budget = Budget(ask.budget.rows - said, ask.budget.depth - said)
        if run.state is None or min(budget.rows, budget.depth) < 1:
            return
        rules = ask.rules
        for token in grown.tokens:
            rules = rules.after(token)
        stream = ask.stream.ahead(said)
        asked = Ask(run.state, run.committed, rules, budget, ask.draw, stream, ask.vocab_size, ask.replacement)
        (tail,) = self.inner.propose([asked])
        at = {ROOT: last}
        for node, parent in enumerate(tail.parents):
            above = 0.0 if parent == ROOT else tail.score[parent]
            own = min(tail.score[node] - above, 0.0)
            at[node] = grown.add(at[parent], tail.tokens[node], own, tail.laws[node], tail.sources[node])


def _stopped(ask: Ask[Stage], run: Seq) -> int | None:
    """How many tokens were said when the budget's `stop` called it enough; None where it did not."""
    stop, path = ask.budget.stop, 1.0
    for said, law in enumerate(_laws(run) if stop is not None else ()):
        chance = law.prob(run.committed[len(ask.committed) + said])
        path *= chance
        if stop is not None and stop(chance, path, partial(entropy_of, law)):
            return said + 1
    return None


def _laws(run: Seq) -> list[Law]:
    """The draft model's law at every token it said."""
    return [law for step in run.steps for law in step.laws]


@dataclass
class Grown:
    """A tree under construction."""

    ask: Ask[Stage]
    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    laws: list[Law | None] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)

    def add(self, parent: int, token: int, logprob: float, law: Law | None, source: str) -> int:
        self.tokens.append(token)
        self.parents.append(parent)
        self.score.append(logprob + (0.0 if parent == ROOT else self.score[parent]))
        if self.ask.draw == "sampled" and self.ask.rules.temperature == 0:
            law = Point(token, self.ask.vocab_size)
        self.laws.append(law if self.ask.draw == "sampled" else None)
        self.sources.append(source)
        return len(self.tokens) - 1

    def tree(self) -> DraftTree:
        size = len(self.tokens)
        return DraftTree(
            tuple(self.tokens),
            tuple(self.parents),
            tuple(self.score),
            tuple(self.sources),
            tuple(self.laws),
            (False,) * size,
        )


def _add_runners_up(grown: Grown, laws: Sequence[Law], source: str) -> None:
    """Fills the budget with siblings of the trunk, best first: the draft model's laws hold them at no cost.

    They come in the order of their draw, so none is held likelier than those before it.
    """
    room, ask = grown.ask.budget.rows - len(grown.tokens), grown.ask
    found: list[tuple[float, int, int, int]] = []
    for depth, law in enumerate(laws if room > 0 else ()):
        above, worst = grown.score[depth - 1] if depth else 0.0, grown.score[depth]
        ranked = _estimates(ask, depth, law, grown.tokens[depth], room + 1)
        for rank, (token, chance) in enumerate(ranked[1:]):
            worst = min(worst, above + math.log(chance))
            found.append((-worst, depth, rank, token))
    for score, depth, _, token in sorted(found)[:room]:
        above = grown.score[depth - 1] if depth else 0.0
        grown.add(depth - 1, token, -score - above, None, source)


def _estimates(ask: Ask[Stage], depth: int, law: Law, token: int, count: int) -> list[tuple[int, float]]:
    """Up to `count` children of a node in the order of the draw, the trunk's `token` first, and their chances."""
    if ask.draw == "point" or ask.rules.temperature == 0:
        ranked = Likeliest().rank(law, count, Purpose.TARGET)
        return [(each, law.prob(each)) for each in ranked]
    ranked = ask.stream.ahead(depth).rank(law, count, Purpose.TARGET) if ask.draw == "coupled" else [token]
    drawn = ((each, law.prob(each), None) for each in ranked)
    return [(child.token, child.chance) for child in chances(drawn, partial(entropy_of, law))]


def _build(options: Options, provided: Provided) -> Staged:
    if provided.model is None:
        raise UsageError("drafter 'staged' needs a draft model: write staged:lookup,model=NAME")
    inner = options.drafter
    made = inner.family.build(inner.options, replace(provided, model=None))
    return Staged(
        provided.model,
        made,
        num_speculative_tokens=INNER if inner.num_speculative_tokens is None else inner.num_speculative_tokens,
        horizontal=options.horizontal,
    )


FAMILY = Family(
    name="staged",
    summary="a smaller model drafts, itself speculated by a cheaper drafter",
    options=Options,
    needs=lambda options: Needs(model=options.model, thrift=options.thrift, top=options.drafter.needs.top),
    build=_build,
    positional="inner",
    requires="a second model",
)
