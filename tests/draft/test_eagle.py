"""Drafters that go token by token: what their heads are fed, which tree grows, and that the text stays the target's."""

from __future__ import annotations

import itertools
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
from foredraft.draft.eagle import EAGLE, EagleOptions
from foredraft.draft.family import Provided
from foredraft.draft.levels import LevelDrafter
from foredraft.draft.steps import Place, Recursive, StepHead
from foredraft.draft.trees import PlainTrees
from foredraft.engine.sequence import open_sequence
from foredraft.engine.step_heads import plain_steps
from foredraft.models.toy import Tables, ToyModel
from foredraft.policy.constant import Constant
from foredraft.testing.drafters import DrafterChecks, MakeDrafter, until
from foredraft.testing.watch import Varied, drive
from foredraft.verify.match import Match
from random_heads import random_head, taps_of
from random_steps import METHODS, NAMES, laws_of

SMALL: dict[str, Any] = {"heads": 2, "kv_heads": 1, "head_size": 4, "hidden": 6}
TEXT = (0, 3, 1, 4, 1, 2)
every_method = pytest.mark.parametrize(("method", "made"), METHODS, ids=NAMES)


def steps_of(target: Model, method: str, made: dict[str, Any], **changes: Any) -> tuple[Any, StepHead]:
    last = target.about.layers
    taps = (0, min(1, last), last) if method == "eagle3" else (last,)
    parts = random_head(target.about, method=method, **(SMALL | {"block": 4} | made | {"taps": taps} | changes))
    return parts, plain_steps(target, *parts, dtype=np.float64)


KINDS = [(*kind, says) for kind, says in zip(METHODS, (None, (0, 2), None, (0, 2)), strict=True)]


@pytest.mark.parametrize(("method", "made", "says"), KINDS, ids=NAMES)
class TestSteps(DrafterChecks):
    @pytest.fixture
    def make_drafter(self, target: Model, method: str, made: dict[str, Any], says: Any) -> MakeDrafter:
        _, head = steps_of(target, method, made, says=says)
        return lambda: LevelDrafter(head, 3, name=method)


# --- what the head is fed ---------------------------------------------------------------------------------------------


@pytest.fixture
def target() -> ToyModel:
    return ToyModel(Tables.random(5, order=2, seed=4, scale=1.0, context=256), context=256)


def test_every_module_reads_a_prompt_once(target: ToyModel) -> None:
    """Before anything is drafted: the paths of a tree would each read it again."""
    parts, head = steps_of(target, "mtp_sequential", {"modules": 4})
    counts = [0] * 4
    run = head.rows.run

    def counted(module: int, feeds: Sequence[Feed], ends: bool) -> Any:
        counts[module] += sum(len(feed.tokens) for feed in feeds)
        return run(module, feeds, ends)

    head.rows.run = counted  # type: ignore[method-assign]
    text = tuple(np.random.default_rng(0).integers(5, size=60).tolist())
    taps = taps_of(target, text, parts[0].taps)
    cache = head.open()
    for begin, end in ((0, 30), (30, 59)):
        head.score([Feed(cache, text[begin + 1 : end + 1], taps[begin:end], 0)])
    assert counts == [59, 58, 57, 56]
    head.score([Feed(cache, (1,), taps[59:60], 4)])
    queries = Query(cache, (0, 1, 2, 3), (-1, -1, -1, -1))
    head.level([queries])
    assert counts[:2] == [60, 58 + 4 * 2]


@every_method
@pytest.mark.parametrize("chunk", [1, 7, 512])
@pytest.mark.parametrize("held", [0, 30])
def test_rows_are_those_of_the_text(target: ToyModel, method: str, made: dict[str, Any], chunk: int, held: int) -> None:
    """Whatever was drafted, accepted and rejected, in chunks, and behind a beginning that was never told: every round
    reads the target's own hidden states, and nothing that was drafted from others."""
    parts, head = steps_of(target, method, made)
    drafter, rng = LevelDrafter(head, name=method), np.random.default_rng(chunk)
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
        text = sequence.committed[: sequence.cache.length + 1]  # every token that has hidden states before it
        assert state.end == len(text)
        other, drafts = state.fork(), (1, 4, 0)
        laws = drafter.laws(other.feed(text, other.waiting, 4), drafts)
        known = taps_of(target, text, head.taps)[held:]
        np.testing.assert_allclose(laws, laws_of(target, parts, text[held:], drafts, known), atol=1e-9)


@every_method
@pytest.mark.parametrize("steps", [(), (Bias(np.array([0]), np.array([0.0])),)], ids=["plain", "heeding rules"])
def test_a_level_that_cannot_bring_what_it_takes_is_not_begun(
    target: ToyModel, method: str, made: dict[str, Any], steps: Any
) -> None:
    """Chances of a level are one together at most; a tree that is drawn is whole whatever a level must bring."""
    _, head = steps_of(target, method, made)
    drafter, text, warm = LevelDrafter(head, name=method), (0, 3, 1, 4, 1, 2), Rules(temperature=1.0, steps=steps)

    def depth(least: float, rules: Rules, draw: Draw) -> int:
        state = drafter.open(Request(text, 0))
        state.take(0, taps_of(target, text[:-1], head.taps))
        budget, stream = Budget(8, 4, min_step=least), KeyedStream(3).at(len(text))
        (tree,) = drafter.propose([Ask(state, list(text), rules, budget, draw, stream, target.about.vocab_size)])
        return tree.depth

    assert depth(0.0, Rules(steps=steps), "coupled") > 1
    assert depth(1.1, Rules(steps=steps), "coupled") == 1
    assert depth(1.1, warm, "sampled") == depth(0.0, warm, "sampled") > 1


