"""`foredraft report` on a recorded run: the page, where it goes, and what is no run."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from foredraft.cli import run
from recorded import recorded

Capture = pytest.CaptureFixture[str]


def test_the_page_lies_in_the_first_folder_or_where_it_is_told(tmp_path: Path, capsys: Capture) -> None:
    one, two = recorded(tmp_path / "one"), recorded(tmp_path / "two")
    assert run(["report", str(one)]) == 0
    assert capsys.readouterr().out == f"{one / 'report.html'}\n"
    assert (one / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert run(["report", str(one), str(two), "--out", str(tmp_path / "both.html")]) == 0
    assert "2 benchmarks" in (tmp_path / "both.html").read_text(encoding="utf-8")


def test_wrong_use_is_one_sentence(tmp_path: Path, capsys: Capture) -> None:
    assert run(["report", str(tmp_path)]) == 2
    assert "cannot read a benchmark" in capsys.readouterr().err
    where = tmp_path / "no" / "page.html"
    assert run(["report", str(recorded(tmp_path / "one")), "--out", str(where)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"foredraft: {where} cannot be written")
    assert len(said.splitlines()) == 1


def test_a_full_disk_leaves_the_page_that_was_there(tmp_path: Path, capsys: Capture) -> None:
    run_folder, page = recorded(tmp_path / "one"), tmp_path / "page.html"
    page.write_text("an older page", encoding="utf-8")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        assert run(["report", str(run_folder), "--out", str(page)]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    said = capsys.readouterr().err
    assert said.startswith(f"foredraft: cannot write {page}: ")
    assert page.read_text(encoding="utf-8") == "an older page"
    assert {path.name for path in tmp_path.iterdir()} == {"one", "page.html"}
