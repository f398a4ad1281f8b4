"""The checks that catch mutants. Each takes a part, compares what it does with what it should do, and gives a distance.

Exact checks give a total variation known to rounding. Statistical ones run keyed streams over many seeds; they fail a
right part with probability 1e-6 at most (over the choice of seeds, which are fixed).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from foredraft.audit.chances import chi_square
from foredraft.audit.doubles import Double, Iid, Top, Without, chain_length
from foredraft.audit.worlds import EXACT, World, make_world, one_round, rules_after
from foredraft.audit.wrong.ratio import TargetNoiseCorrection
from foredraft.core import stop as stopping
from foredraft.core.law import total_variation
from foredraft.core.protocols import AnyDrafter, Budget, Query, Request, Verifier
from foredraft.core.rules import Rules
from foredraft.core.stop import Stop, StopState
from foredraft.core.stream import KeyedStream
from foredraft.core.tree import ROOT, DraftTree
from foredraft.draft.model import ModelDrafter
from foredraft.draft.none import Nothing
from foredraft.models.toy import Net, Tables, ToyModel
from foredraft.policy.constant import Constant
from foredraft.testing.exact import BranchingStream, distance, outcomes, plain, said
from foredraft.verify.block import Block
from foredraft.verify.kseq import KSeq
from foredraft.verify.match import Match
from foredraft.verify.recursive import Recursive
from foredraft.verify.traversal import Traversal

FALSE_ALARM = 1e-6
ROUNDS = 2000


@dataclass(frozen=True)
class Finding:
    """wrong: the check fails. distance: how far from right, a total variation unless the check says otherwise."""

    wrong: bool
    distance: float

    @staticmethod
    def exact(distance: float) -> Finding:
        return Finding(distance > EXACT, distance)


def world_of(variant: str = "warm", nets: str = "unlike", vocab_size: int = 3) -> World:
    return make_world(nets, variant, vocab_size=vocab_size, max_tokens=3, stops=0, seed=77)


WORLD = world_of()
COUPLING = make_world("unlike", "warm", vocab_size=5, max_tokens=3, stops=0, seed=99)  # where noise shared shows most
WIDE = world_of(vocab_size=5)  # where a residual has several tokens left
CHAIN = Budget(rows=2, depth=2)
TREE = Budget(rows=4, depth=2)
TARGET = Tables.random(3, 2, seed=11, context=24)
KNOWING_LESS = Tables(TARGET.tables[:2], TARGET.orders[:2], TARGET.positions, TARGET.out)
PROMPT = (0, 1, 2, 0)
CAP = StopState(Stop(frozenset(), (), 3))


# --- exact laws -----------------------------------------------------------------------------------------------------


def law_of_a_sampled_chain(verifier: Verifier) -> Finding:
    """A chain of two sampled drafts, then plain decoding."""
    found = one_round(WORLD, Without(WORLD.draft, (1, 1)), verifier, CHAIN)
    return Finding.exact(distance(found.texts, plain(WORLD.target, WORLD.request, WORLD.stop)))


def law_of_sampled_siblings(verifier: Verifier) -> Finding:
    """Two siblings without replacement, each with a child."""
    found = one_round(WORLD, Without(WORLD.draft, (2, 1)), verifier, TREE)
    return Finding.exact(distance(found.texts, plain(WORLD.target, WORLD.request, WORLD.stop)))


def tokens_of_a_sampled_chain(verifier: Verifier) -> Finding:
    """Tokens a pass against the formula; the distance is in tokens."""
    drafter = Without(WORLD.draft, (1, 1))
    found = one_round(WORLD, drafter, verifier, CHAIN)
    return Finding.exact(abs(found.mean_tokens - chain_length(WORLD, drafter, 2)))


def law_of_a_chain_of(drafter: type[Double]) -> Finding:
    found = one_round(WORLD, drafter(WORLD.draft, (1, 1)), Recursive(), CHAIN)
    return Finding.exact(distance(found.texts, plain(WORLD.target, WORLD.request, WORLD.stop)))


def law_of_siblings_of(drafter: type[Double]) -> Finding:
    worst = 0.0
    for world in (WORLD, WIDE):
        found = one_round(world, drafter(world.draft, (2,)), Recursive(), Budget(2, 1))
        worst = max(worst, distance(found.texts, plain(world.target, world.request, world.stop)))
    return Finding.exact(worst)


def law_of_a_long_sampled_chain(verifier: Verifier) -> Finding:
    """A chain of three."""
    found = one_round(WORLD, Without(WORLD.draft, (1, 1, 1)), verifier, Budget(3, 3))
    return Finding.exact(distance(found.texts, plain(WORLD.target, WORLD.request, WORLD.stop)))


def law_of_three_sampled_siblings(verifier: Verifier) -> Finding:
    """Three siblings without replacement, where a residual has several tokens left."""
    found = one_round(WIDE, Without(WIDE.draft, (3,)), verifier, Budget(3, 1))
    return Finding.exact(distance(found.texts, plain(WIDE.target, WIDE.request, WIDE.stop)))


def law_of_independent_siblings(verifier: Verifier) -> Finding:
    """Three siblings with replacement."""
    found = one_round(WIDE, Iid(WIDE.draft, (3,)), verifier, Budget(3, 1))
    return Finding.exact(distance(found.texts, plain(WIDE.target, WIDE.request, WIDE.stop)))


def law_of_points(verifier: Verifier) -> Finding:
    """A tree chosen without chance."""
    found = one_round(WORLD, Top(WORLD.draft, (2, 1)), verifier, TREE)
    return Finding.exact(distance(found.texts, plain(WORLD.target, WORLD.request, WORLD.stop)))


def law_of_a_block_of(drafter: type[Double]) -> Finding:
    """As law_of_a_chain_of, judged as a block."""
    found = one_round(WORLD, drafter(WORLD.draft, (1, 1)), Block(), CHAIN)
    return Finding.exact(distance(found.texts, plain(WORLD.target, WORLD.request, WORLD.stop)))


def law_of_a_traversal_of(drafter: type[Double]) -> Finding:
    """Two siblings, each with a child."""
    found = one_round(WORLD, drafter(WORLD.draft, (2, 1)), Traversal(), TREE)
    return Finding.exact(distance(found.texts, plain(WORLD.target, WORLD.request, WORLD.stop)))


def law_of_a_selection_of(drafter: type[Double]) -> Finding:
    """Three siblings, as k-sequential selection judges them."""
    found = one_round(WIDE, drafter(WIDE.draft, (3,)), KSeq(), Budget(3, 1))
    return Finding.exact(distance(found.texts, plain(WIDE.target, WIDE.request, WIDE.stop)))


def law_of_nuclei(verifier: Verifier) -> Finding:
    """The verifier is given laws before top-p and has to cut them at every row."""
    cut = world_of("top_p")
    found = one_round(cut, Without(WORLD.draft, (1, 1)), verifier, CHAIN, judged=WORLD)
    return Finding.exact(distance(found.texts, plain(cut.target, cut.request, cut.stop)))


def law_of_the_loop(model: ToyModel) -> Finding:
    """Whole generations with a tree in which the second branch is often accepted."""
    return _loop(model, lambda: Rules(temperature=1.0), Top(TARGET, (2, 2)), TARGET, Rules(temperature=1.0))


def greedy_ties(make: type[ToyModel]) -> Finding:
    """Greedy decoding where several tokens share the largest logit."""
    net = Tables.random(3, 1, seed=5, scale=0.3, ties=True, context=24)
    return _loop(make(net), Rules, Top(net, (2, 2)), net, Rules())


def law_of_a_padded_vocabulary(net: Net) -> Finding:
    """The model's head has one id more than there are tokens."""
    model = ToyModel(net, context=24)
    return _loop(model, lambda: Rules(temperature=1.0), Top(TARGET, (2, 1)), TARGET, Rules(temperature=1.0))


