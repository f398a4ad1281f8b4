"""States of a grammar: what they allow against a search of its words, laws by hand, and that nothing changes them."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

from foredraft.core.errors import RuleError
from foredraft.core.law import Point
from foredraft.core.params import StructuredOutputsParams
from foredraft.core.rules import Rules, pruned
from foredraft.core.tree import DraftTree
from foredraft.grammar.state import FEW, RECENT, State
from grammars import (
    END,
    PIECES,
    allowed,
    first,
    follow,
    grammars,
    longest_first,
    must_follow,
    random_words,
    searched,
    spelt,
)

VOCAB = len(PIECES)


def random_places(count: int) -> Iterator[tuple[list[str], State, list[int]]]:
    """(words, the state after a random text that obeys, the tokens of that text)."""
    generator = np.random.default_rng(3)
    made = 0
    while made < count:
        words = random_words(generator)
        state, said = first(words), list[int]()
        while made < count and (options := sorted(allowed(state))):
            yield words, state, said
            made += 1
            token = int(generator.choice(options))
            if token == END:
                break
            state, said = state.after(token), [*said, token]


def test_a_thousand_places_allow_what_a_search_of_the_words_allows() -> None:
    """Where one text alone can follow, its usual spelling; everywhere else, every token that leads to a word."""
    free = forced = 0
    for words, state, said in random_places(1000):
        found, may = allowed(state), searched(words, spelt(said))
        tokens, certain = state.forced()
        if certain:
            assert found == {tokens[0]} <= may
            forced += 1
        else:
            assert found == may
            free += 1
    assert min(free, forced) > 100


def test_a_thousand_places_force_what_all_words_have_in_common() -> None:
    """The forced tokens spell that text and no more, and each certain one is the only one allowed."""
    drafted = 0
    for words, state, said in random_places(1000):
        tokens, certain = state.forced()
        assert spelt(tokens) == must_follow(words, spelt(said))
        for place in range(certain):
            assert allowed(follow(state, tokens[:place])) == {tokens[place]}
        drafted += bool(tokens)
    assert drafted > 300


def test_a_prefix_is_never_found_too_short() -> None:
    generator = np.random.default_rng(4)
    cut = 0
    for words, state, said in random_places(300):
        drafts = [int(token) for token in generator.integers(0, VOCAB, size=4)]
        here, exact = state, 0
        while exact < 4 and here.allows(drafts[exact]):
            here, exact = here.after(drafts[exact]), exact + 1
        found = state.prefix(drafts)
        assert exact <= found <= 4
        text = [token for token in drafts[:found] if token != END]
        assert any(word.startswith(spelt(said) + spelt(text)) for word in words)
        cut += found < 4
    assert cut > 200


def test_a_worked_example() -> None:
    """abcb or abcc: `abc` comes first, and no piece joins it to what follows; `ab` and `a` would spell it otherwise."""
    state = first(["abcb", "abcc"])
    assert state.forced() == ((5,), 1)
    assert allowed(state) == {5}
    after = state.after(5)
    assert allowed(after) == {1, 2}
    assert after.forced() == ((), 0)
    assert allowed(after.after(1)) == {END}
    assert allowed(after.after(1).after(END)) == set()
    assert allowed(after.after(0)) == set()
    assert state.prefix([5, 1, END, END]) == 3
    assert state.prefix([3, 2, 2]) == 3, "another spelling of the same text"
    assert state.prefix([5, 3]) == 1


def test_a_last_token_that_may_yet_grow_is_likely_but_not_certain() -> None:
    """abcab or abcb: after `abc` an a may follow, and `ca` would join it."""
    state = first(["abcab", "abcb"])
    assert state.forced() == ((5,), 0)
    assert allowed(state) == {0, 3, 5}


def test_padding_and_special_tokens_are_never_text() -> None:
    state = grammars(padding=40).first(StructuredOutputsParams(regex="(.|\n)*"))
    assert {token for token in range(VOCAB + 40) if state.allows(token)} == set(range(VOCAB))
    assert follow(state, [0, 4]).apply(np.zeros(VOCAB + 40))[VOCAB:].tolist() == [-np.inf] * 40


# --- laws -----------------------------------------------------------------------------------------------------------


class Row:
    """Logits as a pass gives them; `asked` counts how often they were needed."""

    vocab_size = VOCAB

    def __init__(self, logits: np.ndarray) -> None:
        self.values, self.asked = logits, 0

    def logits(self, row: int) -> np.ndarray:
        self.asked += 1
        return self.values

    def argmax(self, row: int) -> int:
        return int(np.argmax(self.values))


def test_the_law_is_p_restricted_to_what_is_allowed_then_cut() -> None:
    """At a thousand places, with top-k and top-p after the mask, against arithmetic on dense vectors."""
    generator = np.random.default_rng(5)
    for _, state, _ in random_places(1000):
        logits = generator.normal(size=VOCAB) * 2
        rules = Rules(grammar=state, temperature=0.7, top_k=int(generator.integers(0, 4)))
        p = np.exp(logits / 0.7)
        p[[token for token in range(VOCAB) if not state.allows(token)]] = 0
        if rules.top_k:
            p[np.argsort(-p)[rules.top_k :]] = 0
        np.testing.assert_allclose(rules.law_of(logits).dense(), p / p.sum(), atol=1e-14)
        greedy = Rules(grammar=state)
        best = max(allowed(state), key=lambda token: logits[token])
        assert greedy.law(Row(logits), 0) == greedy.law_of(logits) == Point(best, VOCAB)


def test_few_and_many_tokens_give_one_law(monkeypatch: pytest.MonkeyPatch) -> None:
    state = first(["a", "bc", "cab"])
    logits = np.random.default_rng(6).normal(size=VOCAB)
    rules = Rules(grammar=state, temperature=1.3, top_p=0.9)
    few = rules.law_of(logits).dense()
    assert state.few() is not None
    assert len(PIECES) <= FEW
    monkeypatch.setattr(State, "few", lambda self: None)
    np.testing.assert_array_equal(rules.law_of(logits).dense(), few)


def test_a_greedy_law_needs_no_logits_where_the_likeliest_token_is_allowed() -> None:
    row = Row(np.array([3.0, 1, 0, 2, 0, 0, 0, 9]))
    assert Rules(grammar=first(["a", "b"])).law(row, 0) == Point(0, VOCAB)
    assert row.asked == 1
    row = Row(np.array([3.0, 1, 0, 2, 0, 0, 0, 0]))
    assert Rules(grammar=first(["a", "b"])).law(row, 0) == Point(0, VOCAB)
    assert row.asked == 0


def test_nothing_left_is_an_error_and_not_a_law() -> None:
    ended = follow(first(["a"]), [0, END])
    for temperature in (0.0, 1.0):
        with pytest.raises(RuleError, match="no token that may follow"):
            Rules(grammar=ended, temperature=temperature).law(Row(np.zeros(VOCAB)), 0)


# --- immutability ---------------------------------------------------------------------------------------------------


def test_branches_know_nothing_of_each_other() -> None:
    """Each node of a tree allows what a fresh walk to it allows, in whatever order the nodes were visited."""
    generator = np.random.default_rng(7)
    for _ in range(60):
        words = random_words(generator)
        root = first(words)
        nodes: dict[tuple[int, ...], State] = {(): root}
        for _ in range(25):
            path = list(nodes)[int(generator.integers(len(nodes)))]
            token = int(generator.integers(VOCAB))
            nodes[(*path, token)] = nodes[path].after(token)
            if generator.random() < 0.5:
                allowed(nodes[list(nodes)[int(generator.integers(len(nodes)))]])
        for path, state in nodes.items():
            fresh = follow(first(words), path)
            assert allowed(state) == allowed(fresh)
            assert state.forced() == fresh.forced()


def test_a_child_is_found_again_and_let_go_in_the_end() -> None:
    root = grammars().first(StructuredOutputsParams(regex="(ab|c)*"))
    child = root.after(3)
    assert root.after(3) is child
    gone = weakref.ref(child)
    del child
    gc.collect()
    assert root.after(3) is gone()
    here = root
    for _ in range(RECENT):
        here = here.after(2)
    gc.collect()
    assert gone() is None
    assert allowed(root.after(3)) == {0, 2, 3, 5, 6, END}


def test_several_threads_may_ask_one_state() -> None:
    root = grammars().first(StructuredOutputsParams(regex="(ab|c){1,40}a"))
    expected = [allowed(follow(root, path)) for path in ([], [3], [2, 3], [3, 3, 2, 0])]
    shared = grammars().first(StructuredOutputsParams(regex="(ab|c){1,40}a"))
    wrong: list[object] = []

    def ask() -> None:
        for _ in range(50):
            found = [allowed(follow(shared, path)) for path in ([], [3], [2, 3], [3, 3, 2, 0])]
            if found != expected:
                wrong.append(found)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# --- pruning --------------------------------------------------------------------------------------------------------


def test_forbidden_drafts_are_dropped_with_all_below_them() -> None:
    rules = Rules(grammar=first(["abcab", "bcb"]))
    #         0: abc  1: ab  2: c   3: b   4: ab(bad) 5: below 2
    tree = DraftTree.of([5, 3, 2, 1, 3, 0], [-1, 0, -1, -1, 3, 2], "x")
    left = pruned(tree, rules)
    assert left.tokens == (5, 3, 1)
    assert left.parents == (-1, 0, -1)
    whole = DraftTree.of([5, 3, END], [-1, 0, 1], "x")
    assert pruned(whole, rules) is whole


def test_a_tree_with_laws_and_probes_stay() -> None:
    rules = Rules(grammar=first(["abcab"]))
    lawful = DraftTree.chain([2, 2], "x").with_point_laws(VOCAB)
    assert pruned(lawful, rules) is lawful
    probing = DraftTree.of([5, 2, 2], [-1, 0, 1], "x", probes=[False, True, True])
    assert pruned(probing, rules) is probing
    assert pruned(lawful, Rules()) is lawful


def test_pruning_never_drops_what_the_law_could_accept() -> None:
    generator = np.random.default_rng(8)
    dropped = 0
    for words, state, _ in random_places(300):
        text = longest_first("".join(words))[:5]
        size = int(generator.integers(1, 8))
        tokens = [int(generator.choice([*text, *range(VOCAB)])) for _ in range(size)]
        parents = [int(generator.integers(-1, node)) for node in range(size)]
        tree = DraftTree.of(tokens, parents, "x", score=list(range(size)))
        kept = set(pruned(tree, Rules(grammar=state)).score)
        for node in range(size):
            path = tree.path(node)
            here, obeys = state, True
            for step in path:
                obeys = obeys and here.allows(tokens[step])
                here = here.after(tokens[step])
            assert not obeys or float(node) in kept
            dropped += node not in kept
    assert dropped > 100
