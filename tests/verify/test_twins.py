"""Fast forms against slow ones written from the papers: the same verdict from the same stream, on random trees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from foredraft.core.law import Dense, Law, Point, Sparse, excess, of_weights, residual, without
from foredraft.core.protocols import Laws, Verdict, Verifier
from foredraft.core.stream import KeyedStream, Purpose, Stream
from foredraft.core.tree import ROOT, DraftTree
from foredraft.verify.block import Block
from foredraft.verify.kseq import KSeq, best_rho
from foredraft.verify.recursive import Recursive
from foredraft.verify.traversal import Traversal

ROUNDS = 1000
Probs = NDArray[np.float64]


@dataclass(frozen=True)
class Drawn:
    """A tree with the laws its tokens came from, the target's law at every node, and a stream to judge it with."""

    tree: DraftTree
    laws: Laws
    stream: KeyedStream


def random_law(draw: np.random.Generator, size: int) -> Law:
    """Dense, sparse or a point."""
    weights = draw.exponential(size=size) ** 2
    if draw.random() < 0.5:
        weights[draw.random(size) < 0.6] = 0.0
    weights[int(draw.integers(size))] += 1.0
    if draw.random() < 0.1:
        return Point(int(draw.integers(size)), size)
    return of_weights(np.arange(size), weights, size)


def near(draw: np.random.Generator, law: Law) -> Law:
    """A law that is often like this one, as a good draft's is."""
    probs = law.dense()
    return of_weights(np.arange(law.size), probs * draw.exponential(size=law.size) + 1e-3 * draw.random(), law.size)


def drawn_trees(seed: int, widths: tuple[int, ...], size: int, replacement: bool = False) -> Iterator[Drawn]:
    """Trees of up to these widths, siblings with or without replacement."""
    draw = np.random.default_rng(seed)
    for count in range(ROUNDS):
        tokens, parents, drafts, targets = list[int](), list[int](), list[Law](), {ROOT: random_law(draw, size)}
        level = [ROOT]
        for width in widths:
            below = list[int]()
            for node in level:
                first = left = near(draw, targets[node])
                for _ in range(width):
                    ids, probs = left.support()
                    tokens.append(int(draw.choice(ids, p=probs)))
                    parents.append(node)
                    drafts.append(left)
                    below.append(len(tokens) - 1)
                    targets[below[-1]] = random_law(draw, size)
                    rest = first if replacement else without(left, tokens[-1])
                    if rest is None:
                        break
                    left = rest
            level = below
        tree = DraftTree.of(tokens, parents, "x", laws=drafts)
        yield Drawn(tree, targets.__getitem__, KeyedStream(count, position=3, origin=3))


def relu(values: Probs) -> Probs:
    return np.maximum(values, 0.0)


def said(stream: Stream, path: tuple[int, ...], weights: Probs) -> Verdict:
    """The verdict with a last token drawn from these weights."""
    law = of_weights(np.arange(len(weights)), weights, len(weights))
    return Verdict(path, stream.ahead(len(path)).draw(law, Purpose.CORRECTION))


def slow_block(tree: DraftTree, laws: Laws, stream: Stream) -> Verdict:
    """2403.10444 as it is written, but that the test with h is made with m and with h / m: every test is made, from the
    first to the last, and the last success wins."""
    p = [laws(node).dense() for node in range(-1, len(tree))]
    q = [tree.law(node).dense() for node in range(len(tree))]
    m, tau = [1.0], 0
    for i, token in enumerate(tree.tokens, start=1):
        m.append(min(1.0, m[-1] * p[i - 1][token] / q[i - 1][token]))
        if i == len(tree):
            h = m[i]
        else:
            s = relu(m[i] * p[i] - q[i]).sum()
            h = 1.0 if s + 1 - m[i] == 0 else s / (s + 1 - m[i])
        if stream.flip(m[i], 1.0, 2 * i) and stream.flip(float(h), m[i], 2 * i + 1):
            tau = i
    left = p[tau] if tau == len(tree) else relu(m[tau] * p[tau] - q[tau])
    return said(stream, tuple(range(tau)), left if left.sum() > 1e-14 else p[tau])


def slow_traversal(tree: DraftTree, laws: Laws, stream: Stream) -> Verdict:
    """2505.12398 as a recursion."""

    def traverse(node: int, mass: float) -> Verdict | None:
        p, entered = laws(node).dense(), mass
        hopeful = stream.flip(mass, 1.0, 2 * node + 2)
        for child in tree.children(node):
            q, token = tree.law(child).dense(), tree.tokens[child]
            found = traverse(child, min(1.0, mass * p[token] / q[token]))
            if found is not None:
                return found
            left = relu(mass * p - q)
            s = float(left.sum())
            if s <= 1e-14:
                mass = 1.0 if mass == 1.0 else 0.0
            else:
                mass, p = (1.0 if mass == 1.0 else s / (s + 1 - mass)), left / s
        passed = hopeful and stream.flip(mass, entered, 2 * node + 3)
        return said(stream, tree.path(node) if node != ROOT else (), p) if passed else None

    verdict = traverse(ROOT, 1.0)
    assert verdict is not None
    return verdict


