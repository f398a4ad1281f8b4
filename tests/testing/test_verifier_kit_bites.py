"""A kit that cannot fail proves nothing: broken verifiers, each caught by the check that is there for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from foredraft.core.law import Law, Point, residual
from foredraft.core.protocols import Draw, Laws, Verdict
from foredraft.core.stream import Purpose, Stream
from foredraft.core.tree import ROOT, DraftTree
from foredraft.testing.verifiers import VerifierChecks
from foredraft.verify.match import Match
from foredraft.verify.recursive import Recursive


class AcceptsAll(Match):
    """Follows the first child whatever the target says."""

    def __call__(self, tree: DraftTree, laws: Laws, stream: Stream) -> Verdict:
        node, path = ROOT, list[int]()
        while children := tree.children(node):
            path.append(node := children[0])
        return Verdict(tuple(path), stream.ahead(len(path)).draw(laws(node), Purpose.TARGET))


class RowOff(Match):
    """Judges a node by its own row, not by its parent's."""

    def __call__(self, tree: DraftTree, laws: Laws, stream: Stream) -> Verdict:
        return super().__call__(tree, lambda node: laws(tree.parents[node] if node != ROOT else ROOT), stream)


class AcceptsProbes(Match):
    def __call__(self, tree: DraftTree, laws: Laws, stream: Stream) -> Verdict:
        return super().__call__(replace(tree, probes=(False,) * len(tree)), laws, stream)


class Rejecting(Match):
    """Never accepts: exact, and of no use."""

    def __call__(self, tree: DraftTree, laws: Laws, stream: Stream) -> Verdict:
        return Verdict((), stream.draw(laws(ROOT), Purpose.TARGET))


class SkipsNodes(Match):
    """Reports a path with its first node left out."""

    def __call__(self, tree: DraftTree, laws: Laws, stream: Stream) -> Verdict:
        verdict = super().__call__(tree, laws, stream)
        return replace(verdict, path=verdict.path[1:])


class Forgetful(Match):
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, tree: DraftTree, laws: Laws, stream: Stream) -> Verdict:
        self.calls += 1
        return super().__call__(tree, laws, stream.ahead(self.calls))


class Ratio:
    """Recursive rejection with its parts open to mutation."""

    draw: Draw = "sampled"
    replacement = False
    needs_laws = True
    lossless = True

    def law_of(self, tree: DraftTree, child: int, p: Law) -> Law:
        return tree.laws[child] or Point(tree.tokens[child], p.size)

    def rest(self, p: Law, q: Law) -> Law:
        return residual(p, q)

    def __call__(self, tree: DraftTree, laws: Laws, stream: Stream) -> Verdict:
        node, path = ROOT, list[int]()
        while True:
            p = laws(node)
            for lane, child in enumerate(tree.children(node)):
                token, q = tree.tokens[child], self.law_of(tree, child, p)
                if stream.ahead(len(path)).flip(p.prob(token), q.prob(token), lane):
                    path.append(child)
                    node = child
                    break
                p = self.rest(p, q)
            else:
                return Verdict(tuple(path), stream.ahead(len(path)).draw(p, Purpose.CORRECTION))


class NoResidual(Ratio):
    """After a rejection the target's law stands as it was."""

    def rest(self, p: Law, q: Law) -> Law:
        return p


class Lenient(Ratio):
    """Takes drafts for less likely than they were."""

    def __call__(self, tree: DraftTree, laws: Laws, stream: Stream) -> Verdict:
        return super().__call__(tree, laws, Halving(stream))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Halving:
    stream: Stream

    def ahead(self, by: int) -> Any:
        return Halving(self.stream.ahead(by))

    def draw(self, law: Law, purpose: Purpose) -> int:
        return self.stream.draw(law, purpose)

    def flip(self, p: float, q: float, lane: int) -> bool:
        return self.stream.flip(p, q / 2, lane)


class IgnoresLaws(Ratio):
    """Takes every draft for a computed one: exact, but not what it says it needs."""

    def law_of(self, tree: DraftTree, child: int, p: Law) -> Law:
        return Point(tree.tokens[child], p.size)


VERIFIERS: list[tuple[Callable[[], Any], str, tuple[object, ...]]] = [
    (AcceptsAll, "test_the_joint_law_is_the_targets", ((-1, -1), "independent")),
    (AcceptsAll, "test_greedy_emits_the_argmax_chain", ("independent",)),
    (AcceptsAll, "test_the_path_is_a_path", ("independent",)),
    (RowOff, "test_the_joint_law_is_the_targets", ((-1, 0, 1), "points")),
    (AcceptsProbes, "test_probes_are_never_accepted", ()),
    (Rejecting, "test_what_is_certain_is_accepted", ()),
    (SkipsNodes, "test_the_path_is_a_path", ("independent",)),
    (Forgetful, "test_the_same_stream_gives_the_same_verdict", ()),
    (NoResidual, "test_the_joint_law_is_the_targets", ((-1, -1), "independent")),
    (NoResidual, "test_through_the_round", (1.0,)),
    (Lenient, "test_the_joint_law_is_the_targets", ((-1, -1, 0, 0), "without replacement")),
    (IgnoresLaws, "test_nodes_without_laws_are_refused", ()),
    (lambda: type("Plain", (Match,), {"needs_laws": True})(), "test_nodes_without_laws_are_refused", ()),
]


@pytest.mark.parametrize(("broken", "check", "arguments"), VERIFIERS)
def test_the_verifier_kit_bites(broken: Callable[[], Any], check: str, arguments: tuple[object, ...]) -> None:
    """test_verifier_kit.py passes the same checks with sound verifiers."""
    with pytest.raises(AssertionError):
        getattr(VerifierChecks(), check)(broken(), *arguments)


def test_the_open_ratio_verifier_is_sound() -> None:
    """The mutants differ from it by their mutation alone."""
    for verifier in (Ratio(), Recursive()):
        VerifierChecks().test_the_joint_law_is_the_targets(verifier, (-1, -1, 0, 0), "without replacement")
