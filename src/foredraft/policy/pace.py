"""What the adaptive policy knows of a sequence and of a tenant, and what it thinks of a tree in the round under way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from foredraft.core.events import Step
from foredraft.core.tree import EMPTY, ROOT, DraftTree
from foredraft.policy.acceptance import Acceptance, doubted
from foredraft.policy.cost import Choice, Choices
from foredraft.policy.held import Held
from foredraft.policy.native import TWINS
from foredraft.policy.worth import Gains, Worth

SHARED_MEMORY, OWN_MEMORY = 400.0, 60.0  # trials
RATE_MEMORY = 30.0  # rounds
SHRINK = 0.9  # a round, of the nodes that were scored at most of late
# Nodes that a source is asked for at least, or it could not show what it can do.
FEWEST = 8
LUCK_MEMORY, FAILING = 12.0, 0.6  # rounds; so little of what was expected is no accident
# A pass, or a source, that took so many times what is usual was held up by something else: it counts for no more.
LONGEST = 4.0


@dataclass
class Tenant:
    """What the requests of one tenant have taught."""

    acceptance: Acceptance = field(default_factory=lambda: TWINS.Acceptance(SHARED_MEMORY))
    worths: dict[str, Worth] = field(default_factory=dict)


@dataclass(frozen=True)
class Best:
    """What of a tree would be scored (choice, so many nodes of it: count), and what could be, and would gain."""

    tree: DraftTree
    choices: Choices
    gains: Sequence[float]
    count: int
    choice: Choice
    chances: Sequence[float]

    def tokens_of(self, before: Best) -> float:
        """What is thought, knowing what this tree has more, of what `before` would have scored."""
        size = len(before.tree)
        if (
            before is self
            or before.tree.tokens != self.tree.tokens[:size]
            or before.tree.parents != self.tree.parents[:size]
        ):
            return before.choice.tokens  # nothing was added, or nodes are others: equal siblings became one
        return 1.0 + sum([self.chances[node] for node in before.choice.nodes[0] if not self.tree.probes[node]])

    def came(self, tokens: Sequence[int]) -> int:
        """How many of the tokens it would have brought."""
        tree, at = self.tree, ROOT
        for count, token in enumerate(tokens):
            hits = (node for node in self.choice.nodes[0] if tree.parents[node] == at and tree.tokens[node] == token)
            following = next((node for node in hits if not tree.probes[node]), None)
            if following is None:
                return count
            at = following
        return len(tokens)


def nothing(seconds: float, rate: float) -> Best:
    """The best of no tree, whose pass takes `seconds`: what the first source of a round is held against."""
    tokens, took = (1.0,), (seconds,)
    return Best(EMPTY, Choices(((),), (), tokens, took), (1.0 - rate * seconds,), 0, Choice(((),), 1.0, seconds), ())


@dataclass
class Look:
    """What is thought of a tree: the best of it once asked.

    claimed: P(node | its parent is accepted) as its drafter says. chances: P(its path is accepted) as it seems.
    """

    tree: DraftTree = EMPTY
    claimed: Sequence[float] = ()
    chances: Sequence[float] = ()
    best: Best | None = None

    def chance(self, node: int) -> float:
        """P(node | its parent is accepted)."""
        parent = self.tree.parents[node]
        return self.chances[node] / (1.0 if parent == ROOT else self.chances[parent])


@dataclass
class Pace:
    """One sequence's state. tokens, seconds: emitted and spent, the past forgotten; of a round the seconds in which
    tokens are drawn are left out. gains: of this request, by source. rounds: in which anybody could draft. said: tokens
    of it. scored: nodes, at most of late. expected, came: drafted tokens that are right, the past forgotten.
    met, tried: sources that drafted for it, and how often dear ones did. held: whom to ask, for some rounds.

    drawn: the verifier takes what a drafter drew only whole, so its length is settled before it is drawn.
    Of the round under way: look: the tree before it was cut. sequences: that share its pass, this one included. asked:
    the sources, and how strong the others were. open: the dear source asked last, and the best of the tree before it.
    added: the best before and after dear sources. joining: tokens that sources had to read first. trials: who is asked
    although it does not pay, as it seems. judging: seconds.
    """

    acceptance: Acceptance
    worths: dict[str, Worth]
    tokens: float
    seconds: float
    drawn: bool = False
    gains: dict[str, Gains] = field(default_factory=dict)
    rounds: int = 0
    said: int = 0
    scored: float = 20.0
    expected: float = 0.0
    came: float = 0.0
    look: Look = field(default_factory=Look)
    sequences: int = 1
    met: set[str] = field(default_factory=set)
    tried: dict[str, int] = field(default_factory=dict)
    asked: dict[str, float] = field(default_factory=dict)
    open: tuple[str, Best] | None = None
    added: dict[str, tuple[Best, Best]] = field(default_factory=dict)
    held: Held = field(default_factory=Held)
    joining: dict[str, int] = field(default_factory=dict)
    trials: set[str] = field(default_factory=set)
    judging: float = 0.0

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds

    @property
    def second(self) -> float:
        """What a second of this sequence's own drafting is worth, in tokens: all that share the pass wait for it."""
        return self.rate * self.sequences

    def most(self, ever: int) -> int:
        """Nodes that a source is asked for: more by half than were scored at most of late, and two; FEWEST at least."""
        return min(ever, max(FEWEST, 2 + int(1.5 * self.scored)))

    @property
    def as_expected(self) -> bool:
        """Whether of late about as many drafted tokens were right as was expected."""
        return self.came >= FAILING * self.expected

    def learn_scored(self, nodes: int) -> None:
        """Of a round in which somebody was asked, with its probes."""
        self.scored = max(float(nodes), SHRINK * self.scored)

    def learn_luck(self, expected: float, came: int) -> None:
        """Drafted tokens of a round that are right."""
        keep = 1.0 - 1.0 / LUCK_MEMORY
        self.expected, self.came = keep * self.expected + expected, keep * self.came + came

    def worth(self, source: str) -> Worth:
        found = self.worths.get(source)
        if found is None:
            found = self.worths[source] = Worth()
        return found

    def gains_of(self, source: str) -> Gains:
        found = self.gains.get(source)
        if found is None:
            found = self.gains[source] = Gains(self.worth(source).gains)
        return found

    def depths_of(self, source: str) -> list[int]:
        """Of the nodes that a source drafted; of a dear one those it has added or agreed on, by whatever name."""
        if source not in self.added:
            tree = self.look.tree
            return [tree.depths[node] for node in nodes_of(tree, source)]
        before, after = (best.tree for best in self.added[source])
        known = (*before.sources, *(None,) * (len(after) - len(before)))  # joining keeps the order
        return [depth for depth, new, old in zip(after.depths, after.sources, known, strict=False) if new != old]

    def correct(self) -> None:
        """Holds what sources claim against what came true of such claims, where nobody casts doubt on them."""
        look, doubts = self.look, doubted(self.look.tree)
        for source in self.asked:
            own = [node for node in nodes_of(look.tree, source) if not doubts[node]]
            claims = [look.claimed[node] for node in own]
            self.worth(source).came_true(claims, [look.chance(node) for node in own])

    def learn_rate(self, step: Step) -> None:
        keep = 1.0 - 1.0 / RATE_MEMORY
        drawing = step.seconds.sample / step.seconds.total if step.seconds.total > 0 else 0.0
        most = LONGEST * step.expected[1] if step.expected is not None else step.wall
        self.tokens = keep * self.tokens + len(step.tokens)
        self.seconds = keep * self.seconds + min((1.0 - drawing) * step.wall, most)


def nodes_of(tree: DraftTree, source: str) -> list[int]:
    """The nodes that a source drafted, alone or with others."""
    return [node for node, names in enumerate(tree.sources) if names == source or source in names.split("+")]
