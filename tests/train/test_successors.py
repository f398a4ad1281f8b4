"""Tables counted from texts: by hand, against a slow twin, and from a file to a drafter that begins with them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from safetensors import safe_open

from foredraft.core.errors import UsageError
from foredraft.draft.recycling import Options, Recycling
from foredraft.models.tokenizer import Tokenizer, from_directory
from foredraft.models.tokens import PlainTokens
from foredraft.train.corpus import Speaker, Text, append, begin
from foredraft.train.successors import DISCOUNT, Counted, counted, make
from tiny import write_tokenizer


def text(prompt: tuple[int, ...], response: tuple[int, ...]) -> Text:
    return Text("x", "t", prompt, response)


def test_a_count_by_hand() -> None:
    """Prompt 7 9 8, response 1 2 1 3, and once more 1 2: after 1 came 2 twice and 3 once, and nothing counts within the
    prompt."""
    rows = counted([text((7, 9, 8), (1, 2, 1, 3)), text((), (1, 2))], contexts=99, width=2)
    found = {context: dict(zip(tokens, probs, strict=True)) for context, tokens, probs in rows}
    assert found == {
        (8,): {1: 0.5},
        (9, 8): {1: 0.5},
        (7, 9, 8): {1: 0.5},
        (1,): {2: 1.5 / 3, 3: 0.5 / 3},
        (8, 1): {2: 0.5},
        (9, 8, 1): {2: 0.5},
        (2,): {1: 0.5},
        (1, 2): {1: 0.5},
        (2, 1): {3: 0.5},
        (8, 1, 2): {1: 0.5},
        (1, 2, 1): {3: 0.5},
    }
    assert rows[-1][0] == (1,), "what was met most often stands last, where it is forgotten last"
    assert [context for context, _, _ in counted([text((), (1, 2, 1, 3, 1, 2))], contexts=2, width=1)] == [(1, 2), (1,)]


def slow(texts: list[Text]) -> dict[tuple[int, ...], dict[int, float]]:
    """Every pair of a context and what followed, told one by one."""
    pairs = [
        (whole[end - size : end], whole[end])
        for one in texts
        for whole in [(*one.prompt, *one.response)]
        for end in range(len(one.prompt), len(whole))
        for size in (1, 2, 3)
        if end >= size
    ]
    seen = {context: [token for other, token in pairs if other == context] for context, _ in pairs}
    return {
        context: {token: (after.count(token) - DISCOUNT) / len(after) for token in set(after)}
        for context, after in seen.items()
    }


def test_a_thousand_texts_are_counted_as_by_a_slow_twin() -> None:
    chance = random.Random(3)
    for _ in range(100):
        texts = [
            text(tuple(chance.choices(range(5), k=chance.randrange(4))), tuple(chance.choices(range(5), k=9)))
            for _ in range(10)
        ]
        expected = slow(texts)
        rows: list[Counted] = counted(texts, contexts=10_000, width=5)
        assert {context: dict(zip(tokens, probs, strict=True)) for context, tokens, probs in rows} == expected
        assert all(list(probs) == sorted(probs, reverse=True) for _, _, probs in rows)
        few = counted(texts, contexts=7, width=2)
        assert few == [(context, tokens[:2], probs[:2]) for context, tokens, probs in rows[-7:]]


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    write_tokenizer(folder)
    return from_directory(folder)


def texts_file(path: Path, texts: list[Text]) -> Path:
    begin(path, Speaker("somebody", "f" * 64))
    append(path, texts)
    return path


def test_a_table_made_of_a_file_is_begun_with(tmp_path: Path, tokenizer: Tokenizer) -> None:
    texts, out = texts_file(tmp_path / "texts", [text((1, 2), (3, 4, 3, 4))]), tmp_path / "table"
    assert make(texts, tokenizer, out, target="another", contexts=100, width=4) == 10
    with safe_open(out, framework="numpy") as file:
        facts = file.metadata()
    assert (facts["target"], facts["texts"], facts["tokens"]) == ("somebody", "1", "4")
    table = Recycling(Options(file=str(out)), PlainTokens(tokenizer))._start
    assert table is not None
    assert table.draft([2], 3, 3, float("-inf"))[0][:2] == [3, 4]


@pytest.mark.parametrize(
    ("texts", "options", "says"),
    [
        ([], {}, "there are no texts in .*: make some by `foredraft train data`"),
        ([text((1,), (10**6,))], {}, "has token 1000000, which the target's .* tokens lack: give the model that spoke"),
        ([text((1,), (2,))], {"contexts": 0}, "contexts must be from 1 to 100000, not 0"),
        ([text((1,), (2,))], {"width": 65}, "width must be from 1 to 64, not 65"),
    ],
)
def test_what_cannot_be_counted_is_one_sentence(
    tmp_path: Path, tokenizer: Tokenizer, texts: list[Text], options: dict[str, int], says: str
) -> None:
    wanted = {"contexts": 10, "width": 4} | options
    with pytest.raises(UsageError, match=says):
        make(texts_file(tmp_path / "texts", texts), tokenizer, tmp_path / "table", target="x", **wanted)
    assert not (tmp_path / "table").exists()
