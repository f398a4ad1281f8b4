"""The one round, for one sequence or many: the heart of foredraft.

    (budget -> propose) a source -> shape -> score (ahead beside it) -> verify -> trim -> keep -> update -> Step

Every pass feeds the committed tokens the cache lacks as a chain, whose last is the root, then the draft nodes. Prefill,
catching up and forced tokens are that one path, and plain decoding is a round with an empty tree. This module is the
only caller of propose, score, verify and keep (a test looks for others).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

from foredraft.core import stop, tree
from foredraft.core.errors import DraftError, RuleError
from foredraft.core.events import Step, Times
from foredraft.core.protocols import Ahead, AnyPolicy, Ask, Drafter, Load, Model, News, Query, Reader, Scores
from foredraft.core.rules import pruned
from foredraft.core.sequence import Sequence as Seq
from foredraft.core.sequence import Source, Text
from foredraft.core.tree import EMPTY, ROOT, DraftTree
from foredraft.core.walk import laws_of, logprobs_of

# Rows of prompt fed in one pass: bounds the memory of a pass, and lets a long prompt share passes with other sequences.
CHUNK = 512


@dataclass
class Turn:
    """One sequence's part in one round. room: tokens that may be drafted at most; asks: what each source was asked."""

    sequence: Seq
    start: int
    chain: tuple[int, ...]
    room: int
    asks: dict[int, Ask[Any]] = field(default_factory=dict)
    tree: DraftTree = EMPTY
    expected: tuple[float, float] | None = None
    faults: list[str] = field(default_factory=list)
    spent: dict[str, float] = field(default_factory=dict)

    @property
    def prefill(self) -> bool:
        """True for a chunk of the prompt that does not reach the root."""
        return self.start + len(self.chain) < len(self.sequence.committed)

    @property
    def position(self) -> int:
        """The output position of the token after the root."""
        return len(self.sequence.committed) - len(self.sequence.request.prompt)

    @property
    def sources(self) -> list[Source]:
        """Those that keep up."""
        return [source for source in self.sequence.sources if source.state is not None]


Group = list[tuple[Turn, Source]]


def run_round(model: Model, policy: AnyPolicy, sequences: Sequence[Seq], *, chunk: int = CHUNK) -> list[Step]:
    """One pass over unfinished `sequences`; appends a step to each and returns them in order."""
    clock = _Clock()
    load = Load(len(sequences))
    turns = [_turn(sequence, policy, model, chunk) for sequence in sequences]
    clock.to("draft")
    _propose(turns, policy, load, model.about.vocab_size)
    _shape(turns, policy, load)
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
    return _noted(turns, policy, clock.times(len(turns)))


def _turn(sequence: Seq, policy: AnyPolicy, model: Model, chunk: int) -> Turn:
    """What is fed, and how much may be drafted: the final token always needs one slot of the cap and the context."""
    if sequence.pace is None:
        sequence.pace = policy.open(sequence.request)
    start = sequence.cache.length
    chain = tuple(sequence.committed[start : start + chunk])
    room = min(sequence.stop.remaining, model.about.context - len(sequence.committed)) - 1
    turn = Turn(sequence, start, chain, room)
    if sequence.fault is not None:
        turn.faults.append(sequence.fault)
        sequence.fault = None
    return turn


def _propose(turns: Sequence[Turn], policy: AnyPolicy, load: Load, vocab_size: int) -> None:
    """Fills in the trees, source after source, so that each is asked knowing what the cheaper ones found."""
    drafting = [turn for turn in turns if turn.room >= 1 and not turn.prefill]
    for place in range(max((len(turn.sequence.sources) for turn in drafting), default=0)):
        begun, asked = time.perf_counter(), list[tuple[Turn, Source]]()
        for turn in drafting:
            source = turn.sequence.sources[place] if place < len(turn.sequence.sources) else None
            if source is not None and source.state is not None and _asks(turn, place, source, policy, load, vocab_size):
                asked.append((turn, source))
        for drafter, group in _by_drafter(asked):
            for (turn, _), proposed in zip(group, _proposed(drafter, group, place), strict=True):
                _take(turn, turn.asks[place], proposed)
            seconds, begun = time.perf_counter() - begun, time.perf_counter()  # to ask and to join is its cost too
            for turn, source in group:
                turn.spent[source.name] = turn.spent.get(source.name, 0.0) + seconds / len(group)


