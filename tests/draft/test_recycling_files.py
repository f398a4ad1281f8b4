"""Tables of successors on disk: begun with, saved, those of the package, and files that are refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from foredraft.core.errors import UsageError
from foredraft.core.protocols import Request
from foredraft.draft import shipped
from foredraft.draft.files import vocabulary_of
from foredraft.draft.recycling import Options, Recycling
from foredraft.draft.successor_file import load
from foredraft.models.sources import resolve
from foredraft.models.tokenizer import Tokenizer
from foredraft.models.tokens import PlainTokens
from letters import Letters
from recycled import ask, rows_of


def test_a_vocabulary_that_has_a_table_begins_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path / "letters")
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    assert Recycling(Options(), Letters()).open(Request((1,), 0)).table.base is None
    monkeypatch.setitem(shipped.TABLES, vocabulary_of(Letters(), shipped.SAMPLE), "letters")
    drafter = Recycling(Options(), Letters())
    (tree,) = drafter.propose([ask(drafter.open(Request((2,), 0)), [2])])
    assert tree.tokens[0] == 3
    for options, vocabulary in ((Options(file="none"), Letters()), (Options(), Letters("abcdeg")), (Options(), None)):
        assert Recycling(options, vocabulary).open(Request((1,), 0)).table.base is None


@pytest.mark.parametrize("name", shipped.TABLES.values())
def test_the_tables_of_the_package_are_whole_and_say_where_they_come_from(name: str) -> None:
    path = shipped.FOLDER / name
    assert path.stat().st_size < 2.5e6
    assert len(load(path, None, 200_000, 3, 8).contexts) == 40_000
    with safe_open(path, framework="numpy") as file:
        facts = file.metadata()
    assert facts["target"] == path.stem
    assert shipped.TABLES[facts["sample"]] == name
    assert int(facts["texts"]) > 10_000
    assert int(facts["tokens"]) > 9e5
    assert len(facts["texts_sha256"]) == 64


def saved(path: Path) -> Recycling:
    drafter = Recycling(Options(save=str(path)), Letters())
    drafter.close(drafter.open(Request((1, 2, 3, 1, 4), 0, tenant="somebody")))
    assert not path.exists(), "a tenant's table is not for everybody"
    drafter.close(drafter.open(Request((1, 2, 3, 1, 4), 0)))
    return drafter


def test_a_saved_table_is_begun_with_again(tmp_path: Path) -> None:
    path = tmp_path / "table"
    kept = rows_of(saved(path).open(Request((1,), 0)).table.base)
    for tenant in ("", "a"):
        drafter = Recycling(Options(file=str(path)), Letters())
        found = rows_of(drafter.open(Request((1,), 0, tenant=tenant)).table.base)
        assert {context: row.tokens for context, row in found.items()} == {
            context: row.tokens for context, row in kept.items()
        }
        assert all(row.probs == pytest.approx(kept[context].probs) for context, row in found.items())
    narrow = rows_of(
        Recycling(Options(file=str(path), context=1, width=1), Letters()).open(Request((1,), 0)).table.base
    )
    assert {context: row.tokens for context, row in narrow.items()} == {(2,): (3,), (3,): (1,), (1,): (4,)}
    again = Recycling(Options(file=str(path), prompt=False), Letters())
    again.close(again.open(Request((1,), 0)))
    again.save(tmp_path / "again")
    assert load_file(tmp_path / "again")["tokens"].tolist() == load_file(path)["tokens"].tolist()
    assert [file.name for file in tmp_path.iterdir()] in (["table", "again"], ["again", "table"])


def test_files_that_do_not_fit_are_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "table"
    with pytest.raises(UsageError, match=r"there is no table of successors at .*: save one first"):
        Recycling(Options(file=str(path)), Letters())
    saved(path)
    for other in (Letters("abcdeg"), Letters("abcdefg")):
        with pytest.raises(UsageError, match="are of another vocabulary: use a table saved with this model"):
            Recycling(Options(file=str(path)), other)
    whole = path.read_bytes()
    for damaged in (b"", whole[:50], whole[:-3], b"\0" * 100, whole[:8] + b"x" + whole[9:]):
        path.write_bytes(damaged)
        with pytest.raises(UsageError, match="or a damaged one"):
            Recycling(Options(file=str(path)), Letters())


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": np.array([[9]] * 5, np.int32)},
        {"tokens": np.zeros((5, 2), np.float32)},
        {"tokens": np.array([[1, 1]] * 5, np.int32)},
        {"tokens": np.array([[-1, 1]] * 5, np.int32)},
        {"tokens": np.zeros((4, 2), np.int32)},
        {"probs": np.full((5, 2), math.nan, np.float32)},
        {"probs": np.array([[0.1, 0.4]] * 5, np.float32)},
        {"probs": np.array([[1.5, 0.4]] * 5, np.float32)},
        {"contexts": np.array([[1, -1]] * 5, np.int32)},
        {"contexts": np.array([[-2, 1]] * 5, np.int32)},
        {"contexts": np.zeros((5,), np.int32)},
    ],
)
def test_arrays_that_are_no_successors_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "table"
    saved(path)
    header = path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")]
    arrays, facts = load_file(path), json.loads(header)["__metadata__"]
    assert all(name in arrays for name in change)
    save_file(arrays, path, facts)
    Recycling(Options(file=str(path)), Letters())
    save_file(arrays | change, path, facts)
    with pytest.raises(UsageError, match="or a damaged one"):
        Recycling(Options(file=str(path)), Letters())
    save_file(arrays, path, facts | {"format": "another"})
    with pytest.raises(UsageError, match="it is in another format"):
        Recycling(Options(file=str(path)), Letters())


class Numbers:
    """A large vocabulary, of which one token is spelt as asked."""

    size = 20_000

    def __init__(self, odd: str = "") -> None:
        self.odd = odd

    def token_bytes(self, token: int) -> bytes | None:
        return (self.odd if token == 12_345 else str(token)).encode()


def test_every_token_of_a_vocabulary_counts(tmp_path: Path) -> None:
    path = tmp_path / "table"
    drafter = Recycling(Options(save=str(path)), Numbers())  # type: ignore[arg-type]
    drafter.close(drafter.open(Request((1, 2, 3), 0)))
    Recycling(Options(file=str(path)), Numbers())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="are of another vocabulary"):
        Recycling(Options(file=str(path)), Numbers("x"))  # type: ignore[arg-type]


def test_where_nothing_can_be_saved(tmp_path: Path) -> None:
    for wrong in ("/proc/table", str(tmp_path)):  # no folder to write in, and no file
        with pytest.raises(UsageError, match="name a file in a folder that can be written"):
            Recycling(Options(save=wrong), Letters())
    with pytest.raises(UsageError, match="name a file in a folder that can be written"):
        Recycling(Options(save=str(tmp_path / "no" / "table")), Letters())
    drafter = saved(tmp_path / "table")
    with pytest.raises(UsageError, match="name a file that can be written"):
        drafter.save(tmp_path)
    with pytest.raises(UsageError, match="does not know whose tokens"):
        Recycling(Options()).save(tmp_path / "x")


def test_the_default_model_begins_with_its_table() -> None:
    tokens = PlainTokens(Tokenizer.from_source(resolve("smollm2")))
    table = Recycling(Options(), tokens).open(Request((1,), 0)).table.base
    assert table is not None
    assert len(table) == 40_000
