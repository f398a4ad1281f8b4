"""Drafting in another vocabulary, on vocabularies of a few tokens whose every rule can be seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from cases import net_logits
from foredraft.core.errors import UsageError
from foredraft.core.law import Point
from foredraft.core.protocols import Ask, Budget, Draw, Model, Needs, Request
from foredraft.core.rules import Rules
from foredraft.core.stream import KeyedStream, Purpose
from foredraft.core.tree import EMPTY, ROOT, DraftTree
from foredraft.draft import specify
from foredraft.draft.family import Provided
from foredraft.draft.translate import LOOK_BACK, Respelt, Slem, Tli
from foredraft.draft.vocabularies import Vocabularies
from foredraft.models.toy import Tables, ToyModel
from foredraft.testing.drafters import DrafterChecks, MakeDrafter
from pieces import LETTERS, PAIRS, Pieces, draft_net


class Kit(DrafterChecks):
    @pytest.fixture
    def target(self) -> Model:
        return ToyModel(Tables.random(3, order=1, seed=11, scale=1.2))


@pytest.mark.parametrize("pair", PAIRS)
class TestSlem(Kit):
    @pytest.fixture
    def make_drafter(self, pair: str) -> MakeDrafter:
        return lambda: Slem(ToyModel(draft_net(PAIRS[pair]), context=160), PAIRS[pair])


@pytest.mark.parametrize("pair", PAIRS)
class TestTli(Kit):
    exact_tokens = 2

    @pytest.fixture
    def make_drafter(self, pair: str) -> MakeDrafter:
        return lambda: Tli(ToyModel(draft_net(PAIRS[pair]), context=160), PAIRS[pair])


# --- worked by hand -------------------------------------------------------------------------------------------------


class Writes(Slem):
    """A draft model that writes given tokens: only what is made of them is looked at."""

    def __init__(self, pair: Vocabularies, tokens: Sequence[int]) -> None:
        table = np.full((160, pair.draft.size), 0.0)
        self.start: int | None = None
        super().__init__(ToyModel(Tables.random(pair.draft.size, order=0, seed=0, context=160), context=160), pair)
        self.tokens, self.table = tokens, table

    def propose(self, asks: Sequence[Ask[Any]]) -> list[DraftTree]:
        for ask in asks:
            length = len(Respelt().follow(ask.committed, self.vocabularies)[0])
            positions = np.zeros((160, self.vocabularies.draft.size))
            for place, token in enumerate(self.tokens):
                positions[length - 1 + place, token] = 20.0
            net = Tables(
                (np.zeros((positions.shape[1] + 1, positions.shape[1])),), (0,), positions, np.eye(positions.shape[1])
            )
            self.model = ToyModel(net, context=160)
            ask.state.draft.cache.path.clear()
            ask.state.draft.cached.clear()
            ask.state.draft.sure = 0
        return super().propose(asks)


def written(pair: Vocabularies, committed: Sequence[int], tokens: Sequence[int], depth: int = 9) -> DraftTree:
    drafter = Writes(pair, tokens)
    state = drafter.open(Request(tuple(committed), 0))
    stream, size = KeyedStream(0).at(0), pair.target.size
    room = min(depth, len(tokens))
    (tree,) = drafter.propose([Ask(state, list(committed), Rules(), Budget(room, room), "coupled", stream, size)])
    return tree


WORDS = Pieces(
    (b"hel", b"lo", b"hello", b" wor", b"ld", b" world", b"!", b"h", b"e", b"l", b"o", b"", b"d"), {11: "<end>"}
)
DRAFT = Pieces((b"h", b"ello", b" w", b"or", b"l", b"d!", b"", b"lo", b"hel", b"d"), {6: "<end>"})
PAIR = Vocabularies(WORDS, DRAFT)


def test_drafted_text_is_tokenised_as_the_target_would() -> None:
    """After "hello" the draft model writes " w" "or" "l" "d!": for the target that is " world" "!".

    The scores are those of the draft tokens read so far: all four for both, for the third ends inside " world".
    """
    tree = written(PAIR, (2,), (2, 3, 4, 5))
    assert [WORDS.pieces[token] for token in tree.tokens] == [b" world", b"!"]
    assert tree.score[0] == tree.score[1] == pytest.approx(4 * -math.log1p(9 * math.exp(-20)))


def test_what_is_committed_stands() -> None:
    """After "hel" the draft model writes "lo": tokenised together that is "hello", but "hel" has been said."""
    assert written(PAIR, (0,), (7,)).tokens == (1,)


def test_an_end_of_the_text_is_translated_by_name() -> None:
    assert written(PAIR, (2,), (2, 3, 4, 9, 6)).tokens == (5, 11)
    assert written(Vocabularies(Pieces(WORDS.pieces, {11: "<stop>"}), DRAFT), (2,), (2, 3, 4, 9, 6)).tokens == (5,)


def test_half_a_character_is_held_back() -> None:
    """The target has said the first byte of é. The draft model has read nothing of it: "é" goes on with the second."""
    target = Pieces((b"a", b"\xc3", b"\xa9", "é".encode()))
    pair = Vocabularies(target, Pieces((b"a", "é".encode(), b"\xc3", b"\xa9")))
    assert Respelt().follow((0, 1), pair) == ([0], b"\xc3")
    assert written(pair, (0, 1), (1, 0)).tokens == (2, 0)
    assert written(pair, (0, 1), (0,)) == EMPTY  # no character begins like that
    assert written(pair, (0,), (0, 2)).tokens == (0,)  # and what is drafted waits for its second half
    assert written(pair, (0,), (0, 2, 3)).tokens == (0, 3)


def test_tokens_of_the_intersection_are_drafted_with_their_law() -> None:
    """Draft logits 1, 2, 3, 4 and 9 of ba, b, a, aa and c: the target knows b and a, with odds e^2 : e^3."""
    zero = np.zeros((6, 5))
    net = Tables((zero,), (0,), np.tile([1.0, 2.0, 3.0, 4.0, 9.0], (64, 1)), np.eye(5))
    drafter = Tli(ToyModel(net), LETTERS)
    state = drafter.open(Request((2,), 0))
    ask = Ask(state, [2], Rules(temperature=1.0), Budget(1, 1), "sampled", KeyedStream(0).at(0), 3)
    (tree,) = drafter.propose([ask])
    expected = np.array([math.e**3, math.e**2, 0]) / (math.e**3 + math.e**2)
    assert tree.laws[0] is not None
    np.testing.assert_allclose(tree.laws[0].dense(), expected, rtol=1e-12)


# --- slow twins -----------------------------------------------------------------------------------------------------


def spelt(pair: Vocabularies, text: Sequence[int]) -> tuple[list[int], bytes]:
    """The text in draft tokens, and half a character at its end, all read anew."""
    ids, run = list(pair.draft.begin), b""
    for token in text:
        if token in pair.target.controls:
            ids += pieces(pair, run)
            named = [other for other, name in pair.draft.controls.items() if name == pair.target.controls[token]]
            ids, run = ids + named, b""
        else:
            run += pair.target.token_bytes(token) or b""
    held = next((n for n in (1, 2, 3) if n <= len(run) and run[-n] >= 0xC0 and n < (2 if run[-n] < 0xE0 else 3)), 0)
    return ids + pieces(pair, run[: len(run) - held]), run[len(run) - held :]


def pieces(pair: Vocabularies, run: bytes) -> list[int]:
    if not run:
        return []
    ids = pair.draft.encode(run.decode("utf-8", "replace"))
    bare = pair.draft.encode(run[1:].decode("utf-8", "replace"))
    twice = b"".join(pair.draft.token_bytes(token) or b"" for token in ids) == b" " + run
    return bare if run.startswith(b" ") and twice else ids


def slow_slem(net: Tables, pair: Vocabularies, text: Sequence[int], depth: int) -> dict[tuple[int, ...], float]:
    """path -> score, by decoding from scratch, and by reading off what each number of tokens spells."""
    ids, held = spelt(pair, text)
    said, total, bytes_at = b"", 0.0, list[tuple[int, float]]()
    end: str | None = None
    for _ in range(depth if ids else 0):
        logits = net_logits(net, ids)
        best = int(np.argmax(logits))
        total += float(logits[best] - np.log(np.exp(logits).sum()))
        ids.append(best)
        if best in pair.draft.controls:
            end = pair.draft.controls[best]
            break
        said += pair.draft.token_bytes(best) or b""
        bytes_at.append((len(said), total))
    if not said.startswith(held):
        return {}
    said, target = said[len(held) :], pair.target
    context = b""
    for token in [*text][::-1][:LOOK_BACK]:
        if token in target.controls:
            break
        context = (target.token_bytes(token) or b"") + context
    while context and 0x80 <= context[0] < 0xC0:
        context = context[1:]
    found = joined(target, context, said)
    if found is None:
        lead = next((n for n, byte in enumerate(said) if not 0x80 <= byte < 0xC0), len(said))
        singles = [
            [token for token in range(target.size) if target.token_bytes(token) == bytes([b])] for b in said[:lead]
        ]
        rest = joined(target, b"", said[lead:])
        found = [*(one[0] for one in singles), *rest] if all(singles) and rest is not None else []
    out: dict[tuple[int, ...], float] = {}
    for n in range(1, len(found) + 1):
        size = len(b"".join(target.token_bytes(token) or b"" for token in found[:n])) + len(held)
        out[tuple(found[:n])] = next(score for at, score in bytes_at if at >= size)
    complete = b"".join(target.token_bytes(token) or b"" for token in found) == said
    ending = [token for token, name in target.controls.items() if name == end]
    if ending and complete:
        out[(*found, ending[0])] = total
    return {path: score for path, score in out.items() if len(path) <= depth}


def joined(target: Any, before: bytes, said: bytes) -> list[int] | None:
    """The tokens of `said` when it is tokenised after `before`; None where that is not possible."""
    if not is_utf8(before + said):
        return None
    all_of_it = (before + said).decode("utf-8", "ignore")
    tokens = target.encode(all_of_it)
    made = [b"".join(target.token_bytes(token) or b"" for token in tokens[:n]) for n in range(len(tokens) + 1)]
    return tokens[made.index(before) :] if made[-1] == all_of_it.encode() and before in made else None


def is_utf8(text: bytes) -> bool:
    """Whole characters, but perhaps for the last."""
    return any(decodes(text[: len(text) - n]) for n in (0, 1)) and (decodes(text) or text[-1] >= 0xC0)


def decodes(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def contexts(pair: Vocabularies, count: int) -> list[list[int]]:
    generator = np.random.default_rng(pair.draft.size)
    return [[int(t) for t in generator.integers(0, pair.target.size, size=1 + n % 16)] for n in range(count)]


@pytest.mark.parametrize("name", PAIRS)
def test_hundreds_of_texts_are_translated_as_by_hand(name: str) -> None:
    """A thousand for the three pairs. The second round of each finds a cache of a text that went another way."""
    pair, drafted = PAIRS[name], 0
    for case, text in enumerate(contexts(pair, 167)):
        net = draft_net(pair, seed=case % 10, scale=2.0)
        drafter = Slem(ToyModel(net, context=160), pair)
        state = drafter.open(Request(tuple(text), 0))
        for more in ((), (case % pair.target.size, 1)):
            text = [*text, *more]
            depth = 1 + case % 6
            ask = Ask(state, text, Rules(), Budget(depth, depth), "coupled", KeyedStream(0).at(0), pair.target.size)
            (tree,) = drafter.propose([ask])
            paths = {
                tuple(tree.tokens[step] for step in tree.path(node)): tree.score[node] for node in range(len(tree))
            }
            assert paths == pytest.approx(slow_slem(net, pair, text, depth)), (text, depth)
            drafted += len(tree) > 0
    assert drafted > 60


@pytest.mark.parametrize("draw", ["coupled", "sampled"])
@pytest.mark.parametrize("name", PAIRS)
def test_hundreds_of_laws_are_restricted_as_by_hand(name: str, draw: Draw) -> None:
    pair, nodes = PAIRS[name], 0
    ours, theirs = pair.shared
    for case, text in enumerate(contexts(pair, 84)):
        net = draft_net(pair, seed=case % 10, scale=2.0)
        drafter = Tli(ToyModel(net, context=160), pair)
        state = drafter.open(Request(tuple(text), 0))
        for more in ((), (case % pair.target.size, 1)):
            text = [*text, *more]
            stream = KeyedStream(case).at(len(text) - len(state.request.prompt))
            ask = Ask(state, text, Rules(temperature=0.7), Budget(3, 3), draw, stream, pair.target.size)
            (tree,) = drafter.propose([ask])
            for node, token in enumerate(tree.tokens):
                above = [tree.tokens[step] for step in tree.path(node)[:-1]]
                logits = net_logits(net, one_by_one(pair, [*text, *above]))
                weights = np.zeros(pair.target.size)
                weights[ours] = np.exp(logits[theirs] / 0.7)
                law, carried = weights / weights.sum(), tree.laws[node]
                if draw == "sampled":
                    assert carried is not None
                    np.testing.assert_allclose(carried.dense(), law, atol=1e-12)
                elif node == tree.children(tree.parents[node])[0]:
                    point = carried if carried is not None else Rules(temperature=1.0).law_of(np.log(law + 1e-300))
                    assert token == stream.ahead(len(above)).draw(point, Purpose.TARGET)
                nodes += 1
    assert nodes > 300


def one_by_one(pair: Vocabularies, text: Sequence[int]) -> list[int]:
    """Every target token spelt by itself, after what the draft model wants at the beginning."""
    ids = list(pair.spell(text[0]))
    return [
        *(() if tuple(ids[:1]) == pair.draft.begin else pair.draft.begin),
        *ids,
        *(t for one in text[1:] for t in pair.spell(one)),
    ]


@pytest.mark.parametrize("make", [Slem, Tli])
def test_it_tells_how_much_its_model_has_to_read(make: type[Slem] | type[Tli]) -> None:
    drafter: Any = make(ToyModel(draft_net(LETTERS), context=160), LETTERS)
    assert drafter.needs.reads
    text = [2, 0, 1, 2]
    state = drafter.open(Request(tuple(text), 0))
    assert drafter.behind(state, text) == 4
    drafter.propose([Ask(state, text, Rules(), Budget(1, 1), "coupled", KeyedStream(0), 3)])
    assert drafter.behind(state, text) == 0
    assert drafter.behind(state, [*text, 1]) in (0, 1)


def test_sampled_drafts_of_a_text_carry_point_laws() -> None:
    drafter = Slem(ToyModel(draft_net(LETTERS), context=160), LETTERS)
    ask = Ask(drafter.open(Request((0,), 0)), [0], Rules(), Budget(4, 4), "sampled", KeyedStream(0).at(0), 3)
    (tree,) = drafter.propose([ask])
    assert tree.laws == tuple(Point(token, 3) for token in tree.tokens)
    assert len(tree.children(ROOT)) == 1


def test_how_it_is_written() -> None:
    spec = specify("translate:smollm2,k=6")
    assert spec.needs == Needs(model="smollm2", tokenizer=True, other_vocabulary=True)
    assert (spec.options.method, spec.num_speculative_tokens) == ("slem", 6)
    model = ToyModel(draft_net(LETTERS))
    provided = Provided(model=model, tokenizer=LETTERS.target, second_tokenizer=LETTERS.draft)
    assert isinstance(spec.family.build(spec.options, provided), Slem)
    assert isinstance(spec.family.build(specify("translate:smollm2,method=tli").options, provided), Tli)
    with pytest.raises(UsageError, match="method of drafter 'translate' must be slem or tli, not 'slrs'"):
        specify("translate:smollm2,method=slrs")
    with pytest.raises(UsageError, match="drafter 'translate' needs a draft model and both tokenizers"):
        spec.family.build(spec.options, Provided(model=model))
