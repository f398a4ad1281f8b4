"""The block drafter: what it feeds its head, what it proposes, and that the text stays the target's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from foredraft.core.errors import UsageError
from foredraft.core.heads import Feed
from foredraft.core.protocols import Ask, Budget, Draw, Model, Query, Request
from foredraft.core.rules import Bias, Logits, Rules
from foredraft.core.stream import KeyedStream
from foredraft.core.tree import DraftTree
from foredraft.draft import specify
from foredraft.draft.block import FAMILY, Options
from foredraft.draft.family import Provided
from foredraft.draft.head_drafter import UNASKED, WAITING
from foredraft.draft.one_pass import OnePassDrafter
from foredraft.draft.plain_block import PlainBlock
from foredraft.engine.sequence import open_sequence
from foredraft.models.toy import Tables, ToyModel
from foredraft.policy.constant import Constant
from foredraft.testing.drafters import DrafterChecks, MakeDrafter, until
from foredraft.testing.watch import Varied, drive
from foredraft.verify.match import Match
from random_heads import logits_of, random_head, taps_of

SMALL: dict[str, Any] = {"heads": 2, "kv_heads": 1, "head_size": 4, "hidden": 6, "rank": 3}


def plain_head(target: Model, **changes: Any) -> PlainBlock:
    return PlainBlock(target, *random_head(target.about, **(SMALL | changes)), dtype=np.float64)


@pytest.mark.parametrize("says", [None, (0, 2)], ids=["all", "some"])
class TestBlock(DrafterChecks):
    @pytest.fixture
    def make_drafter(self, target: Model, says: Any) -> MakeDrafter:
        head = plain_head(target, block=3, says=says)
        return lambda: OnePassDrafter(head, name="block")


class TestShortBlock(DrafterChecks):
    @pytest.fixture
    def make_drafter(self, target: Model) -> MakeDrafter:
        head = plain_head(target, block=4, layers=2, taps=(1,))
        return lambda: OnePassDrafter(head, 2, name="block")


class TestWindow(DrafterChecks):
    @pytest.fixture
    def make_drafter(self, target: Model) -> MakeDrafter:
        head = plain_head(target, block=3)
        return lambda: OnePassDrafter(head, name="block", window=2)


# --- what the head is fed ---------------------------------------------------------------------------------------------


class Noting(PlainBlock):
    """Notes its passes, how many rows each sequence fed, and how many of them with a block behind them."""

    fed: list[int]
    behind: list[int]
    passes: int

    def score(self, feeds: Sequence[Feed]) -> list[Logits]:
        self.passes += bool(feeds)
        self.fed += [len(feed.tokens) for feed in feeds]
        self.behind += [len(feed.tokens) for feed in feeds if feed.block]
        return super().score(feeds)


@pytest.fixture
def target() -> ToyModel:
    return ToyModel(Tables.random(5, order=2, seed=4, scale=1.0, context=256), context=256)


def noting(target: Model, **changes: Any) -> Noting:
    head = Noting(target, *random_head(target.about, **(SMALL | changes)), dtype=np.float64)
    head.fed, head.behind, head.passes = [], [], 0
    return head


@pytest.mark.parametrize("chunk", [1, 7, 512])
@pytest.mark.parametrize("held", [0, 1, 30])
def test_rows_are_those_of_the_text(target: ToyModel, chunk: int, held: int) -> None:
    """Whatever was drafted, accepted and rejected, in chunks, and behind a beginning that was never told."""
    head = noting(target, block=3)
    drafter, rng = OnePassDrafter(head, name="block"), np.random.default_rng(chunk)
    prompt = tuple(rng.integers(5, size=40).tolist())
    cache = target.open()
    if held:
        target.score([Query(cache, prompt[:held], tuple(range(-1, held - 1)))])
        cache.keep(range(held))
    request = Request(prompt, 1, rules=Rules(temperature=1.0))
    sequence = open_sequence(target, drafter, Match(), request, until(20), cache=cache)
    while not sequence.finished:
        drive(target, Varied(), [sequence], chunk=chunk, rounds=1)
        state = sequence.state
        assert state.first == held + 1
        text = sequence.committed[: sequence.cache.length + 1]  # every token that has hidden states before it
        assert state.end == len(text)
        other = state.fork()
        logits = head.score([other.feed(text, other.waiting, head.block)])[0]
        known = taps_of(target, text, head.taps)[held:]
        wanted = logits_of(target, (head.config, head._layers.tensors), text[held:], known)
        np.testing.assert_allclose(logits, wanted, atol=1e-10)


@pytest.mark.parametrize("chunk", [1, 7, 512])
def test_of_what_it_has_not_read_it_reads_the_last_of_a_window(target: ToyModel, chunk: int) -> None:
    """A long prompt, rounds in which it was not asked: nothing is read before, and then as if the text began there."""
    head = noting(target, block=3)
    drafter, rng = OnePassDrafter(head, name="block", window=6), np.random.default_rng(chunk)
    prompt = tuple(rng.integers(5, size=40).tolist())
    sequence = open_sequence(target, drafter, Match(), Request(prompt, 1, rules=Rules(temperature=1.0)), until(60))
    firsts = set()
    for asked in [0, 3, 0, 0, 0, 0, 0, 0, 0, 3, 3, 0, 3]:
        head.fed.clear()
        drive(target, Constant(asked), [sequence], chunk=chunk, rounds=1)
        while not sequence.steps[-1].tokens:
            drive(target, Constant(asked), [sequence], chunk=chunk, rounds=1)
        assert not head.fed if not asked else all(count <= 6 for count in head.fed)
        state = sequence.state
        firsts.add(state.first)
        text = sequence.committed[: sequence.cache.length + 1]
        assert state.end == len(text)
        other = state.fork()
        logits = head.score([other.feed(text, other.waiting, head.block)])[0]
        known = taps_of(target, text, head.taps)[state.first - 1 :]
        wanted = logits_of(target, (head.config, head._layers.tensors), text[state.first - 1 :], known)
        np.testing.assert_allclose(logits, wanted, atol=1e-10)
    assert len(firsts) > 2


@pytest.mark.parametrize("asked", [0, 3])
def test_by_default_it_reads_all_and_long_stretches_by_themselves(target: ToyModel, asked: int) -> None:
    """So that rows which nobody drafts behind never go through the whole layer with those of a block."""
    head = noting(target, block=3)
    drafter, rng = OnePassDrafter(head, name="block", window=Options().window), np.random.default_rng(0)
    prompt = tuple(rng.integers(5, size=80).tolist())
    sequence = open_sequence(target, drafter, Match(), Request(prompt, 1, rules=Rules(temperature=1.0)), until(80))
    drive(target, Constant(asked), [sequence], chunk=16)
    read = sequence.state
    assert read.first == 1  # nothing was left out
    assert read.end == sequence.cache.length + 1
    assert read.waiting <= (WAITING if asked else UNASKED)
    assert max(head.behind, default=0) <= WAITING
    assert bool(head.behind) == bool(asked)
    assert sum(head.fed) >= len(prompt) - WAITING


def test_what_nobody_asks_for_is_read_rarely_and_before_the_next_draft(target: ToyModel) -> None:
    """Read a few at a time it would take a pass every few rounds; read late the head knows what it would have known."""
    head = noting(target, block=3)
    drafter, rng = OnePassDrafter(head, name="block"), np.random.default_rng(0)
    prompt = tuple(rng.integers(5, size=10).tolist())
    sequence = open_sequence(target, drafter, Match(), Request(prompt, 1, rules=Rules(temperature=1.0)), until(200))
    drive(target, Constant(0), [sequence], rounds=40)
    state, text = sequence.state, sequence.committed
    assert not head.passes
    assert WAITING < state.waiting <= UNASKED
    assert len(drafter.propose([_ask(state, text, 5)])[0])
    assert head.fed == [len(text) - 2, 1]
    assert head.behind == [1]
    other = state.fork()
    logits = head.score([other.feed(text, other.waiting, head.block)])[0]
    known = taps_of(target, text, head.taps)
    np.testing.assert_allclose(logits, logits_of(target, (head.config, head._layers.tensors), text, known), atol=1e-10)
    before = head.passes
    drive(target, Constant(0), [sequence], rounds=80)  # more than may wait
    assert head.passes == before + 1
    assert state.waiting < UNASKED


class Failing(Noting):
    """Fails once, at its `failing`th pass."""

    failing: int

    def score(self, feeds: Sequence[Feed]) -> list[Logits]:
        if feeds and self.passes == self.failing:
            self.failing = -1
            raise RuntimeError("once")
        return super().score(feeds)


@pytest.mark.parametrize(
    "prompt", [(1, 2, 3, 4), (0, 1, 2, 3, 4) * 8, (0, 1, 2, 3, 4) * 20], ids=["short", "read when asked", "read before"]
)
@pytest.mark.parametrize("failing", [0, 1, 3])
def test_a_pass_that_failed_loses_no_context(target: ToyModel, failing: int, prompt: tuple[int, ...]) -> None:
    """What was fed waits again: the same ask, made once more, gives the tree that it would have given."""

    def run(fails: int) -> list[DraftTree]:
        head = Failing(target, *random_head(target.about, **(SMALL | {"block": 3})), dtype=np.float64)
        head.fed, head.behind, head.passes, head.failing = [], [], 0, fails
        drafter = OnePassDrafter(head, name="block")
        sequences = [
            open_sequence(target, {"block": drafter}, Match(), Request(prompt, seed), until(20)) for seed in (1, 2)
        ]
        drive(target, Constant(3), sequences)  # two share a pass; where it fails, each is asked alone
        assert head.failing == -1
        return [step.tree for sequence in sequences for step in sequence.steps]

    assert run(failing) == run(-1)


def test_a_long_prompt_goes_through_the_head_before_the_first_draft(target: ToyModel) -> None:
    head = noting(target)
    sequence = open_sequence(
        target, OnePassDrafter(head, name="block"), Match(), Request((0, 1, 2, 3, 4) * 20, 0), until(4)
    )
    drive(target, Varied(), [sequence], rounds=1)
    assert head.fed == [99]  # all but the root's own row
    assert sequence.state.waiting == 1


def test_a_batch_shares_the_pass_of_its_head(target: ToyModel) -> None:
    head = noting(target)
    drafter = OnePassDrafter(head, name="block")
    sequences = [
        open_sequence(target, drafter, Match(), Request(prompt, 0), until(8))
        for prompt in ((0, 1, 2), (3, 1), (4, 4, 4))
    ]
    drive(target, Varied(), sequences, rounds=1)
    head.passes = 0
    asks = [_ask(sequence.state, sequence.committed, 5) for sequence in sequences]
    trees = drafter.propose(asks)
    assert head.passes == 1
    assert all(len(tree) for tree in trees)
    assert drafter.propose(asks) == trees  # asked again, nothing has changed


# --- what it proposes -------------------------------------------------------------------------------------------------


def _ask(
    state: Any,
    text: Sequence[int],
    size: int,
    *,
    rules: Rules | None = None,
    draw: Draw = "coupled",
    rows: int = 6,
    min_step: float = 0.0,
) -> Ask[Any]:
    budget, stream = Budget(rows, 4, min_step=min_step), KeyedStream(3).at(len(text))
    return Ask(state, list(text), rules if rules is not None else Rules(), budget, draw, stream, size)


def proposed(target: Model, head: PlainBlock, text: Sequence[int], **changes: Any) -> DraftTree:
    drafter = OnePassDrafter(head, name="block")
    state = drafter.open(Request(tuple(text), 0))
    state.take(0, taps_of(target, text[:-1], head.taps))
    return drafter.propose([_ask(state, text, target.about.vocab_size, **changes)])[0]


TEXT = (0, 3, 1, 4, 1, 2)


@pytest.mark.parametrize("says", [None, (1, 3, 4)])
def test_both_ways_of_growing_agree(target: ToyModel, says: Any) -> None:
    """A rule that changes nothing takes the way that heeds rules: the likeliest nodes stay the same."""
    head = plain_head(target, says=says)
    nothing = Rules(steps=(Bias(np.array([0]), np.array([0.0])),))
    plain, heeding = (proposed(target, head, TEXT, rules=rules, rows=4) for rules in (Rules(), nothing))
    assert _paths(plain) == _paths(heeding)
    assert plain.sources == ("block",) * 4
    np.testing.assert_allclose(sorted(plain.score), sorted(heeding.score), rtol=1e-5)


def test_its_levels_come_together_and_have_no_price(target: ToyModel) -> None:
    """Of a head of one pass, with rules and without: what a level must bring says nothing."""
    head = plain_head(target)
    for rules in (Rules(), Rules(steps=(Bias(np.array([0]), np.array([0.0])),))):
        free, dear = (proposed(target, head, TEXT, rules=rules, min_step=least) for least in (0.0, 2.0))
        assert free == dear
        assert free.depth > 1


def _paths(tree: DraftTree) -> set[tuple[int, ...]]:
    return {tuple(tree.tokens[place] for place in tree.path(node)) for node in range(len(tree))}


def test_what_rules_forbid_is_not_drafted(target: ToyModel) -> None:
    head = plain_head(target)
    favourite = proposed(target, head, TEXT).tokens[0]
    without = Rules(steps=(Bias(np.array([favourite]), np.array([-np.inf])),))
    for rules in (without, Rules(temperature=1.0, steps=without.steps)):
        assert favourite not in proposed(target, head, TEXT, rules=rules).tokens


def test_sampled_drafts_are_a_chain_with_laws(target: ToyModel) -> None:
    tree = proposed(target, plain_head(target), TEXT, rules=Rules(temperature=1.0), draw="sampled", rows=3)
    assert tree.parents == (-1, 0, 1)
    assert all(law is not None and law.prob(token) > 0 for law, token in zip(tree.laws, tree.tokens, strict=True))


def test_nothing_is_drafted_beyond_the_block(target: ToyModel) -> None:
    assert proposed(target, plain_head(target, block=2), TEXT, rows=9).depth == 2


# --- options ----------------------------------------------------------------------------------------------------------


def test_options() -> None:
    assert specify("block").needs.head == ""
    assert specify("block:some/head.safetensors").options.head == "some/head.safetensors"
    assert specify("block:x.safetensors,depth=3,quantize=int4,k=5").needs.thrift.quantize == "int4"
    with pytest.raises(UsageError, match="must be int8 or int4, not 'int2'"):
        specify("block:quantize=int2")
    with pytest.raises(UsageError, match="needs a trained head: write block:PATH"):
        FAMILY.build(Options(), Provided())


def test_depth_is_at_most_the_blocks(target: ToyModel) -> None:
    head = plain_head(target, block=3)
    assert [OnePassDrafter(head, depth, name="block").depth for depth in (0, 2, 9)] == [3, 2, 3]
