"""`foredraft cost` on a tiny real model: the shape of its JSON, what it says, how it refuses wrong use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from foredraft.cli import run
from foredraft.engine import measure
from foredraft.models.facts import facts
from foredraft.models.sources import resolve
from tiny import write_model

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(autouse=True)
def _small_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a gigabyte is for figures, not for tests."""
    original = measure.read_bandwidth
    monkeypatch.setattr(measure, "read_bandwidth", lambda threads: original(threads, 1 << 20))


def cost(tiny: Path, *options: str) -> list[str]:
    return ["cost", "-m", str(tiny), "--threads", "1", "--context", "32", *options]


def test_json_has_the_keys_of_the_contract(tiny: Path, capsys: Capture) -> None:
    capsys.readouterr()
    assert run(cost(tiny, "--rows", "16,8,2", "--passes", "3", "--json")) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert captured.err == ""
    contract = {"model", "engine", "isa", "threads", "weight_bytes", "read_gb_s", "rows"}
    assert contract | {"roofline_fraction", "flatness"} <= set(found)
    assert (found["engine"], found["isa"], found["threads"]) == ("hf", "torch", 1)
    assert found["weight_bytes"] == facts(resolve(str(tiny))).bytes_per_token
    assert [row["rows"] for row in found["rows"]] == [1, 2, 8, 16]
    assert all(row["ms"] > 0 for row in found["rows"])
    assert set(found["flatness"]) == {"2", "8", "16"}
    seconds = {row["rows"]: row["ms"] / 1e3 for row in found["rows"]}
    floor = found["weight_bytes"] / (found["read_gb_s"] * 1e9)
    assert found["roofline_fraction"] == pytest.approx(floor / seconds[1])
    assert found["flatness"]["16"] == pytest.approx(seconds[16] / max(seconds[1], floor))


def test_the_table_ends_with_what_it_means(tiny: Path, capsys: Capture) -> None:
    assert run(cost(tiny, "--rows", "1,4", "--quick", "--shape", "chain")) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert [line.split()[0] for line in lines[3:5]] == ["1", "4"]
    assert "memory speed" in lines[-2]
    assert "nearly free" in lines[-1]


def test_one_row_alone_says_so(tiny: Path, capsys: Capture) -> None:
    assert run(cost(tiny, "--rows", "1", "--passes", "1")) == 0
    assert "Only one row" in capsys.readouterr().out


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prompts that fit a model of 256 tokens."""
    path = tmp_path_factory.mktemp("suite") / "suite.jsonl"
    lines = [json.dumps({"id": text, "task": text, "turns": [text * 4]}) for text in ("abc", "xy")]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def explained(suite: Path, drafter: str, prompts: int, max_tokens: int = 12) -> list[str]:
    numbers = ["--prompts", str(prompts), "--max-tokens", str(max_tokens)]
    return ["--rows", "1,4,8", "--explain", "--drafter", drafter, "--suite", str(suite), *numbers]


def test_an_explanation_as_json_adds_up(tiny: Path, suite: Path, capsys: Capture) -> None:
    capsys.readouterr()
    assert run(cost(tiny, "--passes", "2", *explained(suite, "lookup:k=3", 2), "--json")) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    found = json.loads(captured.out)
    roof, limits, run_ = (found["explain"][key] for key in ("roofline", "limits", "run"))
    assert roof["weights"] == facts(resolve(str(tiny))).weights_per_token
    assert roof["knee"] == pytest.approx(roof["floor_ms"] / roof["row_ms"])
    assert roof["gmac_s"] == pytest.approx(roof["weights"] / roof["row_ms"] / 1e6)
    assert [row["rows"] for row in roof["predicted"]] == [1, 4, 8]
    assert [row["acceptance"] for row in found["explain"]["theory"]] == [0.5, 0.6, 0.7, 0.8, 0.9]
    assert all(row["speedup"] >= 1 and row["flat"]["speedup"] >= 1 for row in found["explain"]["theory"])
    assert run_["identical"]
    assert run_["drafted"] > 0
    assert limits["speedup"] == pytest.approx(run_["speedup"], rel=0.5)  # one is of totals, the other of tasks
    spent = limits["tokens_a_round"] / limits["speedup"]
    assert limits["without"]["drafting"] == pytest.approx(limits["tokens_a_round"] / (spent - limits["drafting"]))
    assert limits["main"] == max(limits["without"], key=limits["without"].get)
    assert limits["rows_a_token"] > 1
    lengths = [row["length"] for row in found["explain"]["theory"]]
    assert max(lengths + [row["flat"]["length"] for row in found["explain"]["theory"]]) <= 7  # wider was not measured


def test_the_explanation_is_a_page(tiny: Path, suite: Path, capsys: Capture) -> None:
    assert run(cost(tiny, "--quick", *explained(suite, "lookup:k=3", 1))) == 0
    out = capsys.readouterr().out
    for said in (
        "THE BOUND",
        "the knee",
        "WHAT THEORY SAYS",
        "best k",
        "WHAT LIMITS lookup:k=3 HERE",
        "price in arithm",
    ):
        assert said in out


def test_a_drafter_that_drafts_nothing_is_said_to(tiny: Path, suite: Path, capsys: Capture) -> None:
    assert run(cost(tiny, "--quick", *explained(suite, "none", 1, 4))) == 0
    assert "Nothing was drafted" in capsys.readouterr().out


WRONG_USE = {
    "a drafter and no explanation": (["--drafter", "lookup"], "--explain"),
    "an unknown drafter": (["--explain", "--drafter", "magic"], "magic"),
    "an explanation by one row alone": (["--explain", "--rows", "1"], "--rows"),
    "no prompts": (["--explain", "--prompts", "0"], "--prompts"),
    "rows that are none": (["--rows", "1,x"], "1,x"),
    "no rows": (["--rows", ""], "--rows"),
    "zero rows": (["--rows", "0,2"], "0,2"),
    "an unknown shape": (["--shape", "star"], "star"),
    "no passes": (["--passes", "0"], "passes"),
    "two numbers of passes": (["--passes", "3", "--quick"], "--quick"),
    "a context that does not fit": (["--context", "250"], "240"),
    "a negative context": (["--context", "-1"], "context"),
    "an unknown engine": (["--engine", "magic"], "magic"),
}


@pytest.mark.parametrize("case", WRONG_USE)
def test_wrong_use_is_one_sentence_and_status_2(case: str, tiny: Path, capsys: Capture) -> None:
    capsys.readouterr()
    options, named = WRONG_USE[case]
    assert run(cost(tiny, *options)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1
    assert named in captured.err


def test_ctrl_c_is_status_130_and_prints_nothing(tiny: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> list[float]:
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "read_bandwidth", interrupted)
    capsys.readouterr()
    assert run(cost(tiny)) == 130
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
