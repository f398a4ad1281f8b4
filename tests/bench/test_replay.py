"""Texts drafted otherwise: by hand, and beside real runs with the smaller budget, equal wherever theory says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from foredraft.bench.replay import UNKNOWN, Recording, Setting, below, cut, graft, replay
from foredraft.core.events import Step
from foredraft.core.params import SamplingParams
from foredraft.core.protocols import Ask, Needs, News, Request
from foredraft.core.tree import EMPTY, DraftTree
from foredraft.engine.backends import Loaded
from foredraft.engine.llm import LLM

TREE = DraftTree.of(
    [1, 2, 3, 4, 5, 6], [-1, -1, 0, 0, 2, 1], "x", score=[-0.1, -0.2, -0.3, -0.9, -0.4, -0.5]
)  # 1 -> (3 -> 5, 4), 2 -> 6


def chain(*tokens: int) -> DraftTree:
    return DraftTree.chain(tokens, "x")


def recorded(rounds: Sequence[tuple[Sequence[int], DraftTree]], full: int | None = None, cap: int = 100) -> Recording:
    """A recording of (tokens emitted, tree) a round."""
    steps, position = list[Step](), 0
    for tokens, tree in rounds:
        steps.append(Step(position, tuple(tokens), len(tokens) - 1, tree, rows=1 + len(tree)))
        position += len(tokens)
    return Recording.of(steps, cap, full)


def said(recording: Recording, setting: Setting) -> list[tuple[int, ...]]:
    return [step.tokens for step in replay(recording, setting)[0]]


def kinds(recording: Recording, setting: Setting) -> list[str]:
    return list(replay(recording, setting)[1])


# --- trees ----------------------------------------------------------------------------------------------------------


def test_what_is_below_a_path_is_a_tree_of_its_own() -> None:
    found = below(TREE, [1])
    assert (found.tokens, found.parents) == ((3, 4, 5), (-1, -1, 0))
    assert found.score == pytest.approx((-0.2, -0.8, -0.3))
    assert below(TREE, []) is TREE
    assert below(TREE, [2, 6]) == below(TREE, [9]) == EMPTY


def test_a_tree_is_grafted_on_a_leaf_or_on_the_root() -> None:
    found = graft(TREE, 4, DraftTree.of([7, 8], [-1, 0], "y", score=[-0.1, -0.2]))
    assert (found.tokens[6:], found.parents[6:], found.sources[6:]) == ((7, 8), (4, 6), ("y", "y"))
    assert found.score[6:] == pytest.approx((-0.5, -0.6))
    assert graft(EMPTY, -1, TREE) == TREE


def test_cuts_keep_the_likeliest_nodes_within_depth() -> None:
    assert cut(TREE, Setting(), 9) is TREE
    assert cut(TREE, Setting(rows=0), 9) == EMPTY
    assert cut(TREE, Setting(rows=3), 9).tokens == (1, 2, 3)
    assert cut(TREE, Setting(rows=4), 9).tokens == (1, 2, 3, 5)
    assert cut(TREE, Setting(rows=6), 1).tokens == (1, 2)
    assert cut(TREE, Setting(), 2).tokens == (1, 2, 3, 4, 6)


def test_sources_come_in_the_order_named_and_others_not_at_all() -> None:
    tree = DraftTree(
        (1, 2, 3, 4), (-1, -1, 0, 1), (-0.1, -0.3, -0.2, -0.4), ("a", "b", "a+b", "b"), (None,) * 4, (False,) * 4
    )
    assert cut(tree, Setting(rows=4, sources=("b",)), 9).tokens == (2, 4)
    assert cut(tree, Setting(rows=3, sources=("a", "b")), 9).tokens == (1, 2, 3)
    assert cut(tree, Setting(rows=3, sources=("b", "a")), 9).tokens == (1, 2, 4)
    assert cut(tree, Setting(sources=("a",)), 9).tokens == (1, 3)


# --- by hand --------------------------------------------------------------------------------------------------------

# 10 11 12 | 13 | 14 15: two of three right, none, all of one and the end.
ROUNDS = [((10, 11, 12), chain(10, 11, 99)), ((13,), chain(98)), ((14, 15), chain(14))]


def test_as_recorded_is_what_was_recorded() -> None:
    found = recorded(ROUNDS)
    steps, how = replay(found, Setting())
    assert [step.tokens for step in steps] == [(10, 11, 12), (13,), (14, 15)]
    assert [(step.position, step.accepted, step.path, step.rows) for step in steps] == [
        (0, 2, (0, 1), 4),
        (3, 0, (), 2),
        (4, 1, (0,), 2),
    ]
    assert how == ("recorded",) * 3


def test_a_smaller_budget_moves_rounds_into_the_recorded_ones() -> None:
    found = recorded(ROUNDS)
    assert said(found, Setting(rows=1)) == [(10, 11), (12,), (13,), (14, 15)]
    assert kinds(found, Setting(rows=1)) == ["recorded", "moved", "recorded", "recorded"]
    assert said(found, Setting(rows=2)) == [(10, 11, 12), (13,), (14, 15)]
    assert said(found, Setting(rows=0)) == [(token,) for token in range(10, 16)]
    moved = replay(found, Setting(rows=1))[0][1]
    assert (moved.position, moved.tree.tokens, moved.path) == (2, (99,), ())


def test_a_larger_budget_goes_on_only_where_all_was_right_and_the_budget_was_the_end() -> None:
    rounds = [((1, 2, 3), chain(1, 2)), ((4, 5, 6), chain(4, 5)), ((7,), chain(98, 97)), ((8,), EMPTY)]
    assert said(recorded(rounds, full=2), Setting(rows=5)) == [(1, 2, 3, 4, 5, 6), (7,), (8,)]
    assert said(recorded(rounds, full=2), Setting(rows=4)) == [(1, 2, 3, 4, 5), (6, 7), (8,)]  # 6 taken to be guessed
    assert said(recorded(rounds), Setting(rows=5)) == [(1, 2, 3), (4, 5, 6), (7,), (8,)]  # a policy wanted no more
    assert said(recorded(rounds, full=3), Setting(rows=5)) == [(1, 2, 3), (4, 5, 6), (7,), (8,)]  # the drafter had none
    steps, how = replay(recorded(rounds, full=2), Setting(rows=5))
    assert how == ("stretched", "stretched", "recorded")
    assert steps[1].tree.tokens == (98, 97, UNKNOWN, UNKNOWN, UNKNOWN)  # rows that are paid for and say nothing
    assert [step.rows for step in steps] == [6, 6, 1]


def test_a_stretched_draft_is_wrong_where_the_next_round_was() -> None:
    rounds = [((1, 2, 3), chain(1, 2)), ((4, 5), chain(4, 99)), ((6,), chain(98, 97))]
    assert said(recorded(rounds, full=2), Setting(rows=8)) == [(1, 2, 3, 4, 5), (6,)]


def test_the_last_token_needs_its_place_under_the_cap() -> None:
    rounds = [((1, 2, 3, 4), chain(1, 2, 3, 4, 5))]
    steps, _ = replay(recorded(rounds, cap=4), Setting())
    assert [(step.tokens, step.tree.depth) for step in steps] == [((1, 2, 3, 4), 3)]
    steps, _ = replay(recorded(rounds, cap=4), Setting(depth=1))
    assert [step.tree.depth for step in steps] == [1, 1]
    assert steps[-1].tokens == (3, 4)


def test_a_text_that_ends_inside_its_drafts_ends_there() -> None:
    found = recorded([((1, 2), chain(1, 2, 3))])
    steps, _ = replay(found, Setting())
    assert [(step.tokens, step.accepted) for step in steps] == [((1, 2), 2)]


# --- beside real runs -----------------------------------------------------------------------------------------------


class Reference:
    """Drafts a text that it holds to be the target's, from wherever that has got to."""

    needs = Needs()

    def __init__(self, text: Sequence[int]) -> None:
        self.text = tuple(text)

    def open(self, request: Request, parent: int | None = None) -> int:
        return len(request.prompt)

    def propose(self, asks: Sequence[Ask[int]]) -> list[DraftTree]:
        return [self._propose(ask) for ask in asks]

    def _propose(self, ask: Ask[int]) -> DraftTree:
        begin = len(ask.committed) - ask.state
        return chain(*self.text[begin : begin + min(ask.budget.rows, ask.budget.depth)])

    def update(self, news: Sequence[News[int]]) -> None:
        """Nothing to learn."""

    def close(self, state: int) -> None:
        """Nothing to give back."""


