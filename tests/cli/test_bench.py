"""`foredraft bench` on a tiny real model: its JSON, its tables, resuming, exit statuses, Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from foredraft.bench.events import read
from foredraft.cli import bench as command
from foredraft.cli import run
from foredraft.core.protocols import Ask
from foredraft.core.tree import DraftTree
from foredraft.draft.lookup import Lookup
from tiny import write_model

Capture = pytest.CaptureFixture[str]
PROMPTS = [("a1", "a", "abcabcabcabc"), ("b1", "b", "xyzxyzxyz"), ("a2", "a", "ababab"), ("b2", "b", "hello")]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("suite") / "own.jsonl"
    lines = [json.dumps({"id": name, "task": task, "turns": [text]}) for name, task, text in PROMPTS]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def _quiet(capsys: Capture, tiny: Path, suite: Path) -> None:
    capsys.readouterr()  # transformers shows a bar while it writes the model


def words(tiny: Path, suite: Path, *options: str) -> list[str]:
    return ["bench", "-m", str(tiny), "--threads", "1", "--suite", str(suite), "--max-tokens", "16", *options]


def result_of(out: str) -> dict[str, Any]:
    return dict(json.loads(out.strip().splitlines()[-1]))


def test_the_last_line_is_the_result(tiny: Path, suite: Path, capsys: Capture) -> None:
    assert run(words(tiny, suite, "--drafters", "lookup,lookup:n=2,branches=2", "--aa", "--json")) == 0
    captured = capsys.readouterr()
    found = result_of(captured.out)
    assert len(captured.out.strip().splitlines()) == 1
    assert captured.err == ""
    assert (found["engine"], found["isa"], found["prompts"]) == ("hf", "torch", 4)
    assert found["suite"] == str(suite)
    assert found["baseline"]["tok_s"] > 0
    assert found["baseline"]["prompt_tok_s"] > 0
    assert [one["drafter"] for one in found["runs"]] == ["lookup", "lookup:n=2,branches=2", "none"]
    assert all(set(one["by_task"]) == {"a", "b"} for one in found["runs"])
    assert found["runs"][0]["drafted"] > 0
    assert found["runs"][2]["drafted"] == 0
    assert len(found["model_sha256"]) == 64
    assert found["machine"]["python"].count(".") == 2
    assert found["costs"]["rows"][0] == 1
    assert len(found["costs"]["rows"]) == len(found["costs"]["seconds"])
    for one in (found["baseline"], found["runs"][0]):
        assert 0 < one["latency"]["time_to_first_token"]["median"] <= one["latency"]["time_to_first_token"]["p95"]
        assert set(one["memory"]) == {"peak_rss", "anonymous"}


def test_tables_and_a_summary_for_people(tiny: Path, suite: Path, capsys: Capture) -> None:
    assert run(words(tiny, suite, "--limit-per-task", "1", "--temperature", "0.7")) == 0
    text = capsys.readouterr().out
    assert "2 prompts" in text
    assert "temperature 0.7" in text
    assert "speed-up by task" in text
    assert "as fast as plain decoding" in text
    assert "accepted at position" in text or "lookup" in text
    assert "what a reader feels" in text
    assert "between bursts" in text


def test_all_leaves_out_by_name_what_cannot_run(tiny: Path, suite: Path, capsys: Capture) -> None:
    assert run(words(tiny, suite, "--drafters", "all", "--limit-per-task", "1", "--max-tokens", "4", "--json")) == 0
    captured = capsys.readouterr()
    found = result_of(captured.out)
    assert "lookup" in [one["drafter"] for one in found["runs"]]
    assert "model" in found["left_out"]
    assert "left out: drafter 'model'" in captured.err


def test_a_folder_goes_on_where_it_was(tiny: Path, suite: Path, capsys: Capture, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--out", str(out), "--json")
    assert run(words(tiny, suite, "--limit-per-task", "1", *options)) == 0
    capsys.readouterr()
    before = (out / "cases.jsonl").read_text(encoding="utf-8")
    assert run(words(tiny, suite, *options)) == 0
    captured = capsys.readouterr()
    after = (out / "cases.jsonl").read_text(encoding="utf-8")
    assert after.startswith(before)
    assert [json.loads(line)["id"] for line in after.splitlines()] == ["a1", "b1", "a2", "b2"]
    assert "2 of 4 prompts were measured before" in captured.err
    assert json.loads((out / "result.json").read_text(encoding="utf-8")) == result_of(captured.out)
    # Everything is there: the same figures, from the raw steps alone.
    assert run(words(tiny, suite, *options)) == 0
    assert result_of(capsys.readouterr().out) == result_of(captured.out)
    assert (out / "cases.jsonl").read_text(encoding="utf-8") == after
    assert run(words(tiny, suite, *options, "--temperature", "1")) == 2
    assert "temperature was 0.0 and is 1.0" in capsys.readouterr().err


def test_both_turns_are_run_and_it_says_what_drafters_knew(tiny: Path, capsys: Capture, tmp_path: Path) -> None:
    talks, out = tmp_path / "talks.jsonl", tmp_path / "out"
    lines = [{"id": "t1", "task": "t", "turns": ["abcabc", "again"]}, {"id": "t2", "task": "t", "turns": ["xyxyxy"]}]
    talks.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    options = words(tiny, talks, "--drafters", "lookup:k=3", "--out", str(out))
    assert run(options) == 0
    text = capsys.readouterr().out
    assert "2 prompts (3 turns)" in text
    assert "cold: a drafter knows nothing of other prompts" in text
    kept = (out / "cases.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in kept] == ["t1", "t1#2", "t2"]
    (out / "cases.jsonl").write_text(kept[0] + "\n", encoding="utf-8")  # as if interrupted between the turns
    assert run([*options, "--json"]) == 0
    captured = capsys.readouterr()
    assert "1 of 3 turns were measured before" in captured.err
    found = result_of(captured.out)
    assert (found["prompts"], found["cases"], found["warm"]) == (2, 3, False)
    assert run([*options, "--warm"]) == 2
    assert "warm was false and is true" in capsys.readouterr().err
    warm = words(tiny, talks, "--drafters", "lookup:k=3", "--warm")
    assert run(warm) == 0
    assert "warm: a drafter goes on" in capsys.readouterr().out
    talks.write_text("\n".join(json.dumps(one | {"turns": ["same"]}) for one in lines), encoding="utf-8")
    assert run(warm) == 2
    assert "'t1' and 't2' are the same text" in capsys.readouterr().err


def test_a_sweep_is_a_table_a_sentence_and_part_of_the_result(
    tiny: Path, suite: Path, capsys: Capture, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = words(tiny, suite, "--drafters", "lookup", "--sweep", "num_speculative_tokens=0..4..2", "--out", str(out))
    assert run(options) == 0
    captured = capsys.readouterr()
    assert "lookup: num_speculative_tokens" in captured.out
    assert "lookup is fastest at num_speculative_tokens=" in captured.out
    assert (out / "sweep.png").exists() == ("plot: " in captured.err.replace("no plot: ", ""))
    assert run([*options, "--json"]) == 0
    found = result_of(capsys.readouterr().out)
    assert found == json.loads((out / "result.json").read_text(encoding="utf-8")) | {"arguments": found["arguments"]}
    assert [one["drafter"] for one in found["runs"]] == ["none", "lookup:k=2", "lookup:k=4"]
    [swept] = found["sweep"]["drafters"]
    assert [point["value"] for point in swept["points"]] == ["0", "2", "4"]
    assert {"best", "best_by_formula", "acceptance", "cost", "by_task"} <= set(swept)


def test_a_drafter_that_fails_fails_the_bench_and_is_named(
    tiny: Path, suite: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: Lookup, asks: Sequence[Ask[Any]]) -> list[DraftTree]:
        raise ValueError("no idea")

    monkeypatch.setattr(Lookup, "propose", failing)
    assert run(words(tiny, suite, "--drafters", "lookup", "--limit-per-task", "1", "--json")) == 1
    captured = capsys.readouterr()
    [one] = result_of(captured.out)["runs"]
    assert one["faults"] > 0
    assert one["first_fault"] == "ValueError: no idea"
    assert captured.err.startswith("foredraft: a drafter failed")


def test_differing_tokens_fail_it_where_rows_are_invariant(capsys: Capture) -> None:
    runs = [{"faults": 0, "identical": False}]
    assert command._status({"row_invariant": True, "runs": runs}) == 1
    assert "report this bug" in capsys.readouterr().err
    assert command._status({"row_invariant": False, "runs": runs}) == 0
    assert command._status({"row_invariant": True, "runs": [{"faults": 0, "identical": True}]}) == 0
    assert capsys.readouterr().err == ""


WRONG_USE = {
    "an unknown drafter": (["--drafters", "magic"], "magic"),
    "an unknown option": (["--drafters", "lookup:depth=3"], "depth"),
    "no drafter": (["--drafters", ""], "drafter"),
    "a drafter twice": (["--drafters", "lookup,lookup"], "twice"),
    "a drafter without its model": (["--drafters", "model"], "model"),
    "an unknown suite": (["--suite", "no-such-file.jsonl"], "no-such-file.jsonl"),
    "a suite that fits nowhere": (["--suite", "long"], "the prompt has"),
    "no prompts": (["--limit-per-task", "0"], "--limit-per-task"),
    "no tokens": (["--max-tokens", "0"], "max_tokens"),
    "a negative temperature": (["--temperature", "-1"], "temperature"),
    "a negative seed": (["--seed", "-1"], "seed"),
    "no sweep": (["--sweep", "num_speculative_tokens"], "--sweep"),
    "a sweep without end": (["--sweep", "k=0..999999999"], "--sweep"),
    "a sweep over what is not there": (["--drafters", "lookup", "--sweep", "depth=1..2"], "depth"),
    "a sweep with a policy": (["--policy", "cumulative", "--sweep", "k=1..2"], "--sweep"),
    "a sweep over what is said": (["--drafters", "lookup:k=4", "--sweep", "k=1..2"], "lookup:k=4"),
    "an unknown model": (["-m", "no-such-model"], "no-such-model"),
    "prompts that do not fit": (["--suite", "builtin"], "leave it out"),
    "a folder that is a file": (["--out", "FILE"], "cannot use"),
}


@pytest.mark.parametrize("case", WRONG_USE)
def test_wrong_use_is_one_sentence_and_status_2(case: str, tiny: Path, suite: Path, capsys: Capture) -> None:
    options, named = WRONG_USE[case]
    assert run(words(tiny, suite, *(str(suite) if word == "FILE" else word for word in options))) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1
    assert captured.err.startswith("foredraft: ")
    assert named in captured.err


def test_a_wrong_line_is_named_by_its_number(tiny: Path, suite: Path, capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "wrong.jsonl"
    path.write_text(suite.read_text(encoding="utf-8") + '{"id": "z"}\n', encoding="utf-8")
    assert run(words(tiny, suite, "--suite", str(path))) == 2
    assert f"line 5 of {path}" in capsys.readouterr().err


def test_a_run_that_is_killed_leaves_whole_cases_and_goes_on(
    tiny: Path, suite: Path, capsys: Capture, tmp_path: Path
) -> None:
    many, out = tmp_path / "many.jsonl", tmp_path / "out"
    lines = [json.dumps({"id": str(n), "task": "t", "turns": [f"abc{n}abc"]}) for n in range(3000)]
    many.write_text("\n".join(lines), encoding="utf-8")
    options = words(tiny, many, "--drafters", "lookup:k=3", "--out", str(out), "--json")
    process = subprocess.Popen(
        [sys.executable, "-m", "foredraft", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not ((out / "cases.jsonl").exists() and len(read(out).cases) > 2) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait(timeout=60)
    kept = len(read(out).cases)
    assert 2 < kept < 3000
    with (out / "cases.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"id":"')  # the end of a line that was being written
    assert run([*options, "--limit-per-task", "2"]) == 0
    assert "2 of 2 prompts were measured before" in capsys.readouterr().err
    assert len(read(out).cases) == kept
    assert (out / "cases.jsonl").read_bytes().endswith(b"\n")


def test_ctrl_c_is_status_130_and_what_is_done_is_kept(
    tiny: Path, suite: Path, capsys: Capture, tmp_path: Path
) -> None:
    many = tmp_path / "many.jsonl"
    lines = [json.dumps({"id": str(n), "task": "t", "turns": [f"abc{n}abc"]}) for n in range(3000)]
    many.write_text("\n".join(lines), encoding="utf-8")
    out = tmp_path / "out"
    options = words(tiny, many, "--out", str(out), "--json")
    process = subprocess.Popen(
        [sys.executable, "-m", "foredraft", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    cases = out / "cases.jsonl"
    deadline = time.monotonic() + 120
    while not (cases.exists() and cases.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    printed, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert printed == b""
    assert b"Traceback" not in said
    assert b"go on from" in said
    kept = cases.read_text(encoding="utf-8")
    assert 0 < len(kept.splitlines()) < 3000
    assert run([*words(tiny, many, "--out", str(out), "--json"), "--limit-per-task", "1"]) == 0
    captured = capsys.readouterr()
    assert "1 of 1 prompts were measured before" in captured.err
    assert cases.read_text(encoding="utf-8") == kept


def test_another_verifier_is_named_and_promises_no_tokens(tiny: Path, suite: Path, capsys: Capture) -> None:
    options = ("--drafters", "lookup", "--verifier", "recursive", "--temperature", "1", "--limit-per-task", "1")
    assert run(words(tiny, suite, *options, "--json")) == 0
    found = result_of(capsys.readouterr().out)
    assert found["verifier"] == "recursive"
    assert found["runs"][0]["lossless"] is True
    assert run(words(tiny, suite, *options)) == 0
    assert "verifier recursive, policy adaptive" in capsys.readouterr().out
    assert run(words(tiny, suite, "--drafters", "lookup", "--verifier", "typical")) == 2
    assert "--allow-lossy" in capsys.readouterr().err
    differing = {"temperature": 1.0, "row_invariant": True, "runs": [{"faults": 0, "identical": False}]}
    assert command._status({**differing, "verifier": "recursive"}) == 0
    assert command._status({**differing, "verifier": "recursive", "temperature": 0.0}) == 1
    assert command._status(differing) == 1
