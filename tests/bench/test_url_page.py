"""The page of a run against a server: figures from the raw answers, escaped, and finished or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from foredraft.bench.page import page
from foredraft.bench.url_counters import Counters
from foredraft.bench.url_page import result_of
from foredraft.bench.url_record import Answer, Answers, Counted, Failure, read
from foredraft.cli.report import write_report
from foredraft.core.errors import UsageError
from recorded import NASTY, parsed, recorded

SETUP = {
    "model": "/somewhere/private/toy.gguf",
    "engine": "url",
    "url": "http://127.0.0.1:1",
    "server": "",
    "api": "chat completions",
    "concurrency": [1, 2],
    "suite": "/somewhere/private/own.jsonl",
    "max_tokens": 4,
    "temperature": 0.0,
    "machine": {},
    "version": "0",
    "commit": None,
}


def served(folder: Path) -> Path:
    """Two tasks at one and at two at a time; the server counts, and one request fails."""
    answers = Answers(folder, SETUP)
    for level in (1, 2):
        for place, task in enumerate(("a", NASTY)):
            arrivals = (0.5 * level, 1.0 * level, 1.5 * level)
            begun = 2.0 * place if level == 1 else 0.0
            answers.add(
                Answer(level, f"{task}{place}", f"{task}{place}", task, 0, begun, 2.0, arrivals, "x", 4).as_json()
            )
        answers.add(Counted(level, 0, Counters(10, 30, 12)).as_json())
    for level in (1, 2):
        secret = Failure("cut", "/home/somebody/private.gguf")
        answers.add(Answer(level, "b", "b", "b", 0, 0.0, 1.0, (), "", failure=secret).as_json())
    return folder


def test_figures_are_those_of_the_answers(tmp_path: Path) -> None:
    run = read(served(tmp_path))
    one, two = result_of(run)["runs"]
    assert (one["tok_s"], two["tok_s"]) == (2.0, 4.0)
    assert (one["first_ms"]["median"], two["first_ms"]["median"]) == (500.0, 1000.0)
    assert one["mean_acceptance_length"] == pytest.approx(2.2)
    assert (one["failures"], two["failures"], two["not_asked"]) == ({"cut": 1}, {"cut": 1}, 0)
    text = page([run])
    for shown in (">2.0<", ">4.0<", ">500.0<", ">1000.0<", ">2.20<", "the stream ended before the answer did"):
        assert shown in text


def test_the_page_is_whole_and_what_comes_from_outside_is_text(tmp_path: Path) -> None:
    text = page([read(served(tmp_path))])
    found = parsed(text)
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in found.seen}
    assert NASTY not in text
    assert "&lt;script&gt;" in text
    assert "private" not in text
    assert text.count("<figure>") == 2


def test_one_that_was_interrupted_says_so(tmp_path: Path) -> None:
    folder = served(tmp_path)
    assert "This run is not finished." in page([read(folder)])
    (folder / "result.json").write_text("{}", encoding="utf-8")
    assert "This run is not finished." not in page([read(folder)])
    more = Answers(folder, SETUP)  # goes on with more prompts, and is interrupted at the first concurrency
    more.add(Answer(1, "c", "c", "c", 1, 0.0, 1.0, (0.5, 1.0), "x", 4).as_json())
    text = page([read(folder)])
    assert "This run is not finished." in text
    assert "With 2 at a time 1 were not asked, after failures" in text


def test_runs_of_both_kinds_stand_on_one_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(served(tmp_path / "served")), str(recorded(tmp_path / "compared"))]
    write_report(folders, str(tmp_path / "page.html"))
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    parsed(text)
    assert 'href="#run0"' in text
    assert 'href="#run1"' in text
    assert "compared: lookup" in text
    assert capsys.readouterr().out.strip().endswith("page.html")


def test_a_folder_without_an_answer_is_refused(tmp_path: Path) -> None:
    Answers(tmp_path, SETUP)
    with pytest.raises(UsageError, match="no case yet"):
        page([read(tmp_path)])