PARAMS = SamplingParams(max_tokens=48, seed=3)
PROMPTS = ("the cat sat on the ", "and the mat and the dog", "the mat sat")
SIZES = (0, 1, 2, 3, 5, 7)


def steps_of(toy: Loaded, drafter: object, size: int, prompt: str) -> tuple[Step, ...]:
    llm = LLM(toy, drafter, num_speculative_tokens=size)  # type: ignore[arg-type]
    return tuple(step for step in llm.generate(prompt, PARAMS).outputs[0].steps if step.tokens)


def rounds_of(steps: Sequence[Step]) -> list[tuple[int, tuple[int, ...], int]]:
    return [(step.position, step.tokens, step.accepted) for step in steps]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_moved_rounds_are_exact_for_drafts_that_do_not_depend_on_where_they_begin(toy: Loaded, prompt: str) -> None:
    text = list(LLM(toy, "none").generate(prompt, PARAMS).outputs[0].token_ids)
    guess = [0 if place % 7 == 5 else token for place, token in enumerate(text)]  # a miss in every 7 tokens
    recording = Recording.of(steps_of(toy, Reference(guess), 8, prompt), 48, 8)
    for size in SIZES:
        steps, how = replay(recording, Setting(rows=size))
        assert rounds_of(steps) == rounds_of(steps_of(toy, Reference(guess), size, prompt))
        assert size in (0, 7) or "moved" in how


@pytest.mark.parametrize("drafter", ["lookup", "suffix", "lookup:branches=3"])
def test_recorded_rounds_are_exact_for_drafters_that_look_at_the_text(toy: Loaded, drafter: str) -> None:
    compared = 0
    for prompt in PROMPTS:
        recording = Recording.of(steps_of(toy, drafter, 8, prompt), 48, 8)
        for size in SIZES[1:]:
            at = {step.position: step for step in steps_of(toy, drafter, size, prompt)}
            for step, kind in zip(*replay(recording, Setting(rows=size)), strict=True):
                real = at.get(step.position)
                if kind == "recorded" and real is not None:
                    assert step.tree == replace(real.tree, score=step.tree.score)
                    assert (step.tokens, step.path) == (real.tokens, real.path)
                    compared += 1
    assert compared > 30