def law_with_counted_drafts(make: Callable[[], Rules]) -> Finding:
    """A frequency penalty, with a drafter that asks the rules about every token it drafts."""
    drafter = ModelDrafter(ToyModel(KNOWING_LESS, context=24))
    return _loop(ToyModel(TARGET, context=24), make, drafter, TARGET, counting())


def counting() -> Rules:
    """The right rules of the last check."""
    return world_of("frequency").request.rules


def _loop(model: ToyModel, make: Callable[[], Rules], drafter: AnyDrafter, net: Net, rules: Rules) -> Finding:
    """What the loop says with parts under test, against plain decoding with right ones."""
    found = outcomes(
        lambda chooser: said(
            model,
            drafter,
            Match(),
            Constant(4),
            Request(PROMPT, 0, rules=make()),
            CAP,
            BranchingStream(chooser),
        )
    )
    right = plain(ToyModel(net, context=24), Request(PROMPT, 0, rules=rules), CAP)
    return Finding.exact(distance(found, right))


# --- parts by themselves --------------------------------------------------------------------------------------------

BUSHY = DraftTree.of([0, 1, 2, 1, 1, 0], [ROOT, ROOT, 0, 1, 2, 2], "fixed")


def rows_of_a_tree(model: ToyModel) -> Finding:
    """Every row of a tree against a fresh pass over its own path alone: the largest total variation of a row."""
    cache = model.open()
    model.score([Query(cache, PROMPT[:3], (-1, 0, 1))])
    cache.keep((0, 1, 2))
    parents = (-1, *(1 + parent for parent in BUSHY.parents))
    rows = tuple(range(1 + len(BUSHY)))
    (scores,) = model.score([Query(cache, (PROMPT[3], *BUSHY.tokens), parents, rows)])
    fresh, warm, worst = ToyModel(TARGET, context=24), Rules(temperature=1.0), 0.0
    for node in range(-1, len(BUSHY)):
        path = (*PROMPT, *(BUSHY.tokens[step] for step in BUSHY.path(node)))
        (alone,) = fresh.score([Query(fresh.open(), path, tuple(range(-1, len(path) - 1)), (len(path) - 1,))])
        law = warm.law_of(alone.logits(len(path) - 1))
        worst = max(worst, total_variation(warm.law_of(scores.logits(1 + node)), law))
    return Finding.exact(worst)


