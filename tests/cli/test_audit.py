"""`foredraft audit` on a tiny real model: the certificate, its JSON, resuming, exit statuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from foredraft.audit import sampled
from foredraft.audit.mutants import MUTANTS
from foredraft.audit.sampled import Counted, Sampled
from foredraft.cli import audit as command
from foredraft.cli import run
from foredraft.cli.audit import Size
from tiny import write_model

Capture = pytest.CaptureFixture[str]
RIGHT = Counted("match", texts=9, chance=0.4, distance=0.1, limit=0.2, alarm=1e-7)
COUNTED = Sampled((RIGHT,), (replace(RIGHT, chance=0.0, distance=0.5),))
TINY = Size(step=16, texts=900, prompts=2, few=1, max_tokens=20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("tiny") / "model", seed=3)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("suite") / "own.jsonl"
    texts = {"a1": "abcabcabc", "b1": "xyxyxyxy", "a2": "hello"}
    lines = [json.dumps({"id": name, "task": name[0], "turns": [text]}) for name, text in texts.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def base(folder: Path, suite: Path) -> list[str]:
    return ["audit", "-m", str(folder), "--threads", "1", "--quick", "--suite", str(suite)]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, base: list[str], capsys: Capture) -> None:
    monkeypatch.setattr(command, "QUICK", TINY)
    monkeypatch.setattr(command, "MUTANTS", MUTANTS[:3])
    monkeypatch.setattr(command, "count_texts", lambda *rest: COUNTED)  # the real one takes seconds: once is enough
    capsys.readouterr()


def audit(base: list[str], *options: str) -> int:
    return run([*base, *options])


def test_the_certificate_as_json(base: list[str], capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampled, "LOSSLESS", ("match", "block"))
    monkeypatch.setattr(command, "count_texts", sampled.count_texts)
    assert audit(base, "--drafters", "auto,early_exit", "--json") == 0
    captured = capsys.readouterr()
    found: dict[str, Any] = json.loads(captured.out)
    assert found["exact"]["cases"] > 100
    assert found["exact"]["max_tv"] <= 1e-12
    assert found["mutants"] == {"caught": 3, "total": 3, "missed": []}
    identical = found["identical"]
    assert (identical["prompts"], identical["drafters"], identical["mismatches"]) == (2, ["auto", "early_exit"], 0)
    assert identical["temperatures"] == [0.0, 0.7, 1.0]
    assert identical["counted"] > 0
    assert found["sampled"]["passed"] is True
    assert found["sampled"]["verifiers"].keys() == {"match", "block"}
    assert found["sampled"]["verifiers"]["block"]["known_bad_twin"]["rejected"] is True
    assert found["lossless"] is True
    assert len(found["model_sha256"]) == 64
    assert {"machine", "isa", "engine", "version", "row_invariant"} <= found.keys()


def test_the_page_says_it_in_words(base: list[str], capsys: Capture) -> None:
    assert audit(base, "--drafters", "early_exit") == 0
    out = capsys.readouterr().out
    assert out.count("[pass]") == 4
    assert "LOSSLESS" in out
    assert "3 of 3 known bugs caught" in out
    assert len(out.splitlines()) < 60


def test_a_failure_is_named_and_has_exit_status_1(
    base: list[str], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    harmless = replace(MUTANTS[0], name="no bug at all", wrong=MUTANTS[0].right)
    monkeypatch.setattr(command, "MUTANTS", [harmless])
    assert audit(base, "--drafters", "early_exit") == 1
    out = capsys.readouterr().out
    assert "[FAIL] mutants: 0 of 1 known bugs caught; missed: no bug at all" in out
    assert "NOT PROVEN" in out
    assert audit(base, "--drafters", "early_exit", "--json") == 1
    assert json.loads(capsys.readouterr().out)["lossless"] is False


def test_nothing_drafted_proves_nothing(base: list[str], capsys: Capture) -> None:
    assert audit(base, "--drafters", "none") == 1
    assert "[FAIL] identical" in capsys.readouterr().out


def test_a_folder_is_gone_on_with_and_keeps_the_result(base: list[str], tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    assert audit(base, "--drafters", "early_exit", "--out", str(out), "--json") == 0
    first = json.loads(capsys.readouterr().out)
    lines = (out / "cases.jsonl").read_text().splitlines()
    assert len(lines) == 3  # one prompt, for nobody meets the others
    assert json.loads((out / "result.json").read_text()) == first
    (out / "cases.jsonl").write_text("\n".join(lines[:2]) + "\n" + lines[2][:20])
    assert audit(base, "--drafters", "early_exit", "--out", str(out), "--json") == 0
    captured = capsys.readouterr()
    assert "2 of 3 cases were compared before" in captured.err
    assert json.loads(captured.out)["identical"] == first["identical"]
    assert (out / "cases.jsonl").read_text().splitlines() == lines
    assert audit(base, "--drafters", "suffix", "--out", str(out)) == 2
    assert "another comparison" in capsys.readouterr().err


def test_who_takes_part_when_nobody_is_named(base: list[str], capsys: Capture) -> None:
    assert audit(base, "--json") == 0
    captured = capsys.readouterr()
    certificate = json.loads(captured.out)
    found = certificate["identical"]
    assert found["drafters"][0] == "auto"
    assert {"lookup", "suffix", "recycling", "early_exit", "lookahead", "jacobi"} <= {*found["drafters"]}
    assert "corpus:file=builtin.jsonl,min=1" in found["drafters"]
    assert "forced" in certificate["left_out"]
    (reason,) = {certificate["left_out"][name] for name in certificate["left_out"] if name.startswith("staged:")}
    assert "the hf engine loads draft models as they are" in reason
    assert found["by_drafter"]["prediction"]["drafted"] > 0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--drafters", "magic"], "magic"),
        (["--suite", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--drafters", ""], "no drafter"),
    ],
)
def test_wrong_use_is_one_sentence(base: list[str], capsys: Capture, options: list[str], named: str) -> None:
    assert audit(base, *options) == 2
    captured = capsys.readouterr()
    assert named in captured.err
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1


def test_a_suite_that_does_not_fit_is_refused(base: list[str], tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "long.jsonl"
    path.write_text(json.dumps({"id": "a", "task": "t", "turns": ["x" * 300]}) + "\n")
    assert audit(base, "--drafters", "early_exit", "--suite", str(path)) == 2
    assert "no prompt of the suite fits" in capsys.readouterr().err
