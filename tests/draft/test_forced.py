"""Drafts of what a grammar forces: a worked example, a thousand places, the kit, and exact laws under a grammar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from foredraft.core.params import StructuredOutputsParams
from foredraft.core.protocols import Ask, Budget, Draw, Model, Request
from foredraft.core.rules import Rules
from foredraft.core.stream import KeyedStream
from foredraft.core.tree import EMPTY, DraftTree, check
from foredraft.draft.forced import LAST, Forced
from foredraft.draft.lookup import Lookup, Options
from foredraft.grammar.compile import Grammars
from foredraft.grammar.state import State
from foredraft.grammar.vocabulary import Vocabulary
from foredraft.models.toy import Tables, ToyModel
from foredraft.policy.constant import Constant
from foredraft.testing.drafters import DrafterChecks, MakeDrafter, until
from foredraft.testing.exact import BranchingStream, Chooser, distance, outcomes, plain, said
from foredraft.verify.match import Match
from foredraft.verify.recursive import Recursive
from grammars import END, PIECES, first, must_follow, random_words, spelt

VOCAB = len(PIECES)


def draft(state: State | None, rows: int = 8, depth: int = 8, draw: Draw = "coupled") -> DraftTree:
    rules, request = Rules(grammar=state), Request((0,), 0)
    (tree,) = Forced().propose([Ask(request, [0], rules, Budget(rows, depth), draw, KeyedStream(0), VOCAB)])
    return tree


def test_a_worked_example() -> None:
    """abcabcb or abcabcc: `abc` twice, whatever the model thinks; the budget cuts, and without a grammar nothing is."""
    state = first(["abcabcb", "abcabcc"])
    tree = draft(state)
    assert tree == DraftTree.chain([5, 5], "forced", score=[0.0, 0.0])
    assert draft(state, rows=1) == draft(state, depth=1) == DraftTree.chain([5], "forced", score=[0.0])
    assert draft(state, draw="sampled") == tree.with_point_laws(VOCAB)
    assert draft(None) == draft(state, rows=0) == EMPTY
    assert draft(first(["abcab", "abcb"])) == DraftTree.chain([5], "forced", score=[math.log(LAST)])


def test_a_thousand_places_are_drafted_as_the_words_have_it() -> None:
    """What is drafted spells what all words that are left have in common, up to the budget."""
    generator = np.random.default_rng(1)
    drafted = 0
    for _ in range(1000):
        words = random_words(generator)
        state, prefix = first(words), list[int]()
        for _ in range(int(generator.integers(0, 4))):
            options = [token for token in range(END) if state.allows(token)]
            if options:
                prefix.append(int(generator.choice(options)))
                state = state.after(prefix[-1])
        rows, depth = (int(each) for each in generator.integers(1, 5, size=2))
        tree = draft(state, rows, depth)
        check(tree, VOCAB, rows, depth, needs_laws=False)
        assert len(tree) == min(rows, depth, len(state.forced()[0]))
        text = must_follow(words, spelt(prefix))
        assert text.startswith(spelt(tree.tokens))
        assert len(tree) == min(rows, depth) or spelt(tree.tokens) == text
        drafted += len(tree) > 0
    assert drafted > 300


# --- the kit, under a grammar over the three tokens of its target ---------------------------------------------------

THREE = (b"a", b"ab", b"<end>")


def pairs() -> State:
    """a or ab, many times: after b an a must follow, alone or as the beginning of ab."""
    vocabulary = Vocabulary(THREE, [2], [2], lambda text: [0] * len(text) if set(text) == {"a"} else [1])
    return Grammars(vocabulary).first(StructuredOutputsParams(regex="(a|ab){40}(a|ab)*"))


PAIRS = pairs()


class UnderAGrammar(DrafterChecks):
    def request(self, prompt: tuple[int, ...], **options: object) -> Request:
        request = super().request(prompt, **options)  # type: ignore[arg-type]
        return replace(request, rules=replace(request.rules, grammar=PAIRS))


class TestForced(UnderAGrammar):
    @pytest.fixture
    def make_drafter(self) -> MakeDrafter:
        return Forced


class TestLookupUnderAGrammar(UnderAGrammar):
    """Its drafts are pruned, or kept with their laws."""

    @pytest.fixture
    def make_drafter(self) -> MakeDrafter:
        return lambda: Lookup(Options(n=2, branches=2))


# --- exact laws -----------------------------------------------------------------------------------------------------


def drafters() -> list[object]:
    return [Forced(), Lookup(Options(n=2, branches=2))]


@pytest.mark.parametrize("verifier", [Match(), Recursive()], ids=lambda verifier: type(verifier).__name__)
@pytest.mark.parametrize("drafter", drafters(), ids=lambda drafter: type(drafter).__name__)
@pytest.mark.parametrize("words", [["abcb", "abcc", "ca", "cabc"], ["abcab", "abcb", "b"]], ids=lambda words: words[0])
def test_the_joint_law_under_a_grammar(words: Sequence[str], drafter: object, verifier: object) -> None:
    """Every text with its probability: with drafts as without, and all of them words that ended."""
    target: Model = ToyModel(Tables.random(VOCAB, order=1, seed=4))
    rules = Rules(grammar=first(words), temperature=1.2, top_k=5)
    request, stop = Request((3, 2, 5, 3), 0, rules=rules), until(12, [END])

    def run(chooser: Chooser) -> tuple[int, ...]:
        return said(target, drafter, verifier, Constant(3), request, stop, BranchingStream(chooser))  # type: ignore[arg-type]

    found, expected = outcomes(run), plain(target, request, stop)
    assert distance(found, expected) <= 1e-12
    assert {spelt(text[:-1]) for text in expected} <= set(words)
    assert {text[-1] for text in expected} == {END}
    assert len(expected) > 3


def test_the_law_of_a_text_is_the_product_of_restricted_laws() -> None:
    """By hand for `ab` or `c`: two spellings of one word and another word, p cut down to what may follow."""
    target = ToyModel(Tables.random(VOCAB, order=1, seed=4))
    request = Request((0,), 0, rules=Rules(grammar=first(["ab", "c"]), temperature=1.0))
    law = plain(target, request, until(4, [END]))
    p = np.exp(target.net.head(target.net.states([0])[-1]))
    split = p[[0, 2, 3]] / p[[0, 2, 3]].sum()
    assert law == pytest.approx({(0, 1, END): split[0], (2, END): split[1], (3, END): split[2]})
