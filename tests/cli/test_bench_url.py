"""`foredraft bench --url` against servers that do their work and servers that do not."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from foredraft.cli import run
from sse_server import Body, Handler, Told, serving, unused, well
from url_suite import PIECES, Capture, measured, stalls, status, words


def test_a_server_that_does_its_work(suite: Path, capsys: Capture) -> None:
    told = Told(well(PIECES, tokens=6))
    with serving(told) as url:
        found = measured(f"{url}/v1/", suite, capsys, "--concurrency", "1,2")
    assert (found["model"], found["server"], found["url"], found["cases"]) == ("toy", "tests", url, 3)
    assert [one["concurrency"] for one in found["runs"]] == [1, 2]
    for one in found["runs"]:
        assert (one["completed"], one["failures"], one["tokens"], one["tokens_counted_by"]) == (3, {}, 18, "usage")
        assert one["tok_s"] > 0
        assert one["first_ms"]["median"] > 0
        assert set(one["by_task"]) == {"one", "two"}
    assert found["runs"][1]["identical"]
    later = [body["messages"] for body in told.asked if len(body["messages"]) == 3]
    assert later[0][1] == {"role": "assistant", "content": "".join(PIECES)}
    assert {body["max_tokens"] for body in told.asked[1:]} == {8}
    assert len({body["seed"] for body in told.asked[1:]}) == 3


def test_completions_go_on_as_texts(suite: Path, capsys: Capture) -> None:
    told = Told(well(PIECES, tokens=6))
    with serving(told) as url:
        measured(url, suite, capsys, "--raw", "--model", "mine")
    assert set(told.paths) == {"/v1/completions"}
    assert told.asked[-2]["prompt"] == "Hello?\n\n" + "".join(PIECES) + "\n\nAnd then?"
    assert {body["model"] for body in told.asked} == {"mine"}


def test_without_a_count_pieces_are_counted_and_it_says_so(suite: Path, capsys: Capture) -> None:
    def refuses(handler: Handler, body: Body) -> None:
        if "stream_options" in body:
            handler.page(400, "application/json", b'{"error": "unknown field stream_options"}')
        else:
            well(PIECES)(handler, body)

    with serving(Told(refuses)) as url:
        found = measured(url, suite, capsys)
        assert (found["usage"], found["runs"][0]["tokens"]) == (False, 12)
        assert run(words(url, suite)) == 0
    assert "does not count its tokens" in capsys.readouterr().out


def test_the_servers_own_counters(suite: Path, capsys: Capture) -> None:
    told = Told(well(PIECES, tokens=6))

    def metrics() -> str:
        asked = len(told.asked)
        counts = {"drafts": asked, "draft_tokens": 4 * asked, "accepted_tokens": 2 * asked}
        return "".join(f'vllm:spec_decode_num_{name}_total{{a="b"}} {count}\n' for name, count in counts.items())

    told.metrics = metrics
    with serving(told) as url:
        [found] = measured(url, suite, capsys)["runs"]
    assert (found["drafted"], found["accepted"], found["draft_acceptance_rate"]) == (12, 6, 0.5)
    assert (found["mean_acceptance_length"], found["speculation_from"]) == (3.0, "metrics")
    more = {"timings": {"predicted_n": 6, "draft_n": 4, "draft_n_accepted": 3}}
    told.answer = well(PIECES, tokens=6, more=more)
    with serving(Told(told.answer)) as url:
        [found] = measured(url, suite, capsys)["runs"]
    assert (found["drafted"], found["accepted"], found["mean_acceptance_length"]) == (12, 9, 2.0)
    assert found["speculation_from"] == "answers"


# --- from the start, and going on -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ([], "no server answers"),
        (["--url", "ftp://here"], "no address of a server"),
        (["--url", "http://[::1"], "no address of a server"),
        (["--concurrency", "0"], "--concurrency"),
        (["--concurrency", "1,1"], "--concurrency"),
        (["--concurrency", "x"], "--concurrency"),
        (["--timeout", "0"], "--timeout"),
        (["--drafters", "lookup"], "--drafters"),
        (["--threads", "2"], "--threads"),
    ],
)
def test_what_cannot_be_is_one_sentence(options: Sequence[str], why: str, suite: Path, capsys: Capture) -> None:
    assert run(words(unused(), suite, *options)) in (1, 2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert why in captured.err


def test_options_of_a_server_need_one(capsys: Capture) -> None:
    assert run(["bench", "--concurrency", "2"]) == 2
    assert "--concurrency is of a server: give its address with --url" in capsys.readouterr().err


def test_a_server_without_models_needs_a_name(suite: Path, capsys: Capture) -> None:
    with serving(Told(well(PIECES), models=None)) as url:
        assert run(words(url, suite)) == 2
        assert "name the one to ask with --model" in capsys.readouterr().err
        assert measured(url, suite, capsys, "-m", "mine")["model"] == "mine"


def test_a_key_is_sent_and_never_shown(
    suite: Path, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Told(well(PIECES), key="s3cret")) as url:
        assert run(words(url, suite)) == 2
        assert "give the right --api-key" in capsys.readouterr().err
        monkeypatch.setattr("sys.argv", ["foredraft", *words(url, suite, "--api-key", "s3cret")])
        out = tmp_path / "out"
        assert "s3cret" not in json.dumps(measured(url, suite, capsys, "--api-key", "s3cret", "--out", str(out)))
        assert all("s3cret" not in path.read_text(encoding="utf-8") for path in out.iterdir())
        monkeypatch.setenv("FOREDRAFT_API_KEY", "s3cret")
        measured(url, suite, capsys)


def test_a_run_goes_on_and_asks_again_what_failed(suite: Path, capsys: Capture, tmp_path: Path) -> None:
    out, told = str(tmp_path / "out"), Told(status, metrics=lambda: "")
    with serving(told) as url:
        [found] = measured(url, suite, capsys, "--out", out, status=1)["runs"]
        assert (found["failures"], found["not_asked"]) == ({"status": 2}, 1)
        told.answer = well(PIECES, tokens=6)
        [found] = measured(url, suite, capsys, "--out", out, "--timeout", "9")["runs"]
        assert (found["failures"], found["completed"], found["not_asked"]) == ({"status": 2}, 3, 0)
        asked = len(told.asked)
        [again] = measured(url, suite, capsys, "--out", out)["runs"]
        assert len(told.asked) == asked + 1  # to see whether it counts tokens
        assert again == found
        assert run(words(url, suite, "--out", out, "--temperature", "1")) == 2
        assert "temperature was 0.0 and is 1.0" in capsys.readouterr().err


def test_a_dead_server_is_not_asked_for_ever(tmp_path: Path, capsys: Capture) -> None:
    many = tmp_path / "many.jsonl"
    many.write_text("".join(json.dumps({"id": str(at), "task": "t", "turns": ["x"]}) + "\n" for at in range(40)))
    with serving(Told(status)) as url:
        [found] = measured(url, many, capsys, status=1)["runs"]
    assert found["failures"] == {"status": found["requests"]}
    assert 10 <= found["requests"] <= 12
    assert found["not_asked"] == 40 - found["requests"]


def test_so_many_at_a_time(tmp_path: Path, capsys: Capture) -> None:
    many = tmp_path / "many.jsonl"
    many.write_text("".join(json.dumps({"id": str(at), "task": "t", "turns": ["x"]}) + "\n" for at in range(6)))
    together = threading.Barrier(3)

    def answer(handler: Handler, body: Body) -> None:
        if body["messages"][0]["content"] == "x":
            together.wait(10)  # breaks, and the test with it, unless three ask at once
        well(PIECES, tokens=6)(handler, body)

    with serving(Told(answer)) as url:
        [found] = measured(url, many, capsys, "--concurrency", "3")["runs"]
    assert (found["concurrency"], found["completed"]) == (3, 6)


def test_tables_and_words(suite: Path, capsys: Capture) -> None:
    def answer(handler: Handler, body: Body) -> None:
        (status if body["messages"][0]["content"] == "Yes?" else well(PIECES))(handler, body)

    with serving(Told(answer)) as url:
        assert run(words(url, suite)) == 1
    out = capsys.readouterr().out
    assert "at a time" in out
    assert "With 1 at a time 1 failed: 1 an error status." in out
    assert "says nothing of speculation" in out


def test_who_waited_in_vain_is_told_how_to_wait_longer(suite: Path, capsys: Capture) -> None:
    with serving(Told(stalls)) as url:
        assert run(words(url, suite, "--timeout", "0.3")) == 1
    assert "With --timeout above 0.3 s they are waited for longer" in capsys.readouterr().out


def test_an_interrupted_run_keeps_what_it_has_even_beside_a_stalled_server(suite: Path, tmp_path: Path) -> None:
    out, waits = tmp_path / "out", threading.Event()
    cases = out / "cases.jsonl"

    def answer(handler: Handler, body: Body) -> None:
        if body["messages"][-1]["content"] != "And then?":
            well(PIECES, tokens=6)(handler, body)
        else:
            waits.set()
            stalls(handler, body)

    with serving(Told(answer)) as url:
        command = [sys.executable, "-m", "foredraft", *words(url, suite, "--out", str(out), "--timeout", "60")]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
            assert waits.wait(60)
            until = time.monotonic() + 20
            while not (cases.exists() and cases.stat().st_size) and time.monotonic() < until:
                time.sleep(0.02)
            running.send_signal(signal.SIGINT)
            _, errors = running.communicate(timeout=20)
    assert running.returncode == 130
    assert "run the same command again to go on from" in errors
    assert "Traceback" not in errors
    assert [json.loads(line)["case"] for line in cases.read_text().splitlines()] == ["a"]


def test_who_goes_on_is_told_what_was_answered_and_how_many_tries_failed(
    suite: Path, capsys: Capture, tmp_path: Path
) -> None:
    out = str(tmp_path / "out")
    with serving(Told(status)) as url:
        assert run(words(url, suite, "--out", out)) == 1
        assert "2 of 2" in capsys.readouterr().out
        assert run(words(url, suite, "--out", out)) == 1
    told = capsys.readouterr()
    assert "4 of 4" in told.out
    assert "0 of 3 requests were answered before" in told.err