def _asks(turn: Turn, place: int, source: Source, policy: AnyPolicy, load: Load, vocab_size: int) -> bool:
    """Whether the source is asked this round; notes what for."""
    sequence = turn.sequence
    if source.drafter.needs.reads:
        load = Load(load.sequences, _behind(turn, source), turn.room + 1, reads=True)
    if turn.tree.drawn:  # nothing may be added to a tree that was drawn by chance
        return False
    budget = policy.budget(sequence.pace, source.name, turn.tree, load)
    if budget.leave:
        source.close()
    if budget.rows < 1 or source.state is None:
        return False
    if budget.depth > turn.room:
        budget = replace(budget, depth=turn.room)
    stream, verifier = sequence.stream.at(turn.position), sequence.verifier
    turn.asks[place] = Ask(
        source.state,
        Text(sequence.committed),
        sequence.rules,
        budget,
        verifier.draw,
        stream,
        vocab_size,
        verifier.replacement,
    )
    return True


def _behind(turn: Turn, source: Source) -> int:
    try:
        return cast("Reader[Any]", source.drafter).behind(source.state, Text(turn.sequence.committed))
    except Exception as error:  # as in _propose
        turn.faults.append(_fault(error))
        return 0


def _take(turn: Turn, ask: Ask[Any], proposed: DraftTree) -> None:
    """Adds to the turn's tree. A drafter that proposes what is no tree within its budget drafts nothing."""
    try:
        tree.check(proposed, ask.vocab_size, ask.budget.rows, ask.budget.depth, turn.sequence.verifier.needs_laws)
        proposed = pruned(proposed, ask.rules)
        if not (proposed.drawn and len(turn.tree)):
            turn.tree = tree.join([turn.tree, proposed]) if len(turn.tree) else proposed
    except Exception as error:  # drafts are untrusted: what was proposed may be no tree at all
        turn.faults.append(_fault(error))


def _proposed(drafter: Drafter[Any], group: Group, place: int) -> list[DraftTree]:
    """A tree a turn. A drafter that raises is asked again for each alone, so that one text does not stop the others.

    Under `match` that costs speed only. A ratio verifier trusts its drafter: one that fails because of what it has
    drawn makes that draw count for nothing, which no verifier can see.
    """
    asks = [turn.asks[place] for turn, _ in group]
    try:
        trees = drafter.propose(asks)
        if len(trees) != len(asks):
            raise DraftError(f"{len(trees)} trees were drafted for {len(asks)} asks")
        return trees
    except Exception as error:
        if len(group) > 1:
            return [one for member in group for one in _proposed(drafter, [member], place)]
        group[0][0].faults.append(_fault(error))
        return [EMPTY]


def _shape(turns: Sequence[Turn], policy: AnyPolicy, load: Load) -> None:
    scored = [turn for turn in turns if not turn.prefill]
    if not scored:
        return
    plans = policy.shape([turn.sequence.pace for turn in scored], [turn.tree for turn in scored], load)
    for turn, plan in zip(scored, plans, strict=True):
        turn.tree, turn.expected = plan.tree, plan.expected


@contextmanager
def _ahead(turns: Sequence[Turn]) -> Iterator[None]:
    """Runs the drafters that work ahead on threads of their own while the body scores."""
    faults: list[tuple[Group, str]] = []

    def work(drafter: Ahead[Any], group: Group) -> None:
        try:
            asks = [turn.asks[turn.sequence.sources.index(source)] for turn, source in group]
            drafter.ahead(asks, [turn.tree for turn, _ in group])
        except Exception as error:  # as in _propose
            faults.append((group, _fault(error)))

    asked = [(turn, turn.sequence.sources[place]) for turn in turns for place in turn.asks]
    groups = [(drafter, group) for drafter, group in _by_drafter(asked) if drafter.needs.ahead]
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
            for turn, _ in group:
                turn.faults.append(fault)


