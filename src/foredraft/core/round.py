"""The one round, for one sequence or many: the heart of foredraft.

    budget -> propose -> shape -> score (ahead beside it) -> verify -> trim -> keep -> update -> Step

Every pass feeds the committed tokens the cache lacks as a chain, whose last is the root, then the draft nodes. Prefill,
catching up and forced tokens are that one path, and plain decoding is a round with an empty tree. This module is the
only caller of propose, score, verify and keep (a test looks for others).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, cast

from foredraft.core import stop, tree
from foredraft.core.errors import DraftError, RuleError
from foredraft.core.events import Step, Times, TokenLogprob
from foredraft.core.law import Law, Point
from foredraft.core.native import TWINS
from foredraft.core.protocols import (
    Ahead,
    Ask,
    Budget,
    Costs,
    Drafter,
    Laws,
    Load,
    Model,
    Needs,
    News,
    Policy,
    Query,
    Scores,
)
from foredraft.core.rules import Rules
from foredraft.core.sequence import Sequence as Seq
from foredraft.core.sequence import Text
from foredraft.core.tree import EMPTY, ROOT, DraftTree

# Rows of prompt fed in one pass: bounds the memory of a pass, and lets a long prompt share passes with other sequences.
CHUNK = 512
NOTHING = Budget(rows=0, depth=0)


@dataclass
class Turn:
    """One sequence's part in one round."""

    sequence: Seq
    start: int
    chain: tuple[int, ...]
    budget: Budget
    ask: Ask[Any] | None = None
    tree: DraftTree = EMPTY
    fault: str | None = None

    @property
    def prefill(self) -> bool:
        """True for a chunk of the prompt that does not reach the root."""
        return self.start + len(self.chain) < len(self.sequence.committed)

    @property
    def position(self) -> int:
        """The output position of the token after the root."""
        return len(self.sequence.committed) - len(self.sequence.request.prompt)


def run_round(
    model: Model,
    policy: Policy,
    sequences: Sequence[Seq],
    *,
    costs: Costs = Costs(),  # noqa: B008 - frozen
    chunk: int = CHUNK,
) -> list[Step]:
    """One pass over unfinished `sequences`; appends a step to each and returns them in order."""
    clock = _Clock()
    load = Load(len(sequences))
    budgets = [policy.budget(sequence.request, sequence.steps, load, costs) for sequence in sequences]
    turns = [_turn(sequence, budget, model, chunk) for sequence, budget in zip(sequences, budgets, strict=True)]
    clock.to("draft")
    _propose(turns, model.about.vocab_size)
    _shape(turns, policy, costs)
    clock.to("verify")
    with _ahead(turns):
        scores = model.score([_query(turn) for turn in turns])
        clock.to("draft")  # waiting for those who are still drafting ahead
    clock.to("sample")
    news = [
        _prefilled(turn, score) if turn.prefill else _judged(turn, score)
        for turn, score in zip(turns, scores, strict=True)
    ]
    clock.to("draft")
    _update(turns, news)
    seconds = clock.times(len(turns))
    for turn in turns:
        done = turn.sequence.steps
        done[-1] = replace(done[-1], fault=turn.fault, seconds=seconds, wall=seconds.total * len(turns))
    return [turn.sequence.steps[-1] for turn in turns]


def _turn(sequence: Seq, budget: Budget, model: Model, chunk: int) -> Turn:
    """What is fed, and how much may be drafted: the final token always needs one slot of the cap and the context."""
    start = sequence.cache.length
    chain = tuple(sequence.committed[start : start + chunk])
    turn = Turn(sequence, start, chain, NOTHING, fault=sequence.fault)
    sequence.fault = None
    room = min(sequence.stop.remaining, model.about.context - len(sequence.committed)) - 1
    if sequence.state is None or turn.prefill or room < 1 or budget.rows < 1:
        return turn
    turn.budget = replace(budget, depth=min(budget.depth, room))
    stream = sequence.stream.at(turn.position)
    draw = sequence.verifier.draw
    vocab_size = model.about.vocab_size
    turn.ask = Ask(sequence.state, Text(sequence.committed), sequence.rules, turn.budget, draw, stream, vocab_size)
    return turn


