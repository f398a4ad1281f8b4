"""Wrong block, traversal and k-sequential verifiers. Each right form is open in the lines where the bugs are made."""

from __future__ import annotations

import numpy as np

from foredraft.core.law import Law, excess, of_weights, residual
from foredraft.core.protocols import Draw, Laws, Verdict
from foredraft.core.stream import Purpose, Stream
from foredraft.core.tree import ROOT, DraftTree
from foredraft.verify.kseq import Selection
from foredraft.verify.relaxed import Relaxed
from foredraft.verify.traversal import handed_up
from foredraft.verify.typical import Typical


class Sampling:
    """What all of them ask for."""

    draw: Draw = "sampled"
    replacement = False
    needs_laws = True
    lossless = True


# --- block ----------------------------------------------------------------------------------------------------------


class Block(Sampling):
    """Block verification of a chain, forwards as the paper writes it; as it stands it is right."""

    def __call__(self, tree: DraftTree, laws: Laws, stream: Stream) -> Verdict:
        size, masses, passed = len(tree), [1.0], list[bool]()
        for node, token in enumerate(tree.tokens):
            masses.append(self.mass(masses[-1], laws(node - 1), tree.law(node), token))
        for length in range(1, size + 1):
            last = length == size
            chance = masses[-1] if last else self.chance(masses[length], laws(length - 1), tree.law(length))
            passed.append(stream.flip(chance, 1.0, length))
        length = self.length(passed)
        p = self.bonus(tree, laws) if length == size else self.left(tree, laws, masses, length)
        return Verdict(tuple(range(length)), stream.ahead(length).draw(p, Purpose.CORRECTION))

    def mass(self, mass: float, p: Law, q: Law, token: int) -> float:
        return min(1.0, mass * p.prob(token) / q.prob(token))

    def chance(self, mass: float, p: Law, q: Law) -> float:
        return handed_up(excess(p, q, mass)[0], mass)

    def length(self, passed: list[bool]) -> int:
        return max((length for length, one in enumerate(passed, start=1) if one), default=0)

    def left(self, tree: DraftTree, laws: Laws, masses: list[float], length: int) -> Law:
        return excess(laws(length - 1), tree.law(length), masses[length])[1]

    def bonus(self, tree: DraftTree, laws: Laws) -> Law:
        return laws(len(tree) - 1)


class FirstFailure(Block):
    """Ends at the first test that fails, as if tokens were judged one by one."""

    def length(self, passed: list[bool]) -> int:
        return [*passed, False].index(False)


class MassOfOneToken(Block):
    """The mass of the tokens before is not handed down."""

    def mass(self, mass: float, p: Law, q: Law, token: int) -> float:
        return super().mass(1.0, p, q, token)


class MassUnclipped(Block):
    """The product of ratios is cut to 1 where it is used, not where it is handed down."""

    def mass(self, mass: float, p: Law, q: Law, token: int) -> float:
        return mass * p.prob(token) / q.prob(token)

    def chance(self, mass: float, p: Law, q: Law) -> float:
        return super().chance(min(1.0, mass), p, q)

    def left(self, tree: DraftTree, laws: Laws, masses: list[float], length: int) -> Law:
        return super().left(tree, laws, [min(1.0, mass) for mass in masses], length)


class MassForChance(Block):
    """Every length is tested with its mass, which is right for the last one only."""

    def chance(self, mass: float, p: Law, q: Law) -> float:
        return mass


class ResidualWithoutMass(Block):
    """The correction comes from (p - q)+ instead of (m p - q)+."""

    def left(self, tree: DraftTree, laws: Laws, masses: list[float], length: int) -> Law:
        return residual(laws(length - 1), tree.law(length))


class ResidualWithoutRelu(Block):
    """The correction comes from |m p - q|."""

    def left(self, tree: DraftTree, laws: Laws, masses: list[float], length: int) -> Law:
        p = laws(length - 1)
        weights = np.abs(masses[length] * p.dense() - tree.law(length).dense()) + 1e-300
        return of_weights(np.arange(p.size), weights, p.size)


class ResidualRowOff(Block):
    """The correction comes from the target's row one further on."""

    def left(self, tree: DraftTree, laws: Laws, masses: list[float], length: int) -> Law:
        return excess(laws(length), tree.law(length), masses[length])[1]


class BlockBonusFromQ(Block):
    """After full acceptance the bonus comes from the last draft law."""

    def bonus(self, tree: DraftTree, laws: Laws) -> Law:
        return tree.law(len(tree) - 1)


# --- traversal ------------------------------------------------------------------------------------------------------


