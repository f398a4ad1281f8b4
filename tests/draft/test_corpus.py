"""Retrieval against a search of the plain list, the suffix array against sorting, and files that are refused."""

from __future__ import annotations

import json
import math
from array import array
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foredraft.core.errors import UsageError
from foredraft.core.law import Point
from foredraft.core.protocols import Ask, Budget, Draw, Request
from foredraft.core.rules import Rules
from foredraft.core.stream import KeyedStream
from foredraft.core.tree import EMPTY, DraftTree, check
from foredraft.draft import matches, specify
from foredraft.draft.corpus import DOUBT, FAMILY, Corpus, CorpusState, Options
from foredraft.draft.datastore import SORTED, Datastore, load, suffix_array
from foredraft.draft.family import Provided
from foredraft.draft.history import REACH

VOCAB = 6


class Letters:
    """A vocabulary of single letters; others are left out."""

    def __init__(self, letters: str = "abcdef") -> None:
        self.letters = letters
        self.size = len(letters)

    def encode(self, text: str) -> list[int]:
        return [self.letters.index(letter) for letter in text if letter in self.letters]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self.letters[token] for token in ids)

    def token_bytes(self, token: int) -> bytes | None:
        return self.letters[token].encode()


@pytest.fixture(params=["native", "python"])
def twin(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each twin in turn, whichever was chosen."""
    chosen = pytest.importorskip("foredraft._native") if request.param == "native" else matches
    monkeypatch.setattr("foredraft.draft.corpus.TWINS", chosen)


def corpus_of(text: Sequence[int], **options: Any) -> Corpus:
    ids = np.array(text, dtype=np.int32)
    return Corpus(Options("texts", **options), Datastore(ids, suffix_array(ids)))


def built(path: Path, letters: str = "abcdef", **options: Any) -> Corpus:
    drafter = FAMILY.build(Options(str(path), **options), Provided(tokenizer=Letters(letters)))
    assert isinstance(drafter, Corpus)
    return drafter


def draft(drafter: Corpus, text: Sequence[int], rows: int = 8, depth: int = 8, draw: Draw = "coupled") -> DraftTree:
    state = drafter.open(Request(tuple(text), 0))
    ask: Ask[CorpusState] = Ask(state, list(text), Rules(), Budget(rows, depth), draw, KeyedStream(0), VOCAB)
    (tree,) = drafter.propose([ask])
    check(tree, VOCAB, rows, depth, needs_laws=draw == "sampled")
    return tree


def paths(tree: DraftTree) -> dict[tuple[int, ...], float]:
    """Each path and its chance, in the order of the nodes."""
    tokens = [tuple(tree.tokens[step] for step in tree.path(node)) for node in range(len(tree))]
    return dict(zip(tokens, map(math.exp, tree.score), strict=True))


def retrieved(store: list[int], text: list[int], n: int, least: int, depth: int, min_prob: float) -> dict[Any, float]:
    """Every path and its chance, by looking through the list: the longest context that is there at all decides."""
    for size in range(min(n, len(text)), least - 1, -1):
        ends = [end for end in range(size, len(store) + 1) if store[end - size : end] == text[-size:]]
        if ends:
            break
    else:
        return {}
    follows = [tuple(store[end : end + depth]) for end in ends]
    follows = [one[: one.index(-1)] if -1 in one else one for one in follows]
    counts = Counter(one[:length] for one in follows for length in range(1, len(one) + 1))
    found: dict[Any, float] = {}
    for path in sorted(counts, key=len):
        going = sum(count for other, count in counts.items() if other[:-1] == path[:-1])
        above = found.get(path[:-1], 0.0) if len(path) > 1 else 1.0
        chance = above * counts[path] / (going + DOUBT / (size + len(path) - 1))
        if chance >= min_prob:
            found[path] = chance
    return found


@pytest.mark.usefixtures("twin")
def test_a_thousand_trees_are_those_of_looking_through_the_list() -> None:
    generator = np.random.default_rng(4)
    drafted = branched = 0
    for index in range(1000):
        vocab = int(generator.integers(2, VOCAB + 1))
        store = generator.integers(-1 if index % 2 else 0, vocab, size=int(generator.integers(1, 60))).tolist()
        text = generator.integers(0, vocab, size=int(generator.integers(1, 9))).tolist()
        rows, depth, n, least = (int(one) for one in generator.integers((1, 1, 1, 1), (16, 6, 7, 3)))
        least, min_prob = min(n, least), float(generator.choice([0.0213, 0.1007]))
        tree = draft(corpus_of(store, n=n, min=least, min_prob=min_prob), text, rows, depth)
        found = paths(tree)
        expected = retrieved(store, text, n, least, depth, min_prob)
        assert len(found) == len(tree) == min(rows, len(expected))
        assert found == pytest.approx({path: expected[path] for path in found}, rel=1e-12)
        assert sorted(found.values()) == pytest.approx(sorted(expected.values())[len(expected) - len(found) :])
        drafted += bool(found)
        branched += len({path[:-1] for path in found}) < len(found)
    assert drafted > 700
    assert branched > 300


@pytest.mark.usefixtures("twin")
def test_the_papers_steps_by_hand() -> None:
    """REST, section 3: the longest suffix with a match, its continuations as a trie, the nodes of most places first.

    The end of `5 1 2` stands nowhere with three tokens; `1 2` stands four times, followed by 3 4, 3 4, 3 5 and 0. Three
    places go on with 3, two with 3 4, one each with 3 5 and 0.
    """
    drafter = corpus_of([1, 2, 3, 4, -1, 1, 2, 3, 4, -1, 1, 2, 3, 5, -1, 1, 2, 0, -1])
    tree = draft(drafter, [5, 1, 2], depth=2)
    assert list(paths(tree))[:2] == [(3,), (3, 4)]
    assert set(list(paths(tree))[2:]) == {(3, 5), (0,)}
    assert draft(drafter, [5, 1, 2], rows=2, depth=2).tokens == (3, 4)
    assert math.exp(tree.score[0]) == pytest.approx(3 / (4 + DOUBT / 2))


def test_what_the_file_does_not_have_is_not_drafted() -> None:
    drafter = corpus_of([1, 2, 3, -1])
    assert draft(drafter, [2]) is EMPTY  # shorter than `min`
    assert draft(drafter, [2, 2]) is EMPTY
    assert draft(drafter, [2, 3]) is EMPTY  # nothing follows
    assert draft(drafter, [1, 2], draw="sampled").laws == (Point(3, VOCAB),)


def test_what_is_not_worth_its_row_is_not_drafted() -> None:
    drafter = corpus_of([1, 2, 3, -1, 1, 2, 3, -1, 1, 2, 4, -1])
    for gain, tokens in ((0.0, (3, 4)), (0.3, (3,)), (0.9, ())):
        ask: Ask[CorpusState] = Ask(
            CorpusState(), [1, 2], Rules(), Budget(8, 1, min_gain=gain), "coupled", KeyedStream(0), VOCAB
        )
        assert drafter.propose([ask])[0].tokens == tokens


def test_of_many_places_an_even_sample_counts() -> None:
    store = [token for index in range(8 * REACH) for token in (1, 2, 3 + (index % 4 == 0), 0)]
    drafter = corpus_of(store)
    assert len(drafter._places(array("i", [1, 2]))) == REACH
    tree = draft(drafter, [5, 1, 2], depth=1)
    assert tree.tokens == (3, 4)
    assert math.exp(tree.score[1]) == pytest.approx(0.25, abs=0.02)


# --- the index --------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(-1, 3), max_size=80), st.sampled_from([1, 2, 4, 8, 64]))
def test_a_suffix_array_is_the_sorted_places(text: list[int], width: int) -> None:
    found = suffix_array(np.array(text, dtype=np.int32), width).tolist()
    assert found == sorted(range(len(text)), key=lambda place: (text[place : place + width], place))


def test_a_file_is_sorted_once_and_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("abcabd")
    assert draft(built(path), [0, 1], depth=1).tokens == (3, 2)
    (index,) = tmp_path.glob("*.corpus")
    written = index.stat().st_mtime_ns
    built(path)
    assert index.stat().st_mtime_ns == written
    path.write_text("abf")
    assert draft(built(path), [0, 1], depth=1).tokens == (5,)
    assert len(list(tmp_path.glob("*.corpus"))) == 2
    built(path, letters="fedcba")  # another vocabulary
    assert len(list(tmp_path.glob("*.corpus"))) == 3
    (tmp_path / "elsewhere").mkdir()
    built(path, cache=str(tmp_path / "elsewhere"))
    assert len(list(tmp_path.glob("elsewhere/*.corpus"))) == 1


def test_json_lines_hold_texts_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    lines = ["abc", {"text": "def"}, {"turns": ["fa", "bd"]}, {"text": ""}]
    path.write_text("\n\n".join(map(json.dumps, lines)) + "\n")
    assert load(path, tmp_path, Letters()).text.tolist() == [0, 1, 2, -1, 3, 4, 5, -1, 5, 0, -1, 1, 3, -1]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.txt", b"", "{} holds no text: give a file with some"),
        ("x.txt", b"\xff\xfe", "{} is not UTF-8 text: convert it, or give another"),
        ("x.jsonl", b'"ab"\n{"id": 1}\n', 'line 2 of {} holds no text: write a JSON string, {{"text": …}} or turns'),
        ("x.jsonl", b'"ab"\n{"text": [1]}', 'line 2 of {} holds no text: write a JSON string, {{"text": …}} or turns'),
        ("x.jsonl", b"no json", 'line 1 of {} holds no text: write a JSON string, {{"text": …}} or turns'),
    ],
)
def test_files_without_texts_are_refused(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(UsageError) as refused:
        built(path)
    assert str(refused.value) == message.format(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_file_or_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read .No such file or directory.: give a text file or JSON lines"):
        built(tmp_path / "no.txt")
    path = tmp_path / "texts.txt"
    path.write_text("abc")
    with pytest.raises(UsageError, match="cannot be written .No such file or directory.: choose another place"):
        built(path, cache=str(tmp_path / "no"))


def test_a_damaged_index_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("abcabd")
    built(path)
    (index,) = tmp_path.glob("*.corpus")
    data = index.read_bytes()
    for wrong in (data[:-4], data[:-1] + b"\1", data[: len(data) // 2], b"", data + b"\0\0\0\0"):
        index.write_bytes(wrong)
        with pytest.raises(UsageError) as refused:
            built(path)
        assert str(refused.value).startswith(f"{index} is ")
        assert index.read_bytes() == wrong


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("corpus", "drafter 'corpus' needs file: write corpus:file=…"),
        ("corpus:file=", "drafter 'corpus' needs file: write corpus:file=…"),
        ("corpus:x,min=0", f"corpus needs 1 <= min <= n <= {SORTED}, not min=0 and n=16"),
        ("corpus:x,n=99", f"corpus needs 1 <= min <= n <= {SORTED}, not min=2 and n=99"),
        ("corpus:x,min_prob=2", "min_prob of corpus must be from 0 to 1, not 2"),
    ],
)
def test_options_out_of_range_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        specify(text)
    assert str(refused.value) == message


def test_without_a_tokenizer_it_cannot_be_built() -> None:
    with pytest.raises(UsageError, match="drafter 'corpus' needs the target's tokenizer: build it for a target"):
        FAMILY.build(Options("x"), Provided())
