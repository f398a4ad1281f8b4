"""`foredraft trace` on a tiny real model: the page it writes, and the places it refuses to write to."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from foredraft.cli import run
from foredraft.cli.place import put_in_place, write
from foredraft.core.errors import ForedraftError, UsageError
from tiny import write_model

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("tiny"))


def data_of(path: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(encoding="utf-8"))
    assert found is not None
    return dict(json.loads(found[1]))


def command(model: Path, out: Path, *options: str) -> list[str]:
    words = ["trace", "--threads", "1", "-m", str(model), "--max-tokens", "24", "--seed", "7", "--out", str(out)]
    return [*words, *options, "abcabcabc"]


CASES = {
    "the default": [],
    "lookup": ["--drafter", "lookup:n=1,branches=3"],
    "plain": ["--drafter", "none"],
    "warm": ["--drafter", "lookup:n=1,branches=3", "--temperature", "1.5", "--top-k", "9"],
    "another verifier": ["--drafter", "lookup:n=1", "--verifier", "recursive", "--temperature", "1.5"],
    "a lossy one": ["--drafter", "lookup:n=1", "--verifier", "typical", "--allow-lossy", "--temperature", "1.5"],
}


@pytest.mark.parametrize("case", CASES)
def test_the_page_tells_the_generation(case: str, tiny: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "page.html"
    assert run(command(tiny, out, *CASES[case])) == 0
    captured = capsys.readouterr()
    data = data_of(out)
    assert captured.out == data["text"] + "\n"
    assert re.fullmatch(rf"{re.escape(str(out))}: \d+ tokens in \d+ rounds, .*kB\n", captured.err)
    assert "".join(data["texts"][token["piece"]] for token in data["tokens"]) == data["text"]
    assert data["facts"]["sampling"].endswith("seed 7")
    assert ("LOSSY" in captured.err) == (not data["stats"]["lossless"]) == (case == "a lossy one")
    assert case not in ("lookup", "warm") or data["stats"]["drafted"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_it_is_the_text_of_generate(tiny: Path, tmp_path: Path, capsys: Capture) -> None:
    common = ["--threads", "1", "-m", str(tiny), "--max-tokens", "20", "--raw", "--temperature", "1", "--seed", "3"]
    (tmp_path / "prompt.txt").write_text("hello hello", encoding="utf-8")
    file = ["-f", str(tmp_path / "prompt.txt")]
    assert run(["generate", *common, *file, "--json"]) == 0
    due = json.loads(capsys.readouterr().out)
    assert run(["trace", *common, *file, "--out", str(tmp_path / "page.html")]) == 0
    found = data_of(tmp_path / "page.html")
    assert (found["text"], found["prompt"]) == (due["text"], "hello hello")


def refused(capsys: Capture, *arguments: str) -> str:
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1, captured.err
    return captured.err


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_loaded(tmp_path: Path, capsys: Capture) -> None:
    """The model is one that does not exist: that the sentence is about --out says which came first."""
    model = tmp_path / "no-such-model"
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    for out in (
        tmp_path / "no-such-folder" / "page.html",
        tmp_path,
        tmp_path / "file" / "page.html",
        Path("/dev/null"),
    ):
        sentence = refused(capsys, *command(model, out))
        assert "--out" in sentence
        assert str(out) in sentence
    assert Path("/dev/null").is_char_device()


def test_a_failure_leaves_what_was_there(tiny: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "page.html"
    out.write_text("an older page", encoding="utf-8")
    assert "no-such-model" in refused(capsys, *command(tmp_path / "no-such-model", out))
    with suppress(KeyboardInterrupt), put_in_place(out) as file:
        file.write(b"half a page")
        raise KeyboardInterrupt
    assert out.read_text(encoding="utf-8") == "an older page"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_full_disk_is_one_sentence() -> None:
    why = r"cannot write page\.html: No space left on device; make room"
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(ForedraftError, match=why):
        write(full, b"a page", "page.html")


def test_a_link_is_followed_and_permissions_are_the_usual(tmp_path: Path) -> None:
    (tmp_path / "real.html").write_text("old", encoding="utf-8")
    (tmp_path / "link.html").symlink_to("real.html")
    with put_in_place(tmp_path / "link.html") as file:
        file.write(b"new")
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "real.html").read_text(encoding="utf-8") == "new"
    (tmp_path / "usual").touch()
    assert (tmp_path / "real.html").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_prompt_and_a_place_are_asked_for(capsys: Capture, tmp_path: Path) -> None:
    assert "--out" in refused(capsys, "trace", "hello")
    assert "prompt" in refused(capsys, "trace", "--out", str(tmp_path / "page.html"))
    with pytest.raises(UsageError, match="written over"), put_in_place(tmp_path):
        pass
