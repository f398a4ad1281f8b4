"""`foredraft simulate` on a recorded run of a tiny real model: its JSON, its page, how it refuses wrong use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from foredraft.cli import run
from tiny import write_model

Capture = pytest.CaptureFixture[str]
PROMPTS = ("abcabcabcabc", "one two one two one")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark of two drafters, as `foredraft bench --out` leaves it."""
    tiny = write_model(tmp_path_factory.mktemp("tiny"))
    suite = tmp_path_factory.mktemp("suite") / "suite.jsonl"
    lines = [json.dumps({"id": f"p{n}", "task": "t", "turns": [text]}) for n, text in enumerate(PROMPTS)]
    suite.write_text("\n".join(lines), encoding="utf-8")
    out = tmp_path_factory.mktemp("runs") / "out"
    options = ["--drafters", "lookup:k=6,suffix+lookup:k=4", "--suite", str(suite), "--max-tokens", "24", "--raw"]
    assert run(["bench", "-m", str(tiny), "--threads", "1", *options, "--out", str(out)]) == 0
    return out


def test_json_has_a_prediction_for_every_length(folder: Path, capsys: Capture) -> None:
    capsys.readouterr()
    assert run(["simulate", str(folder), "--num-speculative-tokens", "4,2", "--acceptance", "1", "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert captured.err == ""
    assert found["prompts"] == 2
    assert [one["drafter"] for one in found["drafters"]] == ["lookup:k=6", "suffix+lookup:k=4"]
    for one in found["drafters"]:
        assert [each["num_speculative_tokens"] for each in one["predictions"]] == [2, 4]
        assert all(each["speedup"] > 0 for each in one["predictions"])
        assert [each["tokens"] for each in one["synthetic"]] == [3.0, 5.0]
        assert one["recorded"]["speedup"] > 0
        assert len(one["assumes"]) >= 3
    exact = found["drafters"][1]["predictions"][1]
    assert exact["rounds"] == {"recorded": 1.0, "moved": 0.0, "stretched": 0.0}
    assert exact["drafted"] == found["drafters"][1]["recorded"]["drafted"]
    assert exact["accepted"] == found["drafters"][1]["recorded"]["accepted"]


def test_the_page_says_what_was_best_and_what_it_assumes(folder: Path, capsys: Capture) -> None:
    capsys.readouterr()
    assert run(["simulate", str(folder), "--drafter", "lookup:k=6"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[5:11]] == ["1", "2", "3", "4", "6", "as"]
    assert "Best of these:" in out
    assert "This assumes:" in out


def test_sources_and_depth_narrow_what_is_drafted(folder: Path, capsys: Capture) -> None:
    def drafted(*options: str) -> int:
        capsys.readouterr()
        arm = ["--drafter", "suffix+lookup:k=4", "--num-speculative-tokens", "4"]
        assert run(["simulate", str(folder), *arm, *options, "--json"]) == 0
        return int(json.loads(capsys.readouterr().out)["drafters"][0]["predictions"][0]["drafted"])

    assert drafted("--sources", "lookup") <= drafted()
    assert drafted("--depth", "1") < drafted()


WRONG_USE = {
    "no folder": (["/nowhere"], "/nowhere"),
    "lengths that are none": (["DIR", "--num-speculative-tokens", "2,x"], "2,x"),
    "a rate above 1": (["DIR", "--acceptance", "1.5"], "1.5"),
    "no rate": (["DIR", "--acceptance", ""], "--acceptance"),
    "an unknown drafter": (["DIR", "--drafter", "model:x"], "lookup:k=6"),
    "a source that drafted nothing": (["DIR", "--sources", "block"], "'block'"),
    "a source twice": (["DIR", "--sources", "lookup,lookup"], "--sources"),
    "a negative price": (["DIR", "--drafting", "-1"], "--drafting"),
    "no depth": (["DIR", "--depth", "0"], "--depth"),
}


@pytest.mark.parametrize("case", WRONG_USE)
def test_wrong_use_is_one_sentence_and_status_2(case: str, folder: Path, capsys: Capture) -> None:
    capsys.readouterr()
    options, named = WRONG_USE[case]
    assert run(["simulate", *(str(folder) if one == "DIR" else one for one in options)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1
    assert named in captured.err


def test_a_damaged_line_is_named(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    for name in ("run.json", "cases.jsonl"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with (tmp_path / "cases.jsonl").open("a", encoding="utf-8") as file:
        file.write("{}\n")
    assert run(["simulate", str(tmp_path)]) == 2
    assert "line 3" in capsys.readouterr().err