def _propose(turns: Sequence[Turn], vocab_size: int) -> None:
    """Fills in the trees. A drafter that fails, or proposes what is no tree within the budget, drafts nothing."""
    for drafter, group in _by_drafter(turns):
        for turn, proposed in zip(group, _proposed(drafter, group), strict=True):
            budget, needs_laws = turn.budget, turn.sequence.verifier.needs_laws
            try:
                tree.check(proposed, vocab_size, budget.rows, budget.depth, needs_laws)
                turn.tree = proposed
            except Exception as error:  # drafts are untrusted: what was proposed may be no tree at all
                turn.fault = _fault(error)


def _proposed(drafter: Drafter[Any], group: list[Turn]) -> list[DraftTree]:
    """A tree a turn. A drafter that raises is asked again for each alone, so that one text does not stop the others.

    Under `match` that costs speed only. A ratio verifier trusts its drafter: one that fails because of what it has
    drawn makes that draw count for nothing, which no verifier can see.
    """
    asks = [turn.ask for turn in group if turn.ask is not None]
    try:
        trees = drafter.propose(asks)
        if len(trees) != len(asks):
            raise DraftError(f"{len(trees)} trees were drafted for {len(asks)} asks")
        return trees
    except Exception as error:
        if len(group) > 1:
            return [one for turn in group for one in _proposed(drafter, [turn])]
        group[0].fault = _fault(error)
        return [EMPTY]


def _shape(turns: Sequence[Turn], policy: Policy, costs: Costs) -> None:
    for turn, shaped in zip(turns, policy.shape([turn.tree for turn in turns], costs), strict=True):
        turn.tree = shaped


