"""The study behind docs/exactness.md: its runs go on where they were, and its page is what its results say."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))  # as when the script runs

import exactness
from exactness import ORIGINS, TEMPERATURES, VERIFIERS, Text, gains, gains_table, read, suited

from foredraft.audit.mutants import MUTANTS
from tiny import write_model

COMMITTED = sorted(exactness.RESULTS.glob("gains-*.jsonl"))


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Namespace:
    folder = tmp_path_factory.mktemp("study")
    suite = folder / "own.jsonl"
    suite.write_text(json.dumps({"id": "a", "task": "t", "turns": ["abcabcabc"]}) + "\n", encoding="utf-8")
    return Namespace(
        model=str(write_model(folder / "model", seed=3)),
        drafters="early_exit:k=2",
        suite=str(suite),
        prompts=2,
        max_tokens=6,
        threads=1,
        out=str(folder / "gains.jsonl"),
    )


def test_a_run_goes_on_where_it_was(options: Namespace) -> None:
    path = Path(options.out)
    gains(options)
    _, texts = read(path)
    assert len(texts) == len(TEMPERATURES) * 3  # on a chain the others are one of these
    assert all(text.tokens >= text.passes for text in texts)
    assert any(text.accepted for text in texts)
    whole = path.read_text(encoding="utf-8")
    path.write_text("".join(whole.splitlines(keepends=True)[:5]), encoding="utf-8")
    gains(options)
    assert path.read_text(encoding="utf-8") == whole
    with pytest.raises(SystemExit, match="another run"):
        gains(Namespace(**{**vars(options), "max_tokens": 7}))


def test_what_an_interruption_left_of_a_line_is_cut_off(options: Namespace) -> None:
    gains(options)
    path = Path(options.out)
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole[:-9], encoding="utf-8")
    gains(options)
    assert path.read_text(encoding="utf-8") == whole


def test_a_gain_is_tokens_a_pass_beside_match(tmp_path: Path) -> None:
    path = tmp_path / "gains-x.jsonl"
    base = Text("a", 1.0, "d", "match", tokens=20, passes=10, drafted=10, accepted=10)
    names = ("match", "recursive", "block")
    texts = [replace(base, verifier=name, passes=10 if name == "match" else 8) for name in names]
    texts += [replace(text, drafter="d:tree=2x1", verifier=name) for name in VERIFIERS for text in texts[:1]]
    setup = {"model": "m", "engine": "native", "suite": "s", "max_tokens": 20}
    path.write_text("\n".join(map(json.dumps, [setup, *map(vars, texts)])) + "\n", encoding="utf-8")
    row = next(line for line in gains_table(path).splitlines() if line.startswith("| d |"))
    assert row.split(" | ")[2] == "2.00"
    assert row.count("+0.50 (+0.50 – +0.50)") == 2
    assert row.endswith("| as block | as recursive | as recursive |")
    tree = next(line for line in gains_table(path).splitlines() if line.startswith("| d:tree=2x1 |"))
    assert tree.count("+0.00 (+0.00 – +0.00)") == len(VERIFIERS) - 2
    assert "| as traversal |" in tree


def test_origins_are_of_bugs_that_are_measured() -> None:
    assert ORIGINS.keys() <= {mutant.name for mutant in MUTANTS}
    found = json.loads((exactness.RESULTS / "wrong.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in found] == [mutant.name for mutant in MUTANTS]
    assert len(found) >= 24
    assert all(one["caught"] for one in found)


def test_the_page_is_what_the_results_say(capsys: pytest.CaptureFixture[str]) -> None:
    exactness.page(Namespace(check=True))
    assert "exactness.md" in capsys.readouterr().out


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_runs_are_whole_and_small(path: Path) -> None:
    _, texts = read(path)
    for drafter in {text.drafter for text in texts}:
        own = [text.verifier for text in texts if text.drafter == drafter]
        assert {own.count(name) for name in suited(drafter)} == {len(own) // len(suited(drafter))}
    assert len({text.key for text in texts}) == len(texts)
    assert path.stat().st_size < 5_000_000
