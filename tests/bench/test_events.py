"""The folder of a run as it is read: whole or cut off, in one file or several, and what is no such folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from foredraft.bench.events import read
from foredraft.bench.journal import Journal
from foredraft.core.errors import UsageError
from foredraft.core.protocols import Costs

SETUP = {"model": "toy", "drafters": ["lookup"]}


def case(name: str, tokens: int = 1) -> dict[str, Any]:
    plain = [{"tokens": [token], "seconds": [0.0, 1.0, 0.0, 0.0]} for token in range(tokens)]
    drafted = {
        "tokens": [*range(tokens), 9],
        "tree": {"tokens": [*range(tokens)], "score": [-0.5] * tokens, "source": "lookup"},
        "accepted": tokens,
        "path": [*range(tokens)],
        "seconds": [0.1, 1.5, 0.0, 0.0],
        "expected": [1.5, 1.6],
    }
    trials = {"plain": {"seconds": tokens, "opening": 0.0, "steps": plain}}
    trials["lookup"] = {"seconds": 1.6, "opening": 0.0, "sources": ["lookup"], "steps": [drafted]}
    return {
        "id": name,
        "task": "t",
        "prompt_tokens": 3,
        "prompt_seconds": 0.5,
        "order": ["plain", "lookup"],
        "trials": trials,
    }


def test_all_that_a_replay_needs_is_there(tmp_path: Path) -> None:
    journal = Journal(tmp_path, SETUP)
    journal.keep_costs(Costs((1, 4), (0.5, 0.75)))
    journal.keep_costs(Costs((1, 4), (9.0, 9.0)))  # a run that goes on keeps those it began with
    journal.add(case("a", 3))
    found = read(tmp_path)
    assert (found.setup, found.drafters, found.costs) == (SETUP, ("lookup",), Costs((1, 4), (0.5, 0.75)))
    assert [step.position for step in found.steps("plain")] == [0, 1, 2]
    [step] = found.steps("lookup")
    assert (step.tokens, step.accepted, step.path, step.rows) == ((0, 1, 2, 9), 3, (0, 1, 2), 4)
    assert (step.tree.tokens, step.tree.parents) == ((0, 1, 2), (-1, 0, 1))
    assert (step.tree.sources, step.tree.score) == (("lookup",) * 3, (-0.5,) * 3)
    assert (step.seconds.draft, step.seconds.verify, step.expected) == (0.1, 1.5, (1.5, 1.6))


def test_a_full_file_is_followed_by_another_and_a_large_case_stands_alone(tmp_path: Path) -> None:
    size = len(json.dumps(case("a"), separators=(",", ":"))) + 1
    journal = Journal(tmp_path, SETUP, largest=2 * size)
    for name in "abc":
        journal.add(case(name))
    journal.add(case("d", 200))
    journal.add(case("e"))
    files = ["cases.jsonl", "cases.2.jsonl", "cases.3.jsonl", "cases.4.jsonl"]
    assert sorted(path.name for path in tmp_path.glob("cases*")) == sorted(files)
    sizes = [(tmp_path / name).stat().st_size for name in files]
    assert sizes[0] <= 2 * size < sizes[2]
    assert [one.id for one in read(tmp_path).cases] == [*"abcde"]
    again = Journal(tmp_path, SETUP, largest=2 * size)
    assert list(again.done) == [*"abcde"]
    again.add(case("f"))
    assert [one.id for one in read(tmp_path).cases] == [*"abcdef"]
    assert read(tmp_path).costs is None


def test_an_unfinished_line_is_passed_over_and_stays(tmp_path: Path) -> None:
    journal = Journal(tmp_path, SETUP)
    journal.add(case("a"))
    journal.add(case("b"))
    path = tmp_path / "cases.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    before = path.read_bytes()
    assert [one.id for one in read(tmp_path).cases] == ["a"]
    assert path.read_bytes() == before


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read a benchmark from .*bench --out"):
        read(tmp_path)
    with pytest.raises(UsageError, match="cannot read a benchmark"):
        read(tmp_path / "none")
    (tmp_path / "run.json").write_text("[1", encoding="utf-8")
    with pytest.raises(UsageError, match="run.json is damaged"):
        read(tmp_path)
    (tmp_path / "run.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UsageError, match="no comparison of drafters"):
        read(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(SETUP), encoding="utf-8")
    (tmp_path / "cases.jsonl").write_text("{}\n", encoding="utf-8")
    with pytest.raises(UsageError, match="line 1 of .*cases.jsonl is damaged"):
        read(tmp_path)


FULL = """
import json, resource, signal, sys
from foredraft.bench.journal import Journal
from foredraft.core.errors import ForedraftError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
journal = Journal(sys.argv[1], {"model": "toy", "drafters": ["lookup"]})
case = json.loads(sys.stdin.read())
for name in "abc":
    try:
        journal.add(case | {"id": name})
    except ForedraftError as error:
        sys.exit(f"{name}: {error}")
"""


def test_a_disk_that_fills_up_in_the_middle_of_a_case_costs_that_case_alone(tmp_path: Path) -> None:
    """The kernel refuses to write beyond a size: the write is cut in the middle, as on a full disk."""
    size = len(json.dumps(case("a"), separators=(",", ":"))) + 1
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path), str(2 * size + 40)],
        input=json.dumps(case("a")),
        capture_output=True,
        text=True,
    )
    assert done.stderr.startswith("c: cannot write ")
    assert "make room and run the same command again" in done.stderr
    assert (tmp_path / "cases.jsonl").stat().st_size == 2 * size + 40
    assert [one.id for one in read(tmp_path).cases] == ["a", "b"]
    again = Journal(tmp_path, SETUP)
    again.add(case("c"))
    assert [one.id for one in read(tmp_path).cases] == ["a", "b", "c"]


def test_a_first_file_that_was_half_written_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "run.json.part").write_text('{"mod', encoding="utf-8")
    Journal(tmp_path, SETUP)
    assert read(tmp_path).setup == SETUP