@contextmanager
def _ahead(turns: Sequence[Turn]) -> Iterator[None]:
    """Runs the drafters that work ahead on threads of their own while the body scores."""
    faults: list[tuple[list[Turn], str]] = []

    def work(drafter: Ahead[Any], group: list[Turn]) -> None:
        try:
            drafter.ahead([turn.ask for turn in group if turn.ask is not None], [turn.tree for turn in group])
        except Exception as error:  # as in _propose
            faults.append((group, _fault(error)))

    groups = [(drafter, group) for drafter, group in _by_drafter(turns) if drafter.needs.ahead]
    threads = [
        threading.Thread(target=work, args=(cast("Ahead[Any]", drafter), group), daemon=True)
        for drafter, group in groups
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()
        for group, fault in faults:
            for turn in group:
                turn.fault = fault


def _query(turn: Turn) -> Query:
    chain, drafts = turn.chain, turn.tree
    root = len(chain) - 1
    parents = (*range(-1, root), *(root + 1 + parent for parent in drafts.parents))
    rows = () if turn.prefill else tuple(range(root, root + 1 + len(drafts)))
    needs = turn.sequence.drafter.needs if turn.sequence.state is not None else Needs()
    return Query(turn.sequence.cache, chain + drafts.tokens, parents, rows, needs.top, needs.taps)


def _prefilled(turn: Turn, scores: Scores) -> News[Any]:
    """A chunk of the prompt: all rows are kept, nothing is emitted."""
    sequence, rows = turn.sequence, tuple(range(len(turn.chain)))
    sequence.cache.keep(rows)
    sequence.steps.append(Step(turn.position, (), rows=len(rows)))
    return News(sequence.state, Text(sequence.committed), (), turn.start, rows, scores, EMPTY, None, None, len(rows))


def _judged(turn: Turn, scores: Scores) -> News[Any]:
    """Verifies; a text that no token may follow ends there, and the other sequences of the round go on."""
    try:
        return _verified(turn, scores)
    except RuleError as error:
        sequence, rows = turn.sequence, len(turn.chain) + len(turn.tree)
        sequence.stop = stop.fail(sequence.stop, str(error))
        sequence.cache.keep(())
        sequence.steps.append(
            Step(turn.position, (), rows=rows, text=sequence.stop.released, finish=sequence.stop.finish)
        )
        start, state = turn.start, sequence.state
        return News(state, Text(sequence.committed), (), start, (), scores, turn.tree, None, None, len(turn.chain))


def _verified(turn: Turn, scores: Scores) -> News[Any]:
    """Walks the tree, stops the text, commits; keeps last, for if cut off before it the cache just catches up."""
    sequence, drafts, position = turn.sequence, turn.tree, turn.position
    first_node = len(turn.chain)
    rules_at, laws, ends = _laws(sequence.rules, drafts, scores, first_node)
    verdict = sequence.verifier(drafts, laws, sequence.stream.at(position))
    block = [*(drafts.tokens[node] for node in verdict.path), verdict.token]
    block = block[: next((said for said, node in enumerate((ROOT, *verdict.path)) if node in ends), len(block))]
    tokens, stopped = stop.trim(sequence.stop, block)
    emitting = (ROOT, *verdict.path)[: len(tokens)]
    kept = (*range(first_node), *(first_node + node for node in verdict.path[: len(tokens) - 1]))
    step = Step(
        position,
        tokens,
        accepted=min(len(verdict.path), len(tokens)),
        tree=drafts.without_laws(),
        path=verdict.path,
        rows=first_node + len(drafts),
        logprobs=_logprobs(sequence.logprobs, scores, first_node, emitting, tokens),
        laws=tuple(laws(node) for node in emitting) if sequence.keep_laws else (),
        text=stopped.released,
        finish=stopped.finish,
    )
    sequence.rules = rules_at(emitting[-1]).after(tokens[-1])
    sequence.stop = stopped
    sequence.committed.extend(tokens)
    sequence.steps.append(step)
    sequence.cache.keep(kept)
    text = Text(sequence.committed)
    return News(sequence.state, text, tokens, turn.start, kept, scores, drafts, verdict, laws, first_node)


def _laws(root: Rules, drafts: DraftTree, scores: Scores, first_node: int) -> tuple[Any, Laws, set[int]]:
    """The rules and the target's law at every node, each computed when first asked for, and the dead ends met.

    After a draft where the rules leave no token (past the end of a grammar) the text has stopped or is about to fail:
    any law will do there, for nothing drawn from it is said; the next round raises if the text goes on.
    """
    rules = {ROOT: root}
    known: dict[int, Law] = {}
    ends: set[int] = set()

    def rules_at(node: int) -> Rules:
        if node not in rules:
            rules[node] = rules_at(drafts.parents[node]).after(drafts.tokens[node])
        return rules[node]

    def law(node: int) -> Law:
        if node not in known:
            try:
                known[node] = rules_at(node).law(scores, first_node + node)
            except RuleError:
                if node == ROOT:
                    raise
                known[node] = Point(0, scores.vocab_size)
                ends.add(node)
        return known[node]

    return rules_at, law, ends


def _logprobs(
    count: int | None, scores: Scores, first_node: int, emitting: Sequence[int], tokens: Sequence[int]
) -> tuple[TokenLogprob, ...]:
    """log softmax of the model's own logits at the rows that judged the emitted tokens."""
    if count is None:
        return ()
    found = []
    for node, token in zip(emitting, tokens, strict=True):
        logits = scores.logits(first_node + node)
        logprobs = TWINS.log_softmax(logits)
        top = tuple((int(other), float(logprobs[other])) for other in TWINS.top(logits, count))
        found.append(TokenLogprob(token, float(logprobs[token]), top))
    return tuple(found)


def _update(turns: Sequence[Turn], news: Sequence[News[Any]]) -> None:
    """Tells the drafters. One that cannot take the news has lost track: its sequences go on without it."""
    told = dict(zip(map(id, turns), news, strict=True))
    for drafter, group in _by_drafter([turn for turn in turns if turn.sequence.state is not None], asked=False):
        try:
            drafter.update([told[id(turn)] for turn in group])
        except Exception as error:  # as in _propose
            for turn in group:
                turn.fault = _fault(error)
                with suppress(Exception):
                    drafter.close(turn.sequence.state)
                turn.sequence.state = None


def _by_drafter(turns: Sequence[Turn], asked: bool = True) -> list[tuple[Drafter[Any], list[Turn]]]:
    """The turns of each drafter, in order; with `asked`, only those that are to draft."""
    groups: dict[int, tuple[Drafter[Any], list[Turn]]] = {}
    for turn in turns:
        if turn.ask is not None or not asked:
            drafter = turn.sequence.drafter
            groups.setdefault(id(drafter), (drafter, []))[1].append(turn)
    return list(groups.values())


def _fault(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


class _Clock:
    """Adds up the seconds between calls of `to` by what they went into."""

    def __init__(self) -> None:
        self.spent = {"draft": 0.0, "verify": 0.0, "sample": 0.0, "other": 0.0}
        self.now, self.last = "other", time.perf_counter()

    def to(self, part: str) -> None:
        moment = time.perf_counter()
        self.spent[self.now] += moment - self.last
        self.now, self.last = part, moment

    def times(self, shares: int) -> Times:
        self.to("other")
        return Times(**{part: seconds / shares for part, seconds in self.spent.items()})