def _query(turn: Turn) -> Query:
    chain, drafts = turn.chain, turn.tree
    root = len(chain) - 1
    parents = (*range(-1, root), *(root + 1 + parent for parent in drafts.parents))
    rows = () if turn.prefill else tuple(range(root, root + 1 + len(drafts)))
    needs = [source.drafter.needs for source in turn.sources]
    top = max((need.top for need in needs), default=0)
    taps = tuple(sorted({layer for need in needs for layer in need.taps}))
    argmax_only = turn.sequence.rules.argmax_only and turn.sequence.logprobs is None
    return Query(turn.sequence.cache, chain + drafts.tokens, parents, rows, top, taps, argmax_only)


def _prefilled(turn: Turn, scores: Scores) -> News[Any]:
    """A chunk of the prompt: all rows are kept, nothing is emitted."""
    sequence, rows = turn.sequence, tuple(range(len(turn.chain)))
    sequence.cache.keep(rows)
    sequence.steps.append(Step(turn.position, (), rows=len(rows)))
    return News(None, Text(sequence.committed), (), turn.start, rows, scores, EMPTY, None, None, len(rows))


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
        start = turn.start
        return News(None, Text(sequence.committed), (), start, (), scores, turn.tree, None, None, len(turn.chain))


def _verified(turn: Turn, scores: Scores) -> News[Any]:
    """Walks the tree, stops the text, commits; keeps last, for if cut off before it the cache just catches up."""
    sequence, drafts, position = turn.sequence, turn.tree, turn.position
    first_node = len(turn.chain)
    rules_at, laws, ends = laws_of(sequence.rules, drafts, scores, first_node)
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
        logprobs=logprobs_of(sequence.logprobs, scores, first_node, emitting, tokens),
        laws=tuple(laws(node) for node in emitting) if sequence.keep_laws else (),
        text=stopped.released,
        finish=stopped.finish,
        lossless=sequence.verifier.lossless,
    )
    sequence.rules = rules_at(emitting[-1]).after(tokens[-1])
    sequence.stop = stopped
    sequence.committed.extend(tokens)
    sequence.steps.append(step)
    sequence.cache.keep(kept)
    text = Text(sequence.committed)
    return News(None, text, tokens, turn.start, kept, scores, drafts, verdict, laws, first_node)


def _update(turns: Sequence[Turn], news: Sequence[News[Any]]) -> None:
    """Tells the drafters. One that cannot take the news has lost track: its sequences go on without it."""
    told = dict(zip(map(id, turns), news, strict=True))
    for drafter, group in _by_drafter([(turn, source) for turn in turns for source in turn.sources]):
        begun = time.perf_counter()
        try:
            drafter.update([replace(told[id(turn)], state=source.state) for turn, source in group])
        except Exception as error:  # as in _propose
            for turn, source in group:
                turn.faults.append(_fault(error))
                source.close()
        seconds, rows = time.perf_counter() - begun, [len(told[id(turn)].kept) for turn, _ in group]
        for (turn, source), own in zip(group, rows, strict=True):  # who reads a prompt takes longer than the others
            turn.spent[source.name] = turn.spent.get(source.name, 0.0) + seconds * own / max(1, sum(rows))


def _noted(turns: Sequence[Turn], policy: AnyPolicy, seconds: Times) -> list[Step]:
    """Completes the steps by what is known only now, and tells the policy."""
    noted = []
    for turn in turns:
        step = replace(
            turn.sequence.steps[-1],
            fault="; ".join(turn.faults) or None,
            seconds=seconds,
            wall=seconds.total * len(turns),
            spent=tuple(turn.spent.items()),
            expected=turn.expected,
        )
        turn.sequence.steps[-1] = step
        policy.update(turn.sequence.pace, step)
        noted.append(step)
    return noted


def _by_drafter(members: Group) -> list[tuple[Drafter[Any], Group]]:
    """The turns of each drafter, in order."""
    groups: dict[int, tuple[Drafter[Any], Group]] = {}
    for turn, source in members:
        groups.setdefault(id(source.drafter), (source.drafter, []))[1].append((turn, source))
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