def rules_of_siblings(make: Callable[[], Rules]) -> Finding:
    """The law at every node of a tree against rules that went down its own path alone."""
    rules: dict[int, Rules] = {ROOT: make()}
    for node, (token, parent) in enumerate(zip(BUSHY.tokens, BUSHY.parents, strict=True)):
        rules[node] = rules[parent].after(token)
    worst = 0.0
    for node, found in rules.items():
        alone = rules_after(counting(), [BUSHY.tokens[step] for step in BUSHY.path(node)])
        logits = TARGET.head(TARGET.states((*PROMPT, node + 1))[-1]) if node < 2 else np.zeros(3)
        worst = max(worst, total_variation(found.law_of(logits), alone.law_of(logits)))
    return Finding.exact(worst)


Trim = Callable[[StopState, Sequence[int]], tuple[tuple[int, ...], StopState]]


def blocks_end_like_single_tokens(trim: Trim) -> Finding:
    """Random texts in blocks, against one token at a time; the distance is the share that ends otherwise."""
    generator = np.random.default_rng(3)
    differ = 0
    for _ in range(400):
        start = StopState(Stop(frozenset({2}), (), int(generator.integers(1, 8))))
        tokens = [int(token) for token in generator.integers(0, 6, size=8)]
        cut = int(generator.integers(1, 8))
        ends = []
        for end, blocks in ((trim, [tokens[:cut], tokens[cut:]]), (stopping.trim, [[token] for token in tokens])):
            state, text = start, tuple[int, ...]()
            for block in blocks:
                if state.finish is None:
                    kept, state = end(state, block)
                    text += kept
            ends.append((text, state.finish))
        differ += ends[0] != ends[1]
    return Finding.exact(differ / 400)


# --- keyed randomness -----------------------------------------------------------------------------------------------


@cache
def blocks_of_keyed_streams(stream: type[KeyedStream]) -> Finding:
    """Rounds of a sampled chain with keyed randomness: the blocks they emit have the enumerated law."""
    drafter = Without(WORLD.draft, (1, 1))
    law = one_round(WORLD, drafter, Recursive(), CHAIN).blocks
    return _counted(Counter(_block(WORLD, drafter, Recursive(), stream(seed)) for seed in range(ROUNDS)), law)


def first_tokens_of_independent_drafts(make: type[Double]) -> Finding:
    """A verifier whose corrections use the target's noise: exact when the drafts have not used it."""
    drafter, verifier = make(COUPLING.draft, (1,)), TargetNoiseCorrection()
    law: dict[tuple[int, ...], float] = {(token,): float(prob) for token, prob in enumerate(COUPLING.p(()).dense())}
    return _counted(Counter(_block(COUPLING, drafter, verifier, KeyedStream(seed))[:1] for seed in range(ROUNDS)), law)


def _block(world: World, drafter: Double, verifier: Verifier, stream: KeyedStream) -> tuple[int, ...]:
    (tree,) = drafter.propose([world.ask(drafter, verifier, CHAIN, stream)])
    verdict = verifier(tree, world.laws(tree), stream)
    return *(tree.tokens[node] for node in verdict.path), verdict.token


def _counted(seen: Counter[tuple[int, ...]], law: Mapping[tuple[int, ...], float]) -> Finding:
    shares = {block: count / seen.total() for block, count in seen.items()}
    return Finding(chi_square(seen, law) < FALSE_ALARM, distance(shares, dict(law)))


def speculation_changes_no_text(stream: type[KeyedStream]) -> Finding:
    """The same seeds with and without drafts; the distance is the share of texts that differ."""
    model, request = ToyModel(TARGET, context=24), Request(PROMPT, 0, rules=Rules(temperature=1.0))
    ending = StopState(Stop(frozenset(), (), 8))
    drafter = ModelDrafter(ToyModel(KNOWING_LESS, context=24))
    differ = 0
    for seed in range(60):
        texts = [
            said(model, each, Match(), Constant(3), request, ending, stream(seed)) for each in (drafter, Nothing())
        ]
        differ += texts[0] != texts[1]
    return Finding.exact(differ / 60)


def the_impossible_never_passes(stream: type[KeyedStream]) -> Finding:
    """A draft with p = 0 is never accepted; the distance is the share that is."""
    flips = 4000
    return Finding.exact(sum(stream(seed).flip(0.0, 0.5, 0) for seed in range(flips)) / flips)
