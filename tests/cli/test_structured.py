"""`--json-schema`, `--regex`, `--grammar`, `--choice`: text that obeys, and refusals before a model is loaded."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

from foredraft.cli import run
from tiny import write_model

Capture = pytest.CaptureFixture[str]
SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["cat", "dog"]}, "old": {"type": "boolean"}},
    "required": ["kind", "old"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    written = {
        "SCHEMA": json.dumps(SCHEMA),
        "BAD": '{"type":',
        "LIST": "[]",
        "NEVER": '{"enum": []}',
        "LARK": 'start: "x" ("y" | "z"){3}',
        "ENDLESS": 'start: "x" start',
    }
    for name, text in written.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "BYTES").write_bytes(b"\xff\xfe\x00")
    return {name: str(tmp_path / name) for name in [*written, "BYTES", "MISSING"]}


@pytest.mark.parametrize("drafter", ["none", "forced", "lookup"])
@pytest.mark.parametrize("temperature", ["0", "1.5"])
def test_the_text_obeys(tiny: Path, files: dict[str, str], capsys: Capture, drafter: str, temperature: str) -> None:
    common = ["generate", "-m", str(tiny), "--threads", "1", "--json", "--drafter", drafter, "--seed", "3"]
    common += ["--temperature", temperature, "hello"]

    def text(*options: str) -> str:
        assert run([*common, *options]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["finish_reason"] == "stop"
        assert not found["stats"]["faults"]
        return str(found["text"])

    value = json.loads(text("--json-schema", files["SCHEMA"]))
    assert value["kind"] in ("cat", "dog")
    assert isinstance(value["old"], bool)
    assert json.loads(text("--json-schema", json.dumps(SCHEMA))) == value
    assert text("--choice", "yes", "--choice", "no") in ("yes", "no")
    assert text("--regex", "[0-9]{3}").isdecimal()
    said = text("--grammar", files["LARK"])
    assert said[0] == "x"
    assert set(said[1:]) <= {"y", "z"}


def test_compare_says_that_the_tokens_are_the_same(tiny: Path, files: dict[str, str], capsys: Capture) -> None:
    options = ["--json-schema", files["SCHEMA"], "--drafter", "forced", "--compare", "--explain"]
    assert run(["generate", "-m", str(tiny), "--threads", "1", *options, "hello"]) == 0
    captured = capsys.readouterr()
    assert "identical: yes" in captured.out
    assert "from forced: " in captured.err


def test_a_chat_obeys_too(tiny: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("Is it?\nAnd why?\n"))
    assert run(["chat", "-m", str(tiny), "--threads", "1", "--choice", "yes", "--choice", "no"]) == 0
    said = capsys.readouterr().out.split()
    assert len(said) == 2
    assert set(said) <= {"yes", "no"}


WRONG = {
    "no JSON": (["--json-schema", "BAD"], "no JSON"),
    "no schema, given as it is": (["--json-schema", '{"type":'], "no JSON"),
    "no schema": (["--json-schema", "LIST"], "object"),
    "a schema of nothing": (["--json-schema", "NEVER"], "Unsatisfiable"),
    "no text": (["--json-schema", "BYTES"], "UTF-8"),
    "no file": (["--grammar", "MISSING"], "MISSING"),
    "an endless grammar": (["--grammar", "ENDLESS"], "finite"),
    "an open group": (["--regex", "(a"], "unclosed"),
    "two of them": (["--regex", "a", "--choice", "b"], "--regex and --choice"),
}


@pytest.mark.parametrize("command", ["generate", "chat"])
@pytest.mark.parametrize("case", WRONG)
def test_wrong_use_is_one_sentence_before_a_model_is_loaded(
    case: str, command: str, files: dict[str, str], capsys: Capture
) -> None:
    options, named = WRONG[case]
    words = [files.get(word, word) for word in options]
    assert run([command, "-m", "no-such-model", *words, *(["hi"] if command == "generate" else [])]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.strip().splitlines()
    assert named in line
    assert "no-such-model" not in line


def test_without_llguidance_the_remedy_is_named(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith(("foredraft.grammar", "llguidance"))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "llguidance", None)
    assert run(["generate", "--regex", "a", "hi"]) == 1
    assert "pip install 'foredraft[grammar]'" in capsys.readouterr().err
