"""The comparison with other engines: everything but those engines."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from http.client import IncompleteRead
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))  # as when the script runs

import compare_peers  # noqa: E402
from asked import read_prompts  # noqa: E402
from compare_peers import Comparison, TimeUp, _options  # noqa: E402
from peers.hugging_face import HuggingFace  # noqa: E402
from peers.llama_server import LlamaServer  # noqa: E402
from peers.open_vino import OpenVino  # noqa: E402
from peers.peer import Answer, Given, Peer, PeerError  # noqa: E402
from peers.table import agreement, by_arm, losses, table  # noqa: E402
from peers.worker import Worker, WorkerError  # noqa: E402
from records import read  # noqa: E402

GIVEN = Given(Path("m.gguf"), None, 2, (2,), Path("cache"))
DRAFTED = Given(Path("m.gguf"), Path("d.gguf"), 2, (2,), Path("cache"))
HEADER = {
    "comparison": "peers",
    "file": "m.gguf",
    "max_tokens": 4,
    "threads": 2,
    "machine": {"processor": "P", "isa": ["avx2"]},
    "peers": {"foredraft": {"version": "1", "precision": "int4"}, "other": {"cannot": "it is | not there"}},
}


def measure(arm: str, prompt: str, seconds: float, tokens: Sequence[int] = (1, 2, 3, 4), **more: Any) -> dict[str, Any]:
    asked = {"arm": arm, "variant": "v", "prompt": prompt, "task": prompt[0], "prompt_tokens": 3}
    return {"key": ["measure", arm, prompt], **asked, "tokens": list(tokens), "seconds": seconds, "first": 0.1, **more}


# --- figures ----------------------------------------------------------------------------------------------------------

RECORDS = [
    measure("foredraft auto", "a1", 1.0),
    measure("foredraft none", "a1", 2.0),
    measure("other plain", "a1", 4.0, (1, 2, 9, 4)),
    measure("foredraft auto", "b1", 2.0),
    measure("foredraft none", "b1", 1.0),
    measure("other plain", "b1", 1.0),
    measure("foredraft auto", "b2", 2.0),
    {"key": ["cannot", "other lookup"], "arm": "other lookup", "reason": "no such | way"},
    measure("other lookup", "a1", 0.1),
    {"key": ["try", "other plain", "v", "a1"], "arm": "other plain", "variant": "v", "seconds": 9.0},
]


def test_only_prompts_that_all_answered_count_and_no_engine_that_failed() -> None:
    arms = by_arm(RECORDS)
    assert {arm: list(own) for arm, own in arms.items()} == dict.fromkeys(
        ("foredraft auto", "foredraft none", "other plain"), ["a1", "b1"]
    )


def test_where_anything_is_faster_is_said() -> None:
    assert losses(by_arm(RECORDS)) == ["b against foredraft none (0.50)", "b against other plain (0.50)"]


def test_figures_without_a_prompt_that_all_answered_are_no_table() -> None:
    for records in ([], RECORDS[-1:], [measure("foredraft none", "a1", 1.0), measure("foredraft auto", "b1", 1.0)]):
        assert "no prompt yet" in table(HEADER, records)


def test_agreement_says_how_many_and_from_where() -> None:
    arms = by_arm(RECORDS)
    assert agreement(arms["other plain"], arms["foredraft none"]) == (1, 2)
    assert agreement(arms["foredraft auto"], arms["foredraft none"]) == (2, None)


def test_the_table_has_every_arm_the_fastest_first_and_the_reasons() -> None:
    lines = table(HEADER, RECORDS).splitlines()
    rows = [line for line in lines if line.startswith("| ")][2:]
    assert [row.split(" | ")[0] for row in rows] == [
        "| foredraft auto",
        "| foredraft none",
        "| other plain",
        "| other lookup",
    ]
    assert "| 4.0 | 2.0 | **2.7** | 3.0 | 1 |" in rows[0]
    assert "1 of 2, else from token 2" in rows[2]
    assert rows[3].endswith("cannot run: no such / way |")
    assert len({row.count("|") for row in rows}) == 1
    assert any(line.endswith("; b against other plain (0.50).") for line in lines)
    assert "- other: cannot run: it is | not there." in lines


@pytest.mark.parametrize(
    "path", sorted(BENCHMARKS.glob("results/peers/*/figures.jsonl")), ids=lambda path: path.parent.name
)
def test_committed_figures_are_small_and_name_no_machine_path(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text) < 5_000_000
    assert "/home/" not in text
    assert str(Path.home()) not in text
    assert "foredraft auto" in by_arm(read(path)[1])


# --- engines ----------------------------------------------------------------------------------------------------------


def test_ways_need_a_draft_model_where_they_do() -> None:
    for peer, more in ((HuggingFace, "assistant"), (OpenVino, "draft-model")):
        assert set(peer(GIVEN).ways) == {"plain", "prompt-lookup"}
        assert set(peer(DRAFTED).ways) == {"plain", "prompt-lookup", more}


def test_llama_cpp_tries_flags_alone_and_guessing_with_each_repacking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peers.llama_server.build", lambda folder, name: SimpleNamespace(name=name, about={}))
    monkeypatch.setattr("peers.llama_server.variants", lambda flags: ("native", "no-amx"))
    ways = LlamaServer(DRAFTED).ways
    assert set(ways) == {"plain", "ngram-simple", "ngram-mod", "draft-model"}
    assert {one.split(" ")[0] for one in ways["plain"]} == {"native", "no-amx"}
    assert len(ways["plain"]) == 8
    assert len(ways["ngram-simple"]) == 6
    assert all(one.startswith("native fa=1") for one in ways["draft-model"])


ECHO = """
import sys
import time
from peers.worker import serve

