"""Draft while the target verifies, on a thread of its own (PEARL, Liu et al. 2408.11850, sections 3.2 and 3.3).

Post-verify: while the target scores a draft, the draft model goes on from its end, as if all of it were accepted; its
first token is a guess of the bonus. If that comes true the next draft is there at once, else it is thrown away.
Pre-verify: after a miss nothing is proposed, so that the target says one token by itself while the draft model writes
on from the root; the first token of that draft is thereby checked before any row is spent on the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from foredraft.core.errors import UsageError
from foredraft.core.protocols import Ask, Budget, Needs, News, Request
from foredraft.core.tree import EMPTY, ROOT, DraftTree
from foredraft.draft.family import Family, Provided
from foredraft.draft.none import Nothing
from foredraft.draft.second import Second
from foredraft.draft.staged import Stage, Staged


@dataclass(frozen=True)
class Options(Second):
    pre: bool = field(default=True, metadata={"help": "after a miss let the target check the first token alone"})


@dataclass
class Course:
    """stage: the draft model's state. text: what must have been committed for `tree` to be the next draft."""

    stage: Stage
    text: tuple[int, ...] = ()
    tree: DraftTree = EMPTY


class Ahead:
    """Proposes what `drafter` drafted during the last pass of the target. pre: see `Options`."""

    needs = Needs(ahead=True, reads=True)

    def __init__(self, drafter: Staged, *, pre: bool = True) -> None:
        self.drafter, self.pre = drafter, pre

    def open(self, request: Request, parent: Course | None = None) -> Course:
        if parent is None:
            return Course(self.drafter.open(request))
        return replace(parent, stage=self.drafter.open(request, parent.stage))

    def behind(self, state: Course, committed: Sequence[int]) -> int:
        return self.drafter.behind(state.stage, committed)

    def propose(self, asks: Sequence[Ask[Course]]) -> list[DraftTree]:
        missed: list[Any] = [] if self.pre else [ask for ask in asks if ask.state.text != tuple(ask.committed)]
        drafted = iter(self.drafter.propose([replace(ask, state=ask.state.stage) for ask in missed]))
        trees = []
        for ask in asks:
            hit = ask.state.text == tuple(ask.committed)
            trees.append(_cut(ask.state.tree, ask.budget) if hit else EMPTY if self.pre else next(drafted))
        return trees

    def ahead(self, asks: Sequence[Ask[Course]], trees: Sequence[DraftTree]) -> None:
        """Drafts on from the end of each tree's likeliest path; one token more, for that first one is a guess."""
        further = [_after(ask, tree) for ask, tree in zip(asks, trees, strict=True)]
        try:
            hoped = self.drafter.propose(further)
        finally:
            for ask in asks:
                draft = ask.state.stage.draft
                draft.sure = min(draft.sure, len(ask.committed))  # the rest is hoped for
        for ask, then, tree in zip(asks, further, hoped, strict=True):
            course = ask.state
            course.text, course.tree = (), EMPTY
            if guess := tree.children(ROOT)[:1]:
                course.text, course.tree = (*then.committed, tree.tokens[guess[0]]), _below(tree, guess[0])

    def update(self, news: Sequence[News[Course]]) -> None:
        """The draft model catches up from what is committed when it drafts."""

    def close(self, state: Course) -> None:
        self.drafter.close(state.stage)


def _after(ask: Ask[Course], tree: DraftTree) -> Ask[Stage]:
    """What would be asked if the tree's likeliest path were accepted, the bonus drafted too."""
    text, rules, node = list(ask.committed), ask.rules, ROOT
    while children := tree.children(node):
        node = max(children, key=lambda child: tree.score[child])  # the first among equals
        text.append(tree.tokens[node])
        rules = rules.after(tree.tokens[node])
    budget = replace(ask.budget, rows=ask.budget.rows + 1, depth=ask.budget.depth + 1)
    stream = ask.stream.at(ask.stream.position + len(text) - len(ask.committed))
    return Ask(ask.state.stage, text, rules, budget, ask.draw, stream, ask.vocab_size, ask.replacement)


def _below(tree: DraftTree, top: int) -> DraftTree:
    """The nodes below `top`, a child of the root, as a tree of their own."""
    below = {top}
    for node, parent in enumerate(tree.parents):
        if parent in below:
            below.add(node)
    part = tree.select(below)  # top is the first of it
    parents = tuple(parent - 1 for parent in part.parents[1:])
    score = tuple(min(0.0, score - part.score[0]) for score in part.score[1:])
    return DraftTree(part.tokens[1:], parents, score, part.sources[1:], part.laws[1:], part.probes[1:])


def _cut(tree: DraftTree, budget: Budget) -> DraftTree:
    """The tree within a budget: its first nodes, which are closed under parents, and not too deep ones."""
    nodes = [node for node, depth in enumerate(tree.depths) if depth <= budget.depth]
    return tree.select(nodes[: budget.rows])


def _build(options: Options, provided: Provided) -> Ahead:
    if provided.model is None:
        raise UsageError("drafter 'ahead' needs a draft model: write ahead:NAME")
    return Ahead(Staged(provided.model, Nothing(), num_speculative_tokens=0, source="ahead"), pre=options.pre)


FAMILY = Family(
    name="ahead",
    summary="a smaller model drafts on while the target verifies",
    options=Options,
    needs=lambda options: Needs(model=options.model, thrift=options.thrift, ahead=True),
    build=_build,
    positional="model",
    requires="a second model",
)
