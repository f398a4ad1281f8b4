"""The folder of a run: it goes on where it was, and refuses what does not belong to it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from foredraft.bench.journal import Journal
from foredraft.core.errors import ForedraftError, UsageError

SETUP = {"model": "toy", "max_tokens": 8, "machine": {"processor": "x"}}


def case(name: str) -> dict[str, object]:
    trial = {"seconds": 1.0, "opening": 0.0, "steps": [{"tokens": [1], "seconds": [0.0, 1.0, 0.0, 0.0]}]}
    return {
        "id": name,
        "task": "t",
        "prompt_tokens": 3,
        "prompt_seconds": 0.5,
        "order": ["plain"],
        "trials": {"plain": trial},
    }


def test_cases_are_there_again(tmp_path: Path) -> None:
    first = Journal(tmp_path / "new" / "folder", SETUP)
    assert first.done == {}
    first.add(case("a"))
    first.add(case("ä\n"))
    first.finish({"runs": []})
    again = Journal(tmp_path / "new" / "folder", json.loads(json.dumps(SETUP)))
    assert list(again.done) == ["a", "ä\n"]
    assert again.done["a"].trials["plain"].tokens == (1,)
    assert json.loads((again.folder / "result.json").read_text()) == {"runs": []}


@pytest.mark.parametrize("cut", [1, 20, 150])
def test_what_an_interrupted_write_left_is_cut_off(tmp_path: Path, cut: int) -> None:
    journal = Journal(tmp_path, SETUP)
    journal.add(case("a"))
    journal.add(case("b"))
    path = tmp_path / "cases.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    again = Journal(tmp_path, SETUP)
    assert list(again.done) == ["a"]
    again.add(case("c"))
    assert list(Journal(tmp_path, SETUP).done) == ["a", "c"]


@pytest.mark.parametrize(
    "line", ["{}", "[]", "no", '{"id": 3}', json.dumps(case("x") | {"trials": {"plain": {"seconds": "?"}}})]
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    Journal(tmp_path, SETUP).add(case("a"))
    with (tmp_path / "cases.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(UsageError, match="line 2 of .*cases.jsonl is damaged"):
        Journal(tmp_path, SETUP)


def test_another_comparison_is_refused_by_what_differs(tmp_path: Path) -> None:
    Journal(tmp_path, SETUP)
    with pytest.raises(UsageError, match=r"max_tokens was 8 and is 9"):
        Journal(tmp_path, SETUP | {"max_tokens": 9})
    with pytest.raises(UsageError, match=r"commit was null and is \"c\""):
        Journal(tmp_path, SETUP | {"commit": "c"})
    with pytest.raises(UsageError, match="model"):
        Journal(tmp_path, {"max_tokens": 8, "machine": {"processor": "x"}})
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UsageError, match="damaged"):
        Journal(tmp_path, SETUP)


def test_folders_of_others_and_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(UsageError, match="other files"):
        Journal(tmp_path, SETUP)
    with pytest.raises(UsageError, match="cannot use"):
        Journal(tmp_path / "holiday.jpg", SETUP)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    journal = Journal(tmp_path, SETUP)
    for name in ("cases.jsonl", "result.json.part"):
        (tmp_path / name).symlink_to("/dev/full")
    with pytest.raises(ForedraftError, match="No space left"):
        journal.add(case("a"))
    with pytest.raises(ForedraftError, match="No space left"):
        journal.finish({})
    assert not (tmp_path / "result.json").exists()