def answer(call):
    print("noise")
    if call.get("fail"):
        raise ValueError("no such thing")
    if call.get("die"):
        sys.exit("gone for good")
    if call.get("hang"):
        time.sleep(60)
    return {"twice": 2 * call["number"]}

serve(answer)
"""


def test_a_worker_answers_reports_and_is_missed(tmp_path: Path) -> None:
    (tmp_path / "echo.py").write_text(ECHO)
    (tmp_path / "peers").symlink_to(BENCHMARKS / "peers")
    worker = Worker(sys.executable, "echo", log=tmp_path / "log", folder=tmp_path)
    try:
        assert worker.call(number=21) == {"twice": 42}
        with pytest.raises(WorkerError, match="ValueError: no such thing"):
            worker.call(fail=True)
        assert worker.call(number=1) == {"twice": 2}
        with pytest.raises(WorkerError, match="its process ended: gone for good"):
            worker.call(die=True)
    finally:
        worker.close()


def test_a_worker_that_hangs_is_ended(tmp_path: Path) -> None:
    (tmp_path / "echo.py").write_text(ECHO)
    (tmp_path / "peers").symlink_to(BENCHMARKS / "peers")
    worker = Worker(sys.executable, "echo", log=tmp_path / "log", folder=tmp_path, patience=1.0)
    try:
        with pytest.raises(WorkerError, match="no answer in 1 s"):
            worker.call(hang=True)
    finally:
        worker.close()


@pytest.mark.parametrize("error", [IncompleteRead(b"{"), ValueError("half a reply"), ConnectionResetError("gone")])
def test_a_server_that_dies_while_it_answers_cannot_run(error: Exception) -> None:
    def complete(*about: object, **more: object) -> None:
        raise error

    server = LlamaServer(GIVEN)
    server._running["v"] = SimpleNamespace(complete=complete)  # type: ignore[assignment]
    with pytest.raises(PeerError):
        server.complete("v", (1,), 4)


# --- the run ----------------------------------------------------------------------------------------------------------


class Fake(Peer):
    """An engine whose variant `slow` takes longer, and that fails where it is told to."""

    def __init__(self, name: str, ways: dict[str, tuple[str, ...]], fails: Sequence[str] = ()) -> None:
        self.name = name
        self._ways = ways
        self.fails = fails
        self.asked: list[tuple[str, int]] = []

    @property
    def about(self) -> dict[str, Any]:
        if "all" in self.fails:
            raise PeerError("not installed")
        return {"version": "1", "precision": "exact"}

    @property
    def ways(self) -> dict[str, tuple[str, ...]]:
        return self._ways

    def start(self, variants: Sequence[str]) -> None:
        for variant in variants:
            if variant in self.fails:
                raise PeerError(f"{variant} cannot start")

    def complete(self, variant: str, ids: Sequence[int], count: int) -> Answer:
        self.asked.append((variant, count))
        return Answer((7,) * count, 2.0 if "slow" in variant else 1.0, 0.5)

    def stop(self) -> None:
        pass


def comparison(tmp_path: Path, peers: list[Peer], patch: pytest.MonkeyPatch, until: float | None = None) -> Comparison:
    """One without models: its prompts are four, its engines as given."""
    patch.setattr(compare_peers, "PAUSE", 0.0)
    made = Comparison.__new__(Comparison)
    made.options = SimpleNamespace(max_tokens=5, out=tmp_path)  # type: ignore[assignment]
    made.until = until
    made.file = tmp_path / "m.gguf"
    made.peers = peers
    header = HEADER | {"peers": {peer.name: made._about(peer) for peer in peers}}
    made.log = compare_peers.Log(tmp_path / "figures.jsonl", header)
    made.__dict__["_prompts"] = [compare_peers.Prompt(f"{task}{at}", task, (1, 2)) for at in (1, 2) for task in "ab"]
    return made


def engines() -> list[Peer]:
    ours = Fake("foredraft", {"auto": ("auto",), "none": ("none",)})
    other = Fake("other", {"plain": ("slow", "quick", "broken"), "lookup": ("never",)}, fails=("broken", "never"))
    return [ours, other, Fake("missing", {"plain": ("x",)}, fails=("all",))]


def test_a_run_tries_variants_measures_all_and_goes_on_without_asking_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = engines()
    comparison(tmp_path, peers, monkeypatch).run()
    header, records = read(tmp_path / "figures.jsonl")
    arms = by_arm(records)
    assert set(arms) == {"foredraft auto", "foredraft none", "other plain"}
    assert all(len(own) == 4 for own in arms.values())
    assert {one["variant"] for one in arms["other plain"].values()} == {"quick"}
    reasons = {record["arm"]: record["reason"] for record in records if record["key"][0] == "cannot"}
    assert reasons == {"other lookup": "never cannot start", "missing": "not installed"}
    again = engines()
    comparison(tmp_path, again, monkeypatch).run()
    assert [peer.asked for peer in again if isinstance(peer, Fake)] == [[], [], []]
    assert read(tmp_path / "figures.jsonl") == (header, records)
    assert "other plain" in table(header, records)


def test_a_run_whose_time_is_over_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TimeUp):
        comparison(tmp_path, engines(), monkeypatch, until=0.0).run()


@pytest.mark.parametrize(
    "words", [["--prompts", "x", "--peers", "foredraft,nobody"], [], ["--prompts", "x", "--drafters", "auto"]]
)
def test_wrong_use_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _options(words)
    assert "error" in capsys.readouterr().err


def test_prompts_are_the_first_of_each_task_in_the_chat_template(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    lines = [{"id": f"{task}{at}", "task": task, "turns": [f"{task}{at}?", "more"]} for task in "ab" for at in range(3)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    llm: Any = SimpleNamespace(encode_chat=lambda chat: tuple(map(ord, chat[0]["content"])))
    found = read_prompts(path, llm, per_task=2)
    assert [one.id for one in found] == ["a0", "a1", "b0", "b1"]
    assert found[0].ids == tuple(map(ord, "a0?"))
    assert [one.id for one in read_prompts(path, llm, limit=1)] == ["a0"]
