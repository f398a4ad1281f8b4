"""The command line on a tiny real model: what it prints, its exit statuses, and how it refuses bad input."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

from foredraft.cli import run
from tiny import write_model

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("tiny"))


def refused(capsys: Capture, status: int, *arguments: str) -> str:
    """Runs a command that must fail with `status`; returns the one sentence it printed."""
    assert run(arguments) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("foredraft: ")
    assert "Traceback" not in captured.err
    return lines[0]


def as_json(capsys: Capture, *arguments: str) -> dict[str, object]:
    assert run(arguments) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_generate_streams_text_and_reports_on_stderr(tiny: Path, capsys: Capture) -> None:
    assert run(["generate", "--threads", "1", "-m", str(tiny), "--max-tokens", "12", "hello"]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip()
    assert "tok/s" in captured.err


@pytest.mark.parametrize(
    "options", [[], ["--temperature", "0.8", "--seed", "7"], ["--temperature", "1.5", "--top-k", "9"]]
)
@pytest.mark.parametrize("drafter", ["lookup", "lookup:n=1,branches=3", "model"])
def test_tokens_do_not_depend_on_the_drafter(tiny: Path, capsys: Capture, drafter: str, options: list[str]) -> None:
    common = [
        "generate",
        "--threads",
        "1",
        "-m",
        str(tiny),
        "--json",
        "--max-tokens",
        "40",
        "--seed",
        "7",
        *options,
        "abcabcabcabc",
    ]
    name = f"model:{tiny},k=3" if drafter == "model" else drafter
    plain = as_json(capsys, *common, "--drafter", "none")
    ours = as_json(capsys, *common, "--drafter", name)
    again = as_json(capsys, *common, "--drafter", name)
    assert ours["token_ids"] == plain["token_ids"] == again["token_ids"]
    assert ours["seed"] == 7
    assert ours["finish_reason"] in ("stop", "length")
    assert ours["stats"]["num_draft_tokens"] > 0  # type: ignore[index]


def test_a_seed_is_drawn_and_reported(tiny: Path, capsys: Capture) -> None:
    common = [
        "generate",
        "--threads",
        "1",
        "-m",
        str(tiny),
        "--json",
        "--max-tokens",
        "12",
        "--temperature",
        "2",
        "hello",
    ]
    first = as_json(capsys, *common)
    again = as_json(capsys, *common, "--seed", str(first["seed"]))
    assert first["token_ids"] == again["token_ids"]


def test_compare_prints_both_speeds_and_identity(tiny: Path, capsys: Capture) -> None:
    assert (
        run(
            ["generate", "--threads", "1", "-m", str(tiny), "--compare", "--explain", "--max-tokens", "24", "abcabcabc"]
        )
        == 0
    )
    captured = capsys.readouterr()
    assert "plain: " in captured.out
    assert "identical: yes" in captured.out
    assert "mean acceptance length" in captured.out
    assert "time: draft" in captured.err
    assert re.search(r"from \w+: \d+ of \d+ accepted, .*% of the time", captured.err)
    judged = r"(not measured yet|being tried|always asked|asked for|asked only|left alone|let go)"
    assert all(re.search(rf"^{source} {judged}", captured.err, re.MULTILINE) for source in ("suffix", "recycling"))
    assert re.search(
        r"expected of a round: \d+\.\d\d tokens in .* ms, .* tok/s\ncame of a round: .*\ndifference: [+-]", captured.err
    )
    found = as_json(
        capsys, "generate", "--threads", "1", "-m", str(tiny), "--compare", "--json", "--max-tokens", "24", "abcabcabc"
    )
    assert set(found["compare"]) == {"plain_tok_s", "tok_s", "speedup", "identical", "first_difference"}  # type: ignore[call-overload]


SAID: dict[str, tuple[list[str], str]] = {
    "vLLM's": (["--speculative-config", '{"method": "ngram", "prompt_lookup_max": 2}'], "lookup:n=2"),
    "llama.cpp's": (["-md", "TINY", "--num-speculative-tokens", "3", "--drafter", "lookup"], "lookup+model:TINY"),
    "Hugging Face's": (
        ["--speculative-config", '{"assistant_model": "TINY", "num_assistant_tokens_schedule": "heuristic"}'],
        "model:TINY",
    ),
}


@pytest.mark.parametrize("case", SAID)
def test_how_to_draft_may_be_said_in_the_words_of_others(tiny: Path, capsys: Capture, case: str) -> None:
    options, drafter = SAID[case]
    common = ["generate", "--threads", "1", "-m", str(tiny), "--json", "--max-tokens", "24", "abcabcabcabc"]
    found = as_json(capsys, *common, *(word.replace("TINY", str(tiny)) for word in options))
    assert found["token_ids"] == as_json(capsys, *common, "--drafter", "none")["token_ids"]
    assert found["stats"]["drafter"] == drafter.replace("TINY", str(tiny))  # type: ignore[index]


WRONG_WORDS = {
    "an unknown name": (["--speculative-config", '{"metod": "ngram"}'], "metod"),
    "no JSON": (["--speculative-config", "ngram"], "--speculative-config is not JSON"),
    "two drafters": (["--speculative-config", '{"method": "ngram"}', "--drafter", "suffix"], "each say how to draft"),
    "two lengths": (["--num-speculative-tokens", "3", "--drafter", "lookup:k=2"], "num_speculative_tokens"),
    "a length and a policy": (["--num-speculative-tokens", "3", "--policy", "bandit"], "nothing to decide"),
    "a negative length": (["--num-speculative-tokens", "-3"], "num_speculative_tokens"),
    "a draft model for nobody": (["-md", "x", "--drafter", "none"], "drafts nothing"),
    "an unknown draft model": (["-md", "no-such-model"], "no-such-model"),
}


@pytest.mark.parametrize("case", WRONG_WORDS)
def test_wrong_words_about_drafting_are_refused(tiny: Path, capsys: Capture, case: str) -> None:
    options, named = WRONG_WORDS[case]
    assert named in refused(capsys, 2, "generate", "--threads", "1", "-m", str(tiny), *options, "hello")


def test_the_prompt_may_come_from_a_file_or_stdin(
    tiny: Path, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = ["generate", "--threads", "1", "-m", str(tiny), "--json", "--max-tokens", "8"]
    (tmp_path / "prompt.txt").write_text("hello", encoding="utf-8")
    direct = as_json(capsys, *common, "hello")
    assert as_json(capsys, *common, "-f", str(tmp_path / "prompt.txt"))["token_ids"] == direct["token_ids"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello"))
    assert as_json(capsys, *common, "-f", "-")["token_ids"] == direct["token_ids"]


def test_stop_strings_end_the_text(tiny: Path, capsys: Capture) -> None:
    common = [
        "generate",
        "-m",
        str(tiny),
        "--json",
        "--max-tokens",
        "60",
        "--temperature",
        "3",
        "--seed",
        "5",
        "--raw",
        "x",
    ]
    whole = str(as_json(capsys, *common)["text"])
    plain = "".join(letter for letter in whole if letter.isascii() and letter.isprintable())
    assert plain, whole
    cut = as_json(capsys, *common, "--stop", plain[0])
    assert cut["text"] == whole[: whole.index(plain[0])]
    assert cut["finish_reason"] == "stop"


def test_version_help_and_lists(capsys: Capture) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("foredraft 0.")
    assert run(["drafters"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ("none", "lookup", "model", "branches", "num_speculative_tokens"))
    assert run(["models"]) == 0
    assert "smollm2" in capsys.readouterr().out
    assert run(["drafters", "--json"]) == 0
    assert {row["name"] for row in json.loads(capsys.readouterr().out)} >= {"none", "lookup", "model"}


def test_models_show_tells_what_a_file_is(tiny: Path, capsys: Capture) -> None:
    assert run(["models", "show", str(tiny)]) == 0
    assert "llama" in capsys.readouterr().out
    assert as_json(capsys, "models", "show", str(tiny), "--json")["layers"] == 2


WRONG_USE = {
    "unknown model": (["generate", "-m", "no-such-model", "hi"], "no-such-model"),
    "unknown drafter": (["generate", "--drafter", "magic", "hi"], "magic"),
    "unknown drafter option": (["generate", "--drafter", "lookup:depth=3", "hi"], "depth"),
    "wrong option value": (["generate", "--drafter", "lookup:n=many", "hi"], "many"),
    "a drafter without its model": (["generate", "--drafter", "model", "hi"], "model"),
    "unknown verifier": (["generate", "--verifier", "magic", "hi"], "magic"),
    "unknown engine": (["generate", "--threads", "1", "-m", "TINY", "--engine", "magic", "hi"], "magic"),
    "unknown option": (["generate", "--magic", "hi"], "--magic"),
    "unknown command": (["magic"], "magic"),
    "no prompt": (["generate", "--threads", "1", "-m", "TINY"], "prompt"),
    "two prompts": (["generate", "--threads", "1", "-m", "TINY", "-f", "-", "hi"], "prompt"),
    "unknown file": (["generate", "--threads", "1", "-m", "TINY", "-f", "no-such-file", "x"][:-1], "no-such-file"),
    "an empty prompt": (["generate", "--threads", "1", "-m", "TINY", "--raw", ""], "empty"),
    "an empty prompt in a chat": (["generate", "--threads", "1", "-m", "TINY", ""], "empty"),
    "a prompt that does not fit": (["generate", "--threads", "1", "-m", "TINY", "--raw", "x" * 300], "300"),
    "temperature below 0": (["generate", "--threads", "1", "-m", "TINY", "--temperature", "-1", "hi"], "temperature"),
    "temperature not a number": (
        ["generate", "--threads", "1", "-m", "TINY", "--temperature", "nan", "hi"],
        "temperature",
    ),
    "top_p of 0": (["generate", "--threads", "1", "-m", "TINY", "--top-p", "0", "hi"], "top_p"),
    "top_p above 1": (["generate", "--threads", "1", "-m", "TINY", "--top-p", "1.5", "hi"], "top_p"),
    "negative top_k": (["generate", "--threads", "1", "-m", "TINY", "--top-k", "-3", "hi"], "top_k"),
    "no tokens": (["generate", "--threads", "1", "-m", "TINY", "--max-tokens", "0", "hi"], "max_tokens"),
    "negative seed": (["generate", "--threads", "1", "-m", "TINY", "--seed", "-1", "hi"], "seed"),
    "no threads": (["generate", "-m", "TINY", "--threads", "0", "hi"], "threads"),
    "an empty stop string": (["generate", "--threads", "1", "-m", "TINY", "--stop", "", "hi"], "stop"),
}


@pytest.mark.parametrize("case", WRONG_USE)
def test_wrong_use_is_one_sentence_and_status_2(case: str, tiny: Path, capsys: Capture) -> None:
    arguments, named = WRONG_USE[case]
    assert named in refused(capsys, 2, *(str(tiny) if word == "TINY" else word for word in arguments))


def test_a_drafter_of_another_vocabulary_is_refused(tiny: Path, capsys: Capture, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other", extra="zzz")
    gone = json.loads((other / "tokenizer.json").read_text(encoding="utf-8"))
    words = gone["model"]["vocab"]
    words["!"], words['"'] = words['"'], words["!"]
    (other / "tokenizer.json").write_text(json.dumps(gone), encoding="utf-8")
    capsys.readouterr()  # transformers shows a bar while it writes
    sentence = refused(capsys, 2, "generate", "--threads", "1", "-m", str(tiny), "--drafter", f"model:{other}", "hi")
    assert "cannot draft for" in sentence


def test_damaged_weights_are_refused(tiny: Path, capsys: Capture, tmp_path: Path) -> None:
    broken = shutil.copytree(tiny, tmp_path / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    refused(capsys, 1, "generate", "-m", str(broken), "hi")
    (tmp_path / "short.gguf").write_bytes(b"GGUF\x03\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\x7f")
    refused(capsys, 1, "generate", "-m", str(tmp_path / "short.gguf"), "hi")
    (tmp_path / "text.gguf").write_text("not weights at all", encoding="utf-8")
    refused(capsys, 1, "generate", "-m", str(tmp_path / "text.gguf"), "hi")


def test_pickled_weights_and_remote_code_are_refused(tiny: Path, capsys: Capture, tmp_path: Path) -> None:
    pickled = shutil.copytree(tiny, tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    assert "safetensors" in refused(capsys, 1, "generate", "-m", str(pickled), "hi")
    remote = shutil.copytree(tiny, tmp_path / "remote")
    config = json.loads((remote / "config.json").read_text(encoding="utf-8"))
    config["auto_map"] = {"AutoModelForCausalLM": "modeling.Evil"}
    (remote / "config.json").write_text(json.dumps(config), encoding="utf-8")
    refused(capsys, 1, "generate", "-m", str(remote), "hi")


def test_without_a_network_the_remedy_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    nowhere = {"FOREDRAFT_MODELS": str(tmp_path / "models"), "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    for name in ("qwen2.5-coder-0.5b", "org/model"):
        command = [sys.executable, "-m", "foredraft", "models", "pull", name]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | nowhere, timeout=120)
        assert done.returncode == 1
        assert done.stdout == ""
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert "connect" in done.stderr
    left = [path for path in (tmp_path / "models").rglob("*") if path.is_file()]
    assert not left


def test_ctrl_c_ends_with_what_was_produced(tiny: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "foredraft",
        "generate",
        "--threads",
        "1",
        "-m",
        str(tiny),
        "--max-tokens",
        "200",
        "--raw",
    ]
    command += ["--temperature", "3", "--seed", "2", "--threads", "1", "hello"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    first = process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert first
    assert b"Traceback" not in err
    assert process.returncode in (0, 130)  # 0 when it had already finished


def test_a_reader_that_leaves_is_not_an_error_report(tiny: Path) -> None:
    command = f"{sys.executable} -m foredraft generate -m {tiny} --max-tokens 50 hello | head -c 1 >/dev/null"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=120)
    assert b"Traceback" not in done.stderr


def test_chat_keeps_the_cache_and_reports(tiny: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello\nand again\n/reset\nhello\n/quit\n"))
    assert run(["chat", "--threads", "1", "-m", str(tiny), "--max-tokens", "8"]) == 0
    captured = capsys.readouterr()
    assert captured.err.count("tok/s") == 3
    assert captured.err.count("prompt tokens reused") == 1
    lines = captured.out.splitlines()
    assert lines[0] == lines[-1], "after /reset the same question has the same answer"
