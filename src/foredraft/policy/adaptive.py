"""The policy that makes drafting always pay: the best tree for what a pass costs here, from what was accepted so far.

Every round each source is asked, in the order written, if what it drafted before was worth the seconds it took; the
nodes of all are held against a measured curve of passes (`policy/cost.py`) with calibrated chances
(`policy/acceptance.py`), and those are scored that bring more tokens than their time is worth: none, where that is
best. A source that was not shown to pay is left alone and tried again now and then, ever more rarely while it keeps not
paying (`policy/worth.py`).

Where judging takes a notable share of a round it is not done in every one (`policy/held.py`).

What a second is worth, in tokens, counts only seconds that deciding otherwise could save. To draw a token from its law
takes the same whatever was drafted; were it counted, drafts would seem cheaper than they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from foredraft.core.events import Step
from foredraft.core.protocols import Budget, Costs, Load, Plan, Request
from foredraft.core.tree import DraftTree
from foredraft.policy.cost import Choice, Choices, chain_length, choices, most_of
from foredraft.policy.curve import Curve
from foredraft.policy.exploration import Exploration
from foredraft.policy.held import FIRST as FIRST_JUDGED
from foredraft.policy.held import NOTABLE
from foredraft.policy.native import TWINS
from foredraft.policy.pace import LONGEST, OWN_MEMORY, Best, Look, Pace, Tenant, nothing
from foredraft.policy.worth import ACCEPTANCE_MEMORY, PLACES, Brought, Wanted, Worth, place_of

MOST = 32  # nodes that are scored at most
DEPTH = 24
# A source that takes less than this share of a plain pass is asked always: judging it would cost as much.
FREE = 0.01
UNTRIED = 0.7  # acceptance of a chain before anything was seen
TENANTS = 256  # whose lessons are kept, those that asked last
# A source that does not pay and takes FREE even when it is not asked is let go, once it was asked so often in a text
# and `worth.TOLD` rounds have told.
ENOUGH = 6
# Nodes likelier than this share of what a row is worth at its cheapest are drafted: chances are estimates.
BORDER = 0.5
# The claims of sources are held against what came true in the first rounds, and in every so manieth after.
FIRST_ROUNDS, EVERY = 16, 4
# Plain rounds that a text's rate begins with: a few of luck must not make every second look dear.
PLAIN = 8.0
# Tokens behind from which on a source has to catch up first, and tokens that a text is expected to have.
BEHIND, TEXT = 16, 64
# The chance that one that was never asked pays at all: reading a long text to find out may take longer than it gains.
UNTOLD = 0.5
# What a source may draft before it is known what that takes and brings: a draft model would fill any depth.
FIRST = Budget(8, 4)
# The same of one that reads the text with a model of its own: every level is a pass of that.
FIRST_READ = Budget(8, 1)
NEVER, LEAVE = Budget(0, 0), Budget(0, 0, leave=True)
ALWAYS = (True,) * PLACES  # whatever the others have drafted


@dataclass(frozen=True)
class Adaptive:
    """costs: seconds of a pass by rows, measured. tenants: what was learnt, for its owner to clear or keep.

    reading: seconds in which a source reads a token, where it has a text to catch up with.
    """

    costs: Costs
    tenants: dict[str | None, Tenant] = field(default_factory=dict)
    reading: dict[str, float] = field(default_factory=dict)
    curve: Curve = field(init=False)
    exploration: Exploration = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "curve", Curve(self.costs, 4 * MOST))
        object.__setattr__(self, "exploration", Exploration(self.curve))

    def open(self, request: Request) -> Pace:
        tenant = self.tenants.pop(request.tenant) if request.tenant in self.tenants else Tenant()
        self.tenants[request.tenant] = tenant
        if len(self.tenants) > TENANTS:
            del self.tenants[next(iter(self.tenants))]
        acceptance, drawn = TWINS.Acceptance(OWN_MEMORY, tenant.acceptance), request.draw == "sampled"
        return Pace(acceptance, tenant.worths, tokens=PLAIN, seconds=PLAIN * self.curve(1), drawn=drawn)

    def budget(self, state: Pace, source: str, so_far: DraftTree, load: Load) -> Budget:
        if state.held.left and load.sequences == 1:
            return self._held(state, source, so_far, load)
        begun = time.perf_counter()
        budget = self._judged(state, source, so_far, load)
        state.judging += time.perf_counter() - begun
        return budget

    def _judged(self, state: Pace, source: str, so_far: DraftTree, load: Load) -> Budget:
        worth, state.sequences, state.held.left = state.worth(source), load.sequences, 0
        joining = self._joining(source, load)
        if joining:
            state.joining[source] = load.behind
        self._settle(state, so_far)
        if self._free(worth) and not joining:
            state.asked[source] = 0.0
            return self._wide(state, worth, self._most(state)) if worth.rounds else _first(load)
        if worth.burden(FREE * self.curve(1), state.rate) and state.tried.get(source, 0) >= ENOUGH:
            return LEAVE
        before, gains = self._best(state, so_far), state.gains_of(source)
        strength = before.choice.tokens - 1.0
        plain = self.curve(load.sequences) / load.sequences
        wanted = worth.wanted(gains, strength, state.rate, plain, joining, 1 + state.held.passed)
        if not wanted:
            return NEVER
        if joining:
            gain = worth.gain(gains, strength, state.rate) * (1.0 if worth.gains.asked else UNTOLD)
            if not _pays_to_join(state, gain, strength, joining, load) and not worth.due(joining, plain):
                return NEVER
        state.tried[source] = state.tried.get(source, 0) + 1
        state.asked[source] = strength
        state.open = source, before
        if wanted is Wanted.TO_FIND_OUT:
            state.trials.add(source)
        if not worth.rounds or (worth.new and not (state.drawn or load.reads)):
            return _first(load)
        if not state.drawn:  # one that is tried must not fail for being asked for little
            most = FIRST.rows if worth.new else MOST if source in state.trials else self._most(state)
            return self._wide(state, worth, most, FIRST.depth if worth.new else DEPTH)
        acceptance = worth.acceptance.estimate(UNTRIED)
        step, seconds = worth.step * state.sequences, self._seconds(state.sequences)
        length = max(1, chain_length(acceptance, step, seconds, state.rate, DEPTH))
        return Budget(length, length)

    def shape(self, states: Sequence[Pace], trees: Sequence[DraftTree], load: Load) -> list[Plan]:
        for state, tree in zip(states, trees, strict=True):
            state.sequences = load.sequences
            self._look(state, tree)
            self._settle(state, tree)
        whole = sum(1 + len(tree) for tree in trees if tree.drawn)
        cut = [state for state in states if not state.look.tree.drawn]
        choice = self._cut(cut, whole)
        nodes, tokens = iter(choice.nodes), choice.tokens / max(1, len(cut))
        seconds = choice.seconds + sum(state.worth(source).seconds for state in states for source in state.asked)
        return [
            Plan(tree, (1.0 + sum(state.look.chances), seconds))
            if tree.drawn
            else Plan(_selected(tree, next(nodes)), (tokens, seconds))
            for state, tree in zip(states, trees, strict=True)
        ]

    def _cut(self, states: Sequence[Pace], beside: int) -> Choice:
        """Of what was drafted, the nodes worth their rows in a pass with so many others."""
        if not states:
            return Choice((), 0.0, self.curve(beside))
        for state in states:
            state.rounds += 1
            if state.rounds <= FIRST_ROUNDS or state.rounds % EVERY == 0:
                state.correct()
        if states[0].sequences == 1:
            return self._explored(states[0])
        looks, rate = [state.look for state in states], sum(state.rate for state in states)
        trees, chances = [look.tree for look in looks], [look.chances for look in looks]
        return choices(trees, chances, lambda rows: self.curve(beside + rows), MOST * len(trees)).best(rate)

    def update(self, state: Pace, step: Step) -> None:
        state.said += len(step.tokens)
        if step.tokens:
            state.acceptance.learn(state.look.tree, step.tokens)
            if state.asked:
                state.learn_scored(len(step.tree))
            if step.expected is not None:
                state.learn_luck(step.expected[0] - 1.0, len(step.tokens) - 1)
            if state.held.left:
                state.held.went(state.as_expected)
            else:
                self._judge(state, step)
            if state.sequences == 1:
                spent = sum(seconds for _, seconds in step.spent)
                self.curve.handled(max(0.0, step.seconds.draft - spent) / (1 + len(state.asked)))
            if step.rows == 1 + len(step.tree):  # rows of the prompt say nothing about decoding
                state.learn_rate(step)
                if state.sequences == 1:
                    self.curve.add(step.rows, step.seconds.verify)
        state.look, state.asked, state.open, state.added, state.joining = Look(), {}, None, {}, {}
        state.trials, state.judging = set(), 0.0

    def _judge(self, state: Pace, step: Step) -> None:
        """Learns what sources are worth, and whether that is to hold for some rounds."""
        begun = time.perf_counter()
        self._learn_worths(state, step)
        paying = self._paying(state)
        if state.sequences == 1:
            self.curve.judged(state.judging + time.perf_counter() - begun)
        state.held.hold(paying if self._notable else {})

    @property
    def _notable(self) -> bool:
        """Whether judging takes a notable share of a round."""
        return self.curve.judging >= NOTABLE * self.curve(1)

    def _most(self, state: Pace) -> int:
        """Nodes that a source is asked for: where looking takes a notable time, hardly more than are scored."""
        return state.most(MOST) if self._notable else MOST

    def _held(self, state: Pace, source: str, so_far: DraftTree, load: Load) -> Budget:
        """Without judging anybody."""
        state.sequences = 1
        pays = state.held.asked.get(source, ())
        if not any(pays) or load.behind >= BEHIND:
            return NEVER
        strength = 0.0 if all(pays) else self._best(state, so_far).choice.tokens - 1.0
        if not pays[place_of(strength)]:
            return NEVER
        state.asked[source] = strength
        state.tried[source] = state.tried.get(source, 0) + 1
        return self._wide(state, state.worth(source), self._most(state))

    def _paying(self, state: Pace) -> dict[str, Sequence[bool]]:
        """Of each source, by how strong the others are, whether it pays; nothing where that must not be held."""
        settled = state.rounds >= FIRST_JUDGED and state.as_expected and not state.joining.keys() & state.asked.keys()
        if not settled or state.drawn or state.sequences > 1 or any(state.worth(name).new for name in state.added):
            return {}
        found: dict[str, Sequence[bool]] = {}
        for name in {**state.gains, **state.asked}:
            worth = state.worth(name)
            if self._free(worth) and worth.rounds:
                found[name] = ALWAYS
            elif not worth.new:
                gains = state.gains_of(name)
                found[name] = [gains.net(place, state.rate) > 0 for place in range(PLACES)]
        return found

    def _wide(self, state: Pace, worth: Worth, most: int, depth: int = DEPTH) -> Budget:
        """Whatever of so many nodes could be scored."""
        return Budget(most, depth, self._least(state, worth), worth.claimed(min(1.0, state.second * worth.step)))

    def _least(self, state: Pace, worth: Worth) -> float:
        """What a source claims of the least likely node that can be worth a row where rows are cheapest."""
        return worth.claimed(min(1.0, BORDER * state.second * self.curve.slope))

    def _free(self, worth: Worth) -> bool:
        return worth.seconds < FREE * self.curve(1)

    def _joining(self, source: str, load: Load) -> float:
        """Seconds in which a source catches up with the text; until that was seen, no faster than the target would."""
        if load.behind < BEHIND:
            return 0.0
        return load.behind * self._reading(source)

    def _reading(self, source: str) -> float:
        """Seconds in which it reads a token."""
        return self.reading.get(source, self.curve(4 * MOST) / (4 * MOST))

    def _look(self, state: Pace, tree: DraftTree) -> Look:
        """What is thought of the tree; the round's tree is looked at again only once somebody has added to it."""
        if state.look.tree is not tree:
            state.look = Look(tree, *state.acceptance.look(tree)) if len(tree) else Look()
        return state.look

    def _best(self, state: Pace, tree: DraftTree) -> Best:
        """What of it would be scored if the others of the pass had such a tree too; all of one that was drawn."""
        look = self._look(state, tree)
        if look.best is None:
            seconds = self._seconds(state.sequences)
            if not len(tree):
                look.best = nothing(seconds(1), state.rate)
                return look.best
            if tree.drawn:  # there is no choice
                every, tokens = tuple(range(len(tree))), 1.0 + sum(look.chances)
                found = Choices((every,), (), (tokens,), (seconds(1 + len(tree)),))
            else:
                found = choices([tree], [look.chances], seconds, MOST)
            gains = found.gains(state.rate)
            count = most_of(gains)
            look.best = Best(tree, found, gains, count, found.of(count), look.chances)
        return look.best

    def _explored(self, state: Pace) -> Choice:
        """What is scored of a sequence that is alone in its pass."""
        best = self._best(state, state.look.tree)
        count = self.exploration.count(best.gains, best.choices.rows, best.choice.tokens)
        return best.choice if count == best.count else best.choices.of(count)

    def _seconds(self, sequences: int) -> Callable[[int], float]:
        """Seconds of a pass by rows of each of so many sequences."""
        return self.curve if sequences == 1 else lambda rows: self.curve(sequences * rows)

    def _settle(self, state: Pace, tree: DraftTree) -> None:
        """Notes what the dear source asked last has made of the tree."""
        if state.open is not None:
            source, before = state.open
            state.added[source], state.open = (before, self._best(state, tree)), None

    def _learn_worths(self, state: Pace, step: Step) -> None:
        tree, spent, passed = state.look.tree, dict(step.spent), state.held.passed
        read = step.rows != 1 + len(step.tree)  # the pass took in the prompt, and so may those have that learn from it
        for source in () if read else spent.keys() - state.asked.keys():
            worth = state.worth(source)
            worth.rested(self._usual(worth, spent[source]), state.sequences, 1 + passed)
        for source, strength in state.asked.items():
            worth, seconds = state.worth(source), spent.get(source, 0.0)
            own = state.depths_of(source)
            # Rounds: one that is tried, or has to catch up, was not asked in those that were held.
            stands_for = 1 if source in state.trials or source in state.joining else 1 + passed
            if read and not own:
                continue  # a head drafts only once it has seen the prompt
            if source in state.joining:
                self._learn_reading(source, state.joining[source], seconds - worth.seconds)
                state.met.add(source)
                if not own:  # in vain: that counts, or one that fails to catch up would be asked for ever
                    vain = min(seconds, LONGEST * max(worth.seconds, self.curve(1)))
                    brought = Brought(0.0, 0.0, state.sequences * vain)
                    worth.earned(state.gains_of(source), strength, brought, state.rate, state.sequences, stands_for)
                continue
            if source not in state.met and seconds >= FREE * self.curve(1):
                state.met.add(source)  # it may have read the whole prompt: no measure of the rounds to come
                if not worth.rounds:
                    continue
                seconds = worth.seconds
            else:
                seconds = self._usual(worth, seconds)
                seconds = worth.spent(seconds, max(own, default=0))
            if source in state.added:
                before, after = state.added[source]
                brought = Brought(
                    after.choice.tokens - after.tokens_of(before),
                    after.came(step.tokens) - before.came(step.tokens),
                    after.choice.seconds - before.choice.seconds + state.sequences * (seconds + self.curve.handling),
                )
                worth.earned(state.gains_of(source), strength, brought, state.rate, state.sequences, stands_for)
            if tree.drawn and own:
                for depth in range(1, min(len(own), step.accepted + 1) + 1):
                    worth.acceptance.add(depth <= step.accepted, ACCEPTANCE_MEMORY)

    def _usual(self, worth: Worth, seconds: float) -> float:
        """Seconds of a source, less what must have been something else: a machine that stood still."""
        return min(seconds, LONGEST * max(self.curve(1), worth.seconds + worth.rest))

    def _learn_reading(self, source: str, tokens: int, seconds: float) -> None:
        before = self.reading.get(source)
        sample = min(max(0.0, seconds) / tokens, LONGEST * self._reading(source))
        self.reading[source] = sample if before is None else (before + sample) / 2


def _first(load: Load) -> Budget:
    """Of a source of which nothing is known."""
    return FIRST_READ if load.reads else FIRST


def _pays_to_join(state: Pace, gain: float, strength: float, joining: float, load: Load) -> bool:
    """Whether `gain` tokens a round over the text still to come, expected to be as long again, make up for catching up
    with it. A source that does not pay is only tried, and how often that may be is settled elsewhere."""
    to_come = float(max(TEXT, state.said))
    if load.remaining is not None:
        to_come = min(to_come, load.remaining)
    return gain * to_come / (1.0 + strength + gain) >= state.second * joining


def _selected(tree: DraftTree, nodes: Sequence[int]) -> DraftTree:
    return tree if len(nodes) == len(tree) else tree.select(nodes)