class Traversal(Sampling):
    """Traversal verification as a recursion; as it stands it is right."""

    def __call__(self, tree: DraftTree, laws: Laws, stream: Stream) -> Verdict:
        verdict = self.traverse(tree, laws, stream, ROOT, 1.0)
        assert verdict is not None
        return verdict

    def traverse(self, tree: DraftTree, laws: Laws, stream: Stream, node: int, mass: float) -> Verdict | None:
        p = self.p(tree, laws, node)
        for child in self.children(tree, node):
            q = self.q(tree, child)
            below = self.handed_down(mass, p.prob(tree.tokens[child]), q.prob(tree.tokens[child]))
            found = self.traverse(tree, laws, stream, child, below)
            if found is not None:
                return found
            mass, p = self.left(mass, p, q)
        if node != ROOT and not stream.flip(mass, 1.0, node + 1):
            return None
        path = () if node == ROOT else tree.path(node)
        return Verdict(path, stream.ahead(len(path)).draw(p, Purpose.CORRECTION))

    def children(self, tree: DraftTree, node: int) -> tuple[int, ...]:
        return tree.children(node)

    def p(self, tree: DraftTree, laws: Laws, node: int) -> Law:
        return laws(node)

    def q(self, tree: DraftTree, child: int) -> Law:
        return tree.law(child)

    def handed_down(self, mass: float, p: float, q: float) -> float:
        return min(1.0, mass * p / q)

    def left(self, mass: float, p: Law, q: Law) -> tuple[float, Law]:
        over, rest = excess(p, q, mass)
        return handed_up(over, mass), rest


class NothingHandedDown(Traversal):
    """A child's mass is p / q alone."""

    def handed_down(self, mass: float, p: float, q: float) -> float:
        return min(1.0, p / q)


class NothingHandedUp(Traversal):
    """What the failure of a child says of the mass at its parent is forgotten."""

    def left(self, mass: float, p: Law, q: Law) -> tuple[float, Law]:
        return mass, super().left(mass, p, q)[1]


class MassNotInTheResidual(Traversal):
    """(p - q)+ where it should be (m p - q)+."""

    def left(self, mass: float, p: Law, q: Law) -> tuple[float, Law]:
        over, rest = excess(p, q)
        return handed_up(over, mass), rest


class ResidualNotTaken(Traversal):
    """A failed child leaves p as it was."""

    def left(self, mass: float, p: Law, q: Law) -> tuple[float, Law]:
        return super().left(mass, p, q)[0], p


class LastSiblingFirst(Traversal):
    """Siblings are tried in the order in which a stack gives them back."""

    def children(self, tree: DraftTree, node: int) -> tuple[int, ...]:
        return tree.children(node)[::-1]


class FirstSiblingsLaw(Traversal):
    """Every sibling is held to come from the law of the first."""

    def q(self, tree: DraftTree, child: int) -> Law:
        return tree.law(tree.children(tree.parents[child])[0])


class ParentsRow(Traversal):
    """p is one row off: a node's children are judged by the row of its parent."""

    def p(self, tree: DraftTree, laws: Laws, node: int) -> Law:
        return laws(tree.parents[node] if node != ROOT else ROOT)


# --- k-sequential selection -----------------------------------------------------------------------------------------


class KSeq(Sampling):
    """K-sequential selection among the children of the root; as it stands it is right."""

    replacement = True

    def __call__(self, tree: DraftTree, laws: Laws, stream: Stream) -> Verdict:
        p, children = laws(ROOT), tree.children(ROOT)
        if not children:
            return Verdict((), stream.draw(p, Purpose.CORRECTION))
        selection = self.selection(p, tree.law(children[0]), len(children))
        for lane, child in enumerate(children):
            if selection.passes(stream, tree.tokens[child], lane):
                return Verdict((child,), stream.ahead(1).draw(self.bonus(laws, child), Purpose.CORRECTION))
        return Verdict((), stream.draw(self.left(selection), Purpose.CORRECTION))

    def selection(self, p: Law, q: Law, k: int) -> Selection:
        return Selection.of(p, q, k)

    def left(self, selection: Selection) -> Law:
        return selection.left()

    def bonus(self, laws: Laws, child: int) -> Law:
        return laws(child)


class RowOfTheRoot(KSeq):
    """After an accepted sibling the next token comes from the row that judged it."""

    def bonus(self, laws: Laws, child: int) -> Law:
        return laws(ROOT)


class RhoIsOne(KSeq):
    """rho is not solved for: 1 accepts more than there is to accept."""

    def selection(self, p: Law, q: Law, k: int) -> Selection:
        return Selection(p, q, k, 1.0)


class RhoOfOneFewer(KSeq):
    """rho is solved for one candidate fewer than there are."""

    def selection(self, p: Law, q: Law, k: int) -> Selection:
        return Selection(p, q, k, Selection.of(p, q, k - 1).rho)


class ResidualOfOne(KSeq):
    """What is left after k failures is taken for what is left after one."""

    def left(self, selection: Selection) -> Law:
        return residual(selection.p, selection.q)


class ResidualAsIfOne(KSeq):
    """The chance that one of k passes does not enter what is left."""

    def left(self, selection: Selection) -> Law:
        both = np.minimum(selection.q.dense(), selection.p.dense() / selection.rho)
        return of_weights(np.arange(selection.p.size), selection.p.dense() - both, selection.p.size)


# --- lossy ones that say they are not -------------------------------------------------------------------------------


class TypicalCalledLossless(Typical):
    """What the target finds plausible stands, and this is said to lose nothing."""

    lossless = True


class RelaxedCalledLossless(Relaxed):
    """What the target likes nearly as well stands, and this is said to lose nothing."""

    lossless = True
