"""The policy that makes drafting always pay: the best tree for what a pass costs here, from what was accepted so far.

Every round each source is asked, cheapest first, if what it drafted before was worth the seconds it took; the nodes of
all are held against a measured curve of passes (`policy/cost.py`) with calibrated chances (`policy/acceptance.py`), and
those are scored that bring more tokens than their time is worth: none, where that is best. A source that does not pay
is left alone and tried again now and then, ever more rarely while it keeps not paying (`policy/worth.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from foredraft.core.events import Step
from foredraft.core.protocols import Budget, Costs, Load, Plan, Request
from foredraft.core.tree import EMPTY, ROOT, DraftTree
from foredraft.policy.acceptance import Acceptance, Trait, traits_of
from foredraft.policy.cost import Choice, best_nodes, chain_length
from foredraft.policy.curve import Curve
from foredraft.policy.worth import ACCEPTANCE_MEMORY, Worth

MOST = 32  # nodes that are scored at most
DEPTH = 24
SHARED_MEMORY, OWN_MEMORY = 400.0, 60.0  # trials
RATE_MEMORY = 30.0  # rounds
# A source that takes less than this share of a plain pass is asked always: judging it would cost as much.
FREE = 0.01
UNTRIED = 0.7  # acceptance of a chain before anything was seen
TENANTS = 256  # whose lessons are kept, those that asked last
# A source that does not pay and takes FREE even when it is not asked is let go, once so many rounds have shown both.
ENOUGH = 6
# Nodes likelier than this share of what a row is worth at its cheapest are drafted: chances are estimates.
BORDER = 0.5
# The claims of sources are held against what came true in the first rounds, and in every so manieth after.
FIRST_ROUNDS, EVERY = 16, 4
# Tokens behind from which on a source has to catch up first, and tokens that a text is expected to have.
BEHIND, TEXT = 16, 64
# What a source may draft before it is known what that takes: a draft model would fill any depth.
FIRST = Budget(8, 4)
NEVER, LEAVE = Budget(0, 0), Budget(0, 0, leave=True)


@dataclass
class Tenant:
    """What the requests of one tenant have taught."""

    acceptance: Acceptance = field(default_factory=lambda: Acceptance(SHARED_MEMORY))
    worths: dict[str, Worth] = field(default_factory=dict)


@dataclass
class Pace:
    """One sequence's state. tokens, seconds: emitted and spent, the past forgotten. rounds: in which anybody could
    draft. said: tokens of it. met, tried: sources that drafted for it, and how often dear ones did.

    drawn: the verifier takes what a drafter drew only whole, so its length is settled before it is drawn.
    Of the round under way: drafted, traits: the tree before it was cut. alone: no other sequence is in its pass. asked:
    the sources, and how strong the others were. added: by dear sources, tokens beyond what their rows cost, and tokens
    expected of them. joining: tokens that sources had to read first.
    """

    acceptance: Acceptance
    worths: dict[str, Worth]
    tokens: float
    seconds: float
    drawn: bool = False
    rounds: int = 0
    said: int = 0
    drafted: DraftTree = EMPTY
    alone: bool = True
    traits: list[Trait] = field(default_factory=list)
    met: set[str] = field(default_factory=set)
    tried: dict[str, int] = field(default_factory=dict)
    asked: dict[str, float] = field(default_factory=dict)
    added: dict[str, tuple[float, float]] = field(default_factory=dict)
    joining: dict[str, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds

    def worth(self, source: str) -> Worth:
        return self.worths.setdefault(source, Worth())


@dataclass(frozen=True)
class Adaptive:
    """costs: seconds of a pass by rows, measured. tenants: what was learnt, for its owner to clear or keep.

    reading: seconds in which a source reads a token, where it has a text to catch up with.
    """

    costs: Costs
    tenants: dict[str, Tenant] = field(default_factory=dict)
    reading: dict[str, float] = field(default_factory=dict)
    curve: Curve = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "curve", Curve(self.costs, 4 * MOST))

    def open(self, request: Request) -> Pace:
        tenant = self.tenants.pop(request.tenant) if request.tenant in self.tenants else Tenant()
        self.tenants[request.tenant] = tenant
        if len(self.tenants) > TENANTS:
            del self.tenants[next(iter(self.tenants))]
        acceptance, drawn = Acceptance(OWN_MEMORY, tenant.acceptance), request.draw == "sampled"
        return Pace(acceptance, tenant.worths, tokens=1.0, seconds=self.curve(1), drawn=drawn)

    def budget(self, state: Pace, source: str, so_far: DraftTree, load: Load) -> Budget:
        worth = state.worth(source)
        joining = self._joining(source, load)
        if joining:
            state.joining[source] = load.behind
        if self._free(worth) and not joining:
            state.asked[source] = 0.0
            least = worth.claimed(min(1.0, BORDER * state.rate * self.curve.slope))
            return Budget(MOST, DEPTH, least) if worth.rounds else FIRST
        if worth.burden(FREE * self.curve(1)) and state.tried.get(source, 0) >= ENOUGH:
            return LEAVE
        strength = self._strength(state, so_far)
        if not worth.wanted(strength, self.curve(1), joining):
            return NEVER
        if joining and not _pays_to_join(state, worth.gain(strength), strength, joining, load):
            return NEVER
        state.tried[source] = state.tried.get(source, 0) + 1
        state.asked[source] = strength
        least = worth.claimed(min(1.0, state.rate * worth.step))
        if not worth.rounds:
            return FIRST
        if not state.drawn:
            return Budget(MOST, DEPTH, least)
        acceptance = worth.acceptance.estimate(UNTRIED)
        length = max(1, chain_length(acceptance, worth.step, self.curve, state.rate, DEPTH))
        return Budget(length, length, least)

    def shape(self, states: Sequence[Pace], trees: Sequence[DraftTree], load: Load) -> list[Plan]:
        for state, tree in zip(states, trees, strict=True):
            state.drafted, state.traits, state.alone = tree, traits_of(tree), load.sequences == 1
        whole = sum(1 + len(tree) for tree in trees if tree.drawn)
        cut = iter(self._cut([state for state in states if not state.drafted.drawn], whole))
        return [Plan(tree) if tree.drawn else next(cut) for tree in trees]

    def _cut(self, states: Sequence[Pace], beside: int) -> list[Plan]:
        """Of what was drafted, the nodes worth their rows in a pass with so many others."""
        if not states:
            return []
        trees = [state.drafted for state in states]
        chances = [state.acceptance.paths(state.drafted, state.traits) for state in states]
        choice = self._choose(states, trees, chances, beside)
        for state, own in zip(states, chances, strict=True):
            state.rounds += 1
            dear = [source for source in state.asked if not self._free(state.worth(source))]
            if state.rounds <= FIRST_ROUNDS or state.rounds % EVERY == 0:
                for source in state.asked:
                    _correct(state, own, source)
            if dear:
                alone = choice if len(states) == 1 else self._choose([state], [state.drafted], [own])
                self._judge(state, own, dear, alone.gain(state.rate))
        drafting = sum(state.worth(source).seconds for state in states for source in state.asked)
        expected = (choice.tokens / len(states), choice.seconds + drafting)
        return [Plan(tree.select(nodes), expected) for tree, nodes in zip(trees, choice.nodes, strict=True)]

    def update(self, state: Pace, step: Step) -> None:
        state.said += len(step.tokens)
        if step.tokens:
            state.acceptance.learn(state.drafted, state.traits, step.tokens)
            self._learn_worths(state, step)
            if step.rows == 1 + len(step.tree):  # rows of the prompt say nothing about decoding
                _learn_rate(state, step)
                if state.alone:
                    self.curve.add(step.rows, step.seconds.verify)
        state.drafted, state.traits, state.asked, state.added, state.joining = EMPTY, [], {}, {}, {}

    def _free(self, worth: Worth) -> bool:
        return worth.seconds < FREE * self.curve(1)

    def _joining(self, source: str, load: Load) -> float:
        """Seconds in which a source catches up with the text; until that was seen, no faster than the target would."""
        if load.behind < BEHIND:
            return 0.0
        return load.behind * self.reading.get(source, self.curve(4 * MOST) / (4 * MOST))

    def _choose(
        self, states: Sequence[Pace], trees: Sequence[DraftTree], chances: Sequence[Sequence[float]], beside: int = 0
    ) -> Choice:
        rate = sum(state.rate for state in states)
        return best_nodes(trees, chances, lambda rows: self.curve(beside + rows), rate, MOST * len(states))

    def _strength(self, state: Pace, so_far: DraftTree) -> float:
        """Tokens expected of what other sources drafted."""
        if not len(so_far):
            return 0.0
        chances = state.acceptance.paths(so_far, traits_of(so_far))
        return self._choose([state], [so_far], [chances]).tokens - 1.0

    def _judge(self, state: Pace, chances: Sequence[float], dear: Sequence[str], whole: float) -> None:
        """What each dear source adds to those asked before it: the gain of the best tree of their nodes with its own,
        against that of theirs alone. whole: the gain of the best tree of all."""
        tree, before = state.drafted, set[str]()
        last, gained = [*state.asked][-1], 1.0 - state.rate * self.curve(1)
        for source in state.asked:
            before.add(source)
            own = _nodes_of(tree, source)
            if source == last:
                gain = whole
            elif own:
                nodes = _drafted_by(tree, before)
                gain = self._choose([state], [tree.select(nodes)], [[chances[node] for node in nodes]]).gain(state.rate)
            else:
                gain = gained
            if source in dear:
                state.added[source] = gain - gained, sum(chances[node] for node in own)
            gained = gain

    def _learn_worths(self, state: Pace, step: Step) -> None:
        tree, spent = state.drafted, dict(step.spent)
        for source in spent.keys() - state.asked.keys():
            state.worth(source).rested(spent[source], state.rate)
        for source, strength in state.asked.items():
            worth, seconds = state.worth(source), spent.get(source, 0.0)
            own = _nodes_of(tree, source)
            if source in state.joining:
                sample = max(0.0, seconds - worth.seconds) / state.joining[source]
                self.reading[source] = (self.reading.get(source, sample) + sample) / 2
                state.met.add(source)
                continue
            if source not in state.met and seconds >= FREE * self.curve(1):
                state.met.add(source)  # it may have read the whole prompt: no measure of the rounds to come
                continue
            seconds = worth.spent(seconds, max((tree.depths[node] for node in own), default=0))
            if source in state.added:
                net, expected = state.added[source]
                surprising = _come_true(tree, own, step.tokens) > expected
                worth.earned(strength, net - state.rate * seconds, surprising, state.rate)
            if tree.drawn and own:
                for depth in range(1, min(len(own), step.accepted + 1) + 1):
                    worth.acceptance.add(depth <= step.accepted, ACCEPTANCE_MEMORY)


def _pays_to_join(state: Pace, gain: float, strength: float, joining: float, load: Load) -> bool:
    """Whether `gain` tokens a round over the text still to come, expected to be as long again, make up for catching up
    with it. A source that does not pay is only tried, and how often that may be is settled elsewhere."""
    to_come = float(max(TEXT, state.said))
    if load.remaining is not None:
        to_come = min(to_come, load.remaining)
    return gain <= 0 or gain * to_come / (1.0 + strength + gain) >= state.rate * joining


def _nodes_of(tree: DraftTree, source: str) -> list[int]:
    """The nodes that a source drafted, alone or with others."""
    return [node for node, sources in enumerate(tree.sources) if source in sources.split("+")]


def _correct(state: Pace, chances: Sequence[float], source: str) -> None:
    """Holds what a source claims against what came true of such claims."""
    own = _nodes_of(state.drafted, source)
    claims = [state.traits[node][1] for node in own]
    state.worth(source).came_true(claims, [_chance(state.drafted, chances, node) for node in own])


def _drafted_by(tree: DraftTree, sources: set[str]) -> list[int]:
    """The nodes that one of these drafted, below others that one did."""
    kept: set[int] = set()
    for node, (names, parent) in enumerate(zip(tree.sources, tree.parents, strict=True)):
        if (parent == ROOT or parent in kept) and not sources.isdisjoint(names.split("+")):
            kept.add(node)
    return sorted(kept)


def _chance(tree: DraftTree, chances: Sequence[float], node: int) -> float:
    """P(node | its parent is accepted)."""
    parent = tree.parents[node]
    return chances[node] / (1.0 if parent == ROOT else chances[parent])


def _come_true(tree: DraftTree, nodes: Sequence[int], tokens: Sequence[int]) -> int:
    """How many of `nodes`, scored or not, stand for tokens that came."""
    mine, count, node = set(nodes), 0, ROOT
    for token in tokens:
        following = tree.child(node, token)
        if following is None:
            break
        node, count = following, count + (following in mine)
    return count


def _learn_rate(state: Pace, step: Step) -> None:
    keep = 1.0 - 1.0 / RATE_MEMORY
    state.tokens = keep * state.tokens + len(step.tokens)
    state.seconds = keep * state.seconds + step.wall