class Failing(Recursive):
    """Fails once, at its `failing`th pass."""

    passes = 0
    failing = 0

    def step(self, paths: Sequence[tuple[Place, int]]) -> tuple[list[Place], Logits]:
        self._count()
        return super().step(paths)

    def begin(self, feeds: Sequence[Feed]) -> tuple[list[Place], Logits]:
        self._count()
        return super().begin(feeds)

    def _count(self) -> None:
        self.passes += 1
        if self.passes == self.failing:
            raise RuntimeError("once")


@pytest.mark.parametrize("failing", [1, 3, 4, 7])
def test_a_pass_that_failed_loses_no_context(target: ToyModel, failing: int) -> None:
    """What was fed waits again: the same ask, made once more, gives the tree that it would have given."""

    def run(fails: int) -> list[DraftTree]:
        head = Failing(steps_of(target, *METHODS[0])[1].rows, PlainTrees())
        head.failing = fails
        drafter = LevelDrafter(head, name="eagle")
        sequences = [
            open_sequence(target, {"eagle": drafter}, Match(), Request((1, 2, 3, 4), seed), until(20))
            for seed in (1, 2)
        ]
        drive(target, Constant(3), sequences)  # two share a pass; where it fails, each is asked alone
        assert head.passes > fails
        return [step.tree for sequence in sequences for step in sequence.steps]

    assert run(failing) == run(-1)


# --- what it proposes -------------------------------------------------------------------------------------------------


def _ask(
    state: Any, text: Sequence[int], size: int, *, rules: Rules | None = None, draw: Draw = "point", rows: int = 6
) -> Ask[Any]:
    budget, stream = Budget(rows, 4), KeyedStream(3).at(len(text))
    return Ask(state, list(text), rules if rules is not None else Rules(), budget, draw, stream, size)


def proposed(target: Model, head: StepHead, **changes: Any) -> DraftTree:
    drafter = LevelDrafter(head, name="eagle")
    state = drafter.open(Request(TEXT, 0))
    state.take(0, taps_of(target, TEXT[:-1], head.taps))
    ask = _ask(state, TEXT, target.about.vocab_size, **changes)
    tree = drafter.propose([ask])[0]
    again = drafter.propose([ask])[0]  # nothing has changed
    assert (again.tokens, again.parents, again.score) == (tree.tokens, tree.parents, tree.score)
    return tree


def _paths(tree: DraftTree) -> dict[tuple[int, ...], float]:
    return {tuple(tree.tokens[place] for place in tree.path(node)): tree.score[node] for node in range(len(tree))}


@every_method
def test_a_tree_is_that_of_the_likeliest_paths(target: ToyModel, method: str, made: dict[str, Any]) -> None:
    """Against all paths there are: where no level has more likely nodes than get children, none is passed over."""
    parts, head = steps_of(target, method, made)
    taps, every = taps_of(target, TEXT, head.taps), dict[tuple[int, ...], float]()
    for path in itertools.product(range(5), repeat=4):
        laws = laws_of(target, parts, TEXT, path[:-1], taps)
        logs = laws - np.log(np.exp(laws).sum(1, keepdims=True))
        for depth in range(4):
            every[path[: depth + 1]] = float(logs[np.arange(depth + 1), list(path[: depth + 1])].sum())
    wanted = sorted(every, key=lambda path: -every[path])[:4]
    found = _paths(proposed(target, head, rows=4))
    assert set(found) == set(wanted)
    for path, score in found.items():
        assert score == pytest.approx(every[path], abs=1e-4)


@pytest.mark.parametrize("says", [None, (1, 3, 4)])
def test_both_ways_of_growing_agree(target: ToyModel, says: Any) -> None:
    """A rule that changes nothing takes the way that heeds rules: the likeliest nodes stay the same."""
    _, head = steps_of(target, *METHODS[1], says=says)
    nothing = Rules(steps=(Bias(np.array([0]), np.array([0.0])),))
    plain, heeding = (_paths(proposed(target, head, rules=rules)) for rules in (Rules(), nothing))
    assert plain.keys() == heeding.keys()
    np.testing.assert_allclose(sorted(plain.values()), sorted(heeding.values()), rtol=1e-5)


def test_what_rules_forbid_is_not_drafted(target: ToyModel) -> None:
    _, head = steps_of(target, *METHODS[2])
    favourite = proposed(target, head).tokens[0]
    without = Rules(steps=(Bias(np.array([favourite]), np.array([-np.inf])),))
    for rules in (without, Rules(temperature=1.0, steps=without.steps)):
        assert favourite not in proposed(target, head, rules=rules).tokens


@every_method
def test_sampled_drafts_are_a_chain_with_laws(target: ToyModel, method: str, made: dict[str, Any]) -> None:
    _, head = steps_of(target, method, made)
    tree = proposed(target, head, rules=Rules(temperature=1.0), draw="sampled", rows=3)
    assert tree.parents == (-1, 0, 1)
    assert all(law is not None and law.prob(token) > 0 for law, token in zip(tree.laws, tree.tokens, strict=True))


# --- options ----------------------------------------------------------------------------------------------------------


def test_options() -> None:
    assert specify("eagle3:some/head.safetensors").options.head == "some/head.safetensors"
    assert specify("mtp_sequential:x.safetensors,depth=3,quantize=int4,k=5").needs.thrift.quantize == "int4"
    with pytest.raises(UsageError, match="needs a trained head: write eagle:PATH"):
        EAGLE.build(EagleOptions(), Provided())
