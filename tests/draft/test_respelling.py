"""The parts of drafting in another vocabulary: spellings, the intersection, a long text that is settled."""

from __future__ import annotations

import numpy as np
import pytest

from foredraft.core.protocols import Query
from foredraft.draft.intersection import Intersection
from foredraft.draft.translate import TAIL, Respelt
from foredraft.draft.vocabularies import Vocabularies, whole
from foredraft.models.toy import ToyModel
from pieces import CONTROLS, HALVES, LETTERS, Pieces, draft_net


def test_tokens_are_spelt_by_equals_names_letters_and_bytes() -> None:
    assert [LETTERS.spell(token) for token in range(3)] == [(2,), (1,), (2, 1)]
    assert [HALVES.spell(token) for token in range(3)] == [(3,), (2,), (0,)]
    assert [CONTROLS.spell(token) for token in range(3)] == [(3,), (5,), (4,)]
    lacking = Vocabularies(
        Pieces((b"\xf0\x9f", b"x", b""), {2: "<odd>"}), Pieces((b"?", "\N{REPLACEMENT CHARACTER}".encode()))
    )
    assert [lacking.spell(token) for token in range(3)] == [(1,), (1,), (1,)]


def test_the_intersection_pairs_each_id_once() -> None:
    pair = Vocabularies(
        Pieces((b"a", b"a", b"b", b"", b""), {3: "<e>", 4: "<f>"}), Pieces((b"b", b"b", b"a", b""), {3: "<e>"})
    )
    ours, theirs = pair.shared
    assert list(zip(ours.tolist(), theirs.tolist(), strict=True)) == [(0, 2), (2, 0), (3, 3)]


@pytest.mark.parametrize(
    ("text", "length"), [(b"", 0), (b"ab", 2), (b"a\xc3", 1), ("é".encode(), 2), (b"\xe2\x82", 0), (b"\xf0\x9f\x98", 0)]
)
def test_a_character_cut_short_is_seen(text: bytes, length: int) -> None:
    assert whole(text) == length


@pytest.mark.parametrize("tokens", [6, 1, 5])
def test_a_long_text_is_settled_and_spells_the_same(tokens: int) -> None:
    """Fed in any pieces; what is settled never changes, and a round tokenises no more than the tail. One without white
    space, too.
    """
    target = Pieces((b"word", b" ", b" longer", b"\n", "é".encode(), b"<"))
    draft = Pieces((b"wo", b"rd", b" wo", b" l", b"onger", b"\n", "é".encode(), b"<", b" "))
    pair, generator = Vocabularies(target, draft), np.random.default_rng(0)
    text = [int(token) for token in generator.integers(0, tokens, size=900)]
    state, settled, at = Respelt(), list[int](), 0
    while at < len(text):
        at = min(len(text), at + int(generator.integers(1, 60)))
        ids, held = state.follow(text[:at], pair)
        assert b"".join(draft.pieces[token] for token in ids) == b"".join(target.pieces[token] for token in text[:at])
        assert not held
        assert state.settled[: len(settled)] == settled
        assert len(state.tail) <= TAIL
        settled = state.settled.copy()
    assert len(settled) > 600
    copy = state.copy()
    copy.follow([*text, 0, 0], pair)
    assert state.read == len(text)


def test_an_intersection_scores_trees_as_it_scores_paths() -> None:
    """Rows that are several rows of the draft model: a tree's logits are those of each path alone, kept rows too."""
    model = Intersection(ToyModel(draft_net(LETTERS), context=160), LETTERS, 3)
    cache = model.open()
    model.score([Query(cache, (2, 0, 2), (-1, 0, 1))])
    cache.keep(range(3))
    tokens, parents = (1, 2, 0, 2, 1), (-1, 0, 0, 1, 2)
    (scores,) = model.score([Query(cache, tokens, parents, tuple(range(5)), top=2)])
    paths = [(1,), (1, 2), (1, 0), (1, 2, 2), (1, 0, 1)]
    for row, path in enumerate(paths):
        (alone,) = model.score(
            [Query(fresh := model.open(), (2, 0, 2, *path), tuple(range(-1, 2 + len(path))), (2 + len(path),))]
        )
        np.testing.assert_allclose(scores.logits(row), alone.logits(2 + len(path)))
        assert scores.argmax(row) == scores.top(row)[0][0] == int(np.argmax(alone.logits(2 + len(path))))
        fresh.close()
    cache.keep((0, 1, 3))
    assert cache.length == 6
    copy = cache.fork()
    cache.trim(4)
    for one, length in ((cache, 6), (copy, 10)):  # ab a ab b, and then ab ab
        assert len(one.cache.path) == length  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="cannot be trimmed"):
        cache.trim(5)