def slow_rho(p: Probs, q: Probs, k: int) -> float:
    low, high = 1.0, float(k)
    for _ in range(60):
        rho = (low + high) / 2
        b = np.minimum(q, p / rho).sum()
        low, high = (low, rho) if 1 - (1 - b) ** k <= rho * b else (rho, high)
    return high


def slow_kseq(tree: DraftTree, laws: Laws, stream: Stream) -> Verdict:
    """2310.15141 at every node of a tree whose siblings all come from one law."""
    node, path = ROOT, list[int]()
    while children := tree.children(node):
        here, p, q = stream.ahead(len(path)), laws(node).dense(), tree.law(children[0]).dense()
        rho = slow_rho(p, q, len(children)) if len(children) > 1 else 1.0
        passed = [
            child
            for lane, child in enumerate(children)
            if here.flip(p[tree.tokens[child]], rho * q[tree.tokens[child]], lane)
        ]
        if not passed:
            b = np.minimum(q, p / rho).sum()
            left = relu(p - np.minimum(q, p / rho) * ((1 - (1 - b) ** len(children)) / b if b else 1.0))
            return said(stream, tuple(path), left if left.sum() > 1e-14 else p)
        node = passed[0]
        path.append(node)
    return said(stream, tuple(path), laws(node).dense())


CHAIN, TREE = (1, 1, 1, 1, 1), (3, 2, 1)
TWINS: list[tuple[Verifier, Callable[[DraftTree, Laws, Stream], Verdict], tuple[int, ...], bool]] = [
    (Block(), slow_block, CHAIN, False),
    (Traversal(), slow_block, CHAIN, False),
    (Block(), slow_traversal, TREE, False),
    (Traversal(), slow_traversal, TREE, False),
    (Traversal(), slow_traversal, TREE, True),
    (KSeq(), slow_kseq, (4, 2, 2), True),
    (KSeq(), Recursive().__call__, TREE, False),  # runs of one
]


@pytest.mark.parametrize(("fast", "slow", "widths", "replacement"), TWINS)
def test_the_same_verdict_from_the_same_stream(
    fast: Verifier,
    slow: Callable[[DraftTree, Laws, Stream], Verdict],
    widths: tuple[int, ...],
    replacement: bool,
) -> None:
    lengths = set[int]()
    for seed, case in enumerate(drawn_trees(len(widths) + 10 * replacement, widths, 12, replacement)):
        verdict = fast(case.tree, case.laws, case.stream)
        assert verdict == slow(case.tree, case.laws, case.stream), seed
        lengths.add(len(verdict.path))
    assert lengths == set(range(len(widths) + 1))


@pytest.mark.parametrize("verifier", [Recursive(), Block(), Traversal(), KSeq()], ids=lambda one: type(one).__name__)
def test_whole_arrays_say_what_their_supports_say(verifier: Verifier) -> None:
    """Dense laws are worked on in whole arrays, sparse ones by their support."""

    def sparse(law: Law) -> Law:
        return law if isinstance(law, Point) else Sparse(*law.support(), law.size)

    def dense(law: Law) -> Law:
        return Dense(law.dense())

    for case in drawn_trees(77, TREE, 12, verifier.replacement):
        forms = []
        for form in (sparse, dense):
            known: dict[int, Law] = {}  # one object for one law, as a drafter gives it
            drafts = [known.setdefault(id(law), form(law)) for law in case.tree.laws if law is not None]
            tree = replace(case.tree, laws=tuple(drafts))
            forms.append(verifier(tree, lambda node, form=form, case=case: form(case.laws(node)), case.stream))  # type: ignore[misc]
        assert forms[0] == forms[1]


def test_excess_is_the_same_in_every_form() -> None:
    draw = np.random.default_rng(5)
    for _ in range(ROUNDS):
        p, q, mass = random_law(draw, 9), random_law(draw, 9), float(draw.random())
        left = relu(mass * p.dense() - q.dense())
        for one in (p, Dense(p.dense())):
            for other in (q, Dense(q.dense()), Sparse(*q.support(), 9)):
                total, law = excess(one, other, mass)
                assert total == pytest.approx(left.sum(), abs=1e-15)
                due = left / left.sum() if total else p.dense()
                assert law.dense() == pytest.approx(due, abs=1e-12)
                assert np.array_equal(residual(one, other).dense(), excess(one, other)[1].dense())


@pytest.mark.parametrize("size", [2, 30, 500, 5000])
def test_rho_accepts_what_plain_bisection_does_and_is_never_too_little(size: int) -> None:
    """Where p and q are equal rho itself is lost in rounding, what is accepted is not."""
    draw = np.random.default_rng(size)
    for count in range(40):
        p, q = random_law(draw, size).dense(), random_law(draw, size).dense()
        if count % 4 == 0:
            q = p.copy() if count % 8 else np.where(p > 0, 1.0, 0.0) / np.count_nonzero(p)
        k = int(draw.integers(2, 7))
        chances = []
        for rho in (best_rho(p, q, k), slow_rho(p, q, k)):
            b = float(np.minimum(q, p / rho).sum())
            chances.append(1 - max(0.0, 1 - b) ** k)
            assert chances[-1] <= rho * b + 1e-14
        assert chances[0] == pytest.approx(chances[1], abs=1e-9)
