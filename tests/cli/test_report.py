"""`foredraft report` on a recorded run: the page, where it goes, and what is no run."""

from __future__ import annotations

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
    assert run(["report", str(recorded(tmp_path / "one")), "--out", str(tmp_path / "no" / "page.html")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("foredraft: cannot write")
    assert len(said.splitlines()) == 1
