"""The comparison with llama.cpp: everything but llama.cpp itself."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foredraft.models.toy import NGrams, ToyModel

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))  # where Python finds the modules of a script that it runs

from llama_cpp import bench, ours, report  # noqa: E402
from llama_cpp.bench import Figure, Flags  # noqa: E402
from llama_cpp.build import BROKEN, FIXED, STREAM_SOURCE, Build, BuildError, features, folder_name, patched, variants  # noqa: E402  # noqa: E402
from llama_cpp.serve import SPECULATION, Server, answer, drafted_by, server_command  # noqa: E402
from records import Log, OtherRun, read  # noqa: E402

FLAGS = [Flags(*on, ubatch=size) for on in [(True, True, True), (False, True, False)] for size in (64, 512)]


# --- building -------------------------------------------------------------------------------------------------------

SOURCE = f"void init() {{\n    tc.rows[0] = 8;\n\n{BROKEN}    done = true;\n}}\n"


def test_the_one_line_is_replaced_and_nothing_else() -> None:
    found = patched(SOURCE)
    assert found.splitlines()[:3] == SOURCE.splitlines()[:3]
    assert found.splitlines()[4:] == SOURCE.splitlines()[4:]
    assert "_tile_loadconfig" not in found
    assert "ldtilecfg" in found
    assert found.endswith("done = true;\n}\n")


def test_patching_twice_changes_nothing_more() -> None:
    assert patched(patched(SOURCE)) == patched(SOURCE)


@pytest.mark.parametrize("source", ["", SOURCE + SOURCE, SOURCE + FIXED, SOURCE.replace("(&tc)", "(tc)")])
def test_a_source_that_is_not_as_expected_is_refused(source: str) -> None:
    with pytest.raises(BuildError, match="adapt the fix"):
        patched(source)


def test_features_are_those_that_are_on() -> None:
    info = "CPU : SSE3 = 1 | AVX512_VNNI = 1 | AMX_INT8 = 0 | LLAMAFILE = 1 | SVE_CNT = 64 | "
    assert features(info) == ("SSE3", "AVX512_VNNI", "LLAMAFILE", "SVE_CNT")


def test_a_second_build_is_made_where_there_is_amx_alone() -> None:
    assert variants(["avx2", "amx_int8"]) == ("native", "no-amx")
    assert variants(["avx2", "amx_bf16"]) == ("native",)


def test_build_folders_differ_by_processor_compiler_and_variant() -> None:
    names = {
        folder_name(variant, compiler, flags)
        for variant in ("native", "no-amx")
        for compiler in ("gcc 12", "gcc 13")
        for flags in (["avx2"], ["avx2", "amx_int8"])
    }
    assert len(names) == 8
    assert folder_name("native", "gcc", ["a", "b"]) == folder_name("native", "gcc", ["b", "a"])


# --- llama-bench ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", FLAGS)
def test_an_arm_can_be_read_back_from_its_name(flags: Flags) -> None:
    assert bench.arm_of(bench.arm_name("no-amx", flags)) == ("no-amx", flags)


def test_the_grid_has_every_combination_once() -> None:
    arms = [bench.arm_of(name) for name in bench.grid(["native", "no-amx"])]
    assert len(set(arms)) == len(arms)
    own = [flags for build, flags in arms if build == "native" and flags.ubatch == 512]
    assert {(one.flash_attention, one.repack, one.mmap) for one in own} == {
        (a, b, c) for a in (True, False) for b in (True, False) for c in (True, False)
    }
    assert {flags.ubatch for _, flags in arms} == {128, 256, 512}
    assert [flags.flash_attention for build, flags in arms if build == "no-amx"] == [True, False]


def entry(prompt: int, generated: int, depth: int, samples: list[int]) -> dict[str, Any]:
    return {"n_prompt": prompt, "n_gen": generated, "n_depth": depth, "samples_ns": samples, "avg_ts": 1.0}


def test_figures_are_read_from_llama_bench() -> None:
    output = json.dumps([entry(512, 0, 0, [2_000_000_000]), entry(0, 32, 0, [500_000_000]), entry(8, 0, 256, [1, 3])])
    assert bench.bench_figures(output) == [
        Figure("pp512", 512, (2.0,)),
        Figure("tg32", 32, (0.5,)),
        Figure("pp8@256", 8, (1e-9, 3e-9)),
    ]


@pytest.mark.parametrize("output", ["", "error: no model", "[{}]", "[1]", "{}x"])
def test_output_that_is_no_figures_is_refused(output: str) -> None:
    with pytest.raises(BuildError, match="not understood"):
        bench.bench_figures(output)


def test_rows_are_read_in_order() -> None:
    found = bench.row_figures('{"rows": {"16": [4.0, 2.0], "2": [1.0]}}')
    assert found == [Figure("rows2@256", 2, (0.001,)), Figure("rows16@256", 16, (0.004, 0.002))]


def test_commands_carry_the_flags() -> None:
    flags = Flags(flash_attention=False, repack=False, mmap=False, ubatch=64)
    words = bench.bench_command(Path("b"), Path("m"), 2, flags, ["--n-gen", "1"])
    pairs = dict(zip(words[1::2], words[2::2], strict=True))
    assert (pairs["--flash-attn"], pairs["--repack"], pairs["--load-mode"]) == ("off", "0", "none")
    assert (pairs["--ubatch-size"], pairs["--threads"], pairs["--n-gen"]) == ("64", "2", "1")
    words = server_command(Path("s"), Path("m"), 2, flags, SPECULATION["ngram-simple:3-8"], 8080)
    assert "--no-repack" in words
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert words[words.index("--spec-ngram-simple-size-n") + 1] == "3"
    assert words[words.index("--spec-ngram-simple-size-m") + 1] == "8"
    assert list(drafted_by(Path("d"))["draft-model:4"])[-2:] == ["--spec-draft-n-max", "4"]


def test_speeds_are_medians_over_all_repeats() -> None:
    records = [
        {"arm": "llama.cpp a", "figures": [{"test": "tg32", "tokens": 32, "seconds": [1.0]}]},
        {"arm": "llama.cpp a", "figures": [{"test": "tg32", "tokens": 32, "seconds": [2.0, 8.0]}]},
        {"arm": "foredraft", "figures": [{"test": "tg32", "tokens": 32, "seconds": [0.5]}]},
    ]
    assert bench.speeds(records) == {"tg32": {"llama.cpp a": 16.0, "foredraft": 64.0}}
    assert bench.best_arms(bench.speeds(records)) == {"tg32": "llama.cpp a"}


@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(0.1, 1e3), min_size=1))
def test_the_best_arm_is_beaten_by_none(figures: dict[str, float]) -> None:
    arms = {f"llama.cpp {name}": speed for name, speed in figures.items()} | {"foredraft": 1e9}
    best = bench.best_arms({"tg32": arms, "alone": {"foredraft": 1.0}})
    assert best.keys() == {"tg32"}
    assert arms[best["tg32"]] == max(figures.values())


# --- raw figures ----------------------------------------------------------------------------------------------------

HEADER = {"comparison": "llama.cpp", "commit": "abc"}


def test_a_log_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "new" / "raw.jsonl"
    Log(path, HEADER).add(("tune", "an arm", 0), figures=[1])
    with path.open("a") as file:
        file.write('{"key": ["tune", "an')  # the run was ended while it wrote
    log = Log(path, HEADER)
    assert log.done == {("tune", "an arm", 0)}
    log.add(("tune", "an arm", 1), figures=[2])
    header, records = read(path)
    assert header == HEADER
    assert [record["figures"] for record in records] == [[1], [2]]


@pytest.mark.parametrize("torn", ['{"key": ["a', '{"key": ["é'])
def test_a_log_goes_on_without_writing_again_what_is_there(
    torn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "raw.jsonl"
    Log(path, HEADER).add(("a",), reason="it stopped\u2028here")
    whole = path.read_bytes()
    path.write_bytes(whole + torn.encode()[:-1])

    def full(*about: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert Log(path, HEADER).records == [{"key": ["a"], "reason": "it stopped\u2028here"}]
    assert path.read_bytes() == whole


def test_figures_of_another_run_are_not_added_to(tmp_path: Path) -> None:
    path = tmp_path / "raw.jsonl"
    Log(path, HEADER)
    with pytest.raises(OtherRun, match="another commit"):
        Log(path, HEADER | {"commit": "def"})


@pytest.mark.parametrize(
    "content", ["", "{}\n", '{"comparison": 1}\nx\n{"key": []}\n', '{"comparison": 1}\n{"a": 1}\n']
)
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "raw.jsonl"
    path.write_text(content)
    with pytest.raises(OtherRun):
        read(path)


# --- the summary ----------------------------------------------------------------------------------------------------


def served(arm: str, prompt: str, repeat: int, seconds: float, tokens: list[int], drafted: int = 0) -> dict[str, Any]:
    return {
        "key": ["serve", arm, prompt, repeat],
        "arm": arm,
        "prompt": prompt,
        "repeat": repeat,
        "tokens": tokens,
        "generated": len(tokens),
        "decoded": len(tokens),
        "decode_seconds": seconds,
        "seconds": 2 * seconds,
        "drafted": drafted,
        "accepted": drafted // 2,
    }


LOOP, TEXT = [7] * 10, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
OURS, THEIRS = {"p": TEXT, "q": LOOP}, {"p": TEXT, "q": TEXT}
SERVED = [
    *(served("foredraft none", prompt, r, 1.0, OURS[prompt]) for r in (0, 1) for prompt in "pq"),
    *(served("foredraft lookup", prompt, r, s, OURS[prompt], 4) for r, s in ((0, 0.25), (1, 0.5)) for prompt in "pq"),
    *(served("llama.cpp plain", prompt, r, 2.0, THEIRS[prompt]) for r in (0, 1) for prompt in "pq"),
    served("foredraft none", "p", 2, 1.0, TEXT),  # a repeat that was not finished
]


def test_completions_are_compared_over_full_repeats() -> None:
    found = report.completions(SERVED, lambda tokens: len(set(tokens)) == 1)
    assert (found["prompts"], found["repeats"], found["looping"]) == (2, 2, 1)
    every = found["all"]["arms"]
    assert every["foredraft none"]["decode_tok_s"] == 10.0
    assert every["foredraft lookup"]["decode_tok_s"] == (40.0 + 20.0) / 2
    assert every["foredraft lookup"]["draft_acceptance_rate"] == 0.5
    assert every["llama.cpp plain"]["whole_tok_s"] == 2.5
    best = found["all"]["best_decode_tok_s"]
    assert best == {"foredraft": "foredraft lookup", "llama.cpp": "llama.cpp plain", "ratio": 6.0}
    assert found["without_looping"]["arms"]["foredraft none"]["decode_tok_s"] == 10.0
    assert found["same_tokens_as_foredraft_plain"] == {
        "foredraft none": 2,
        "foredraft lookup": 2,
        "llama.cpp plain": 1,
    }


def test_a_summary_can_be_printed_whatever_was_measured() -> None:
    usual = bench.arm_name("native", Flags())
    machine = {"processor": "a processor"}
    build = {"name": "native", "package": "p", "commit": "c", "features": ["AVX2"]}
    header = {"model": "m", "file": "f", "threads": 2, "machine": machine, "builds": [build], "weight_bytes": 10**8}
    figures = [{"test": "rows1@256", "tokens": 1, "seconds": [0.01]}]
    benched: list[dict[str, Any]] = [
        {"key": ["bench", usual, 0], "arm": usual, "figures": figures},
        {"key": ["bench", "stream", 0], "arm": "stream", "gb_s": [19.0, 20.0, 21.0]},
    ]
    ours_too = [{"key": ["bench", "foredraft", 0], "arm": "foredraft", "figures": figures}]
    for records in ([], benched[:1], benched, benched + ours_too, SERVED, benched + SERVED):
        found = report.summary(header, records, lambda tokens: False)
        json.dumps(found, allow_nan=False)
        assert "no AMX" in report.text(found)
    found = report.summary(header, benched + ours_too, lambda tokens: False)
    assert found["bound_tok_s"] == pytest.approx(200.0)
    assert found["of_bound"]["foredraft"] == pytest.approx(0.5)
    assert found["tests"]["rows1@256"]["ratio"] == 1.0


# --- servers --------------------------------------------------------------------------------------------------------

FAKE = """#!{python}
import http.server, json, os, sys
port = int(sys.argv[sys.argv.index("--port") + 1])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.reply({{"status": "ok"}})
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        timings = {{"predicted_n": 2, "predicted_ms": 500, "prompt_ms": 250, "draft_n": 4, "draft_n_accepted": 1}}
        self.reply({{"tokens": [asked["n_predict"], os.getpid()], "timings": timings}})
    def reply(self, content):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())
    def log_message(self, *words):
        pass
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def fake_build(folder: Path, program: str) -> Build:
    (folder / "bin").mkdir()
    server = folder / "bin" / "llama-server"
    server.write_text(program)
    server.chmod(0o755)
    return Build("native", folder, "c", "gcc", ())


def test_a_server_answers_and_is_ended_whatever_happens(tmp_path: Path) -> None:
    build = fake_build(tmp_path, FAKE.format(python=sys.executable))
    server = Server(build, Path("m"), 1, Flags(), ())
    with ExitStack() as outer:
        outer.enter_context(pytest.raises(RuntimeError, match="stopped"))
        outer.enter_context(server)
        found = server.complete([1, 2, 3], 5)
        raise RuntimeError("stopped")
    assert found.tokens[0] == 5
    assert (found.decode_seconds, found.prompt_seconds, found.drafted, found.accepted) == (0.5, 0.25, 4, 1)
    assert (found.generated, found.decoded) == (2, 1)
    with pytest.raises(ProcessLookupError):
        os.kill(found.tokens[1], 0)


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    build = fake_build(tmp_path, "#!/bin/sh\necho no such model >&2\nexit 1\n")
    with pytest.raises(BuildError, match="no such model"), Server(build, Path("m"), 1, Flags(), ()):
        pass


def test_replies_without_timings_are_refused() -> None:
    with pytest.raises(BuildError, match="timings"):
        answer({"tokens": [1]}, 1.0)


# --- foredraft's side -----------------------------------------------------------------------------------------------


def test_our_side_runs_the_same_tests() -> None:
    model = ToyModel(NGrams.fit([[1, 2, 3, 0, 2]], 5, order=1), context=1024)
    rows = [f"{test}{count}@256" for count in (1, 2, 4, 8, 16) for test in ("pp", "rows")]
    found = {figure.test: figure for figure in ours.measure(model)}
    assert set(found) == {"pp512", "tg32", *rows}
    assert all(figure.tokens == int(test.partition("@")[0].lstrip("prowstg")) for test, figure in found.items())
    assert all(len(found[test].seconds) == 5 for test in rows)


def test_the_copy_prompts_are_twenty_different_tasks() -> None:
    lines = (BENCHMARKS / "prompts" / "copy.jsonl").read_text(encoding="utf-8").splitlines()
    prompts = [json.loads(line) for line in lines]
    assert len({prompt["id"] for prompt in prompts}) == len({prompt["turns"][0] for prompt in prompts}) == 20
    assert all(prompt.keys() == {"id", "task", "turns"} and len(prompt["turns"]) == 1 for prompt in prompts)
    assert len({prompt["task"] for prompt in prompts}) >= 6
    assert all(120 <= len(re.findall(r"\w+|[^\w\s]", prompt["turns"][0])) <= 450 for prompt in prompts)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
def test_the_streaming_reader_compiles_and_reports(tmp_path: Path) -> None:
    program = tmp_path / "stream"
    subprocess.run(["c++", "-std=c++20", "-O3", "-pthread", str(STREAM_SOURCE), "-o", str(program)], check=True)
    output = subprocess.run([program, "--mb", "512", "--repeats", "3"], capture_output=True, check=True).stdout
    found = json.loads(output)
    assert (found["mb"], found["threads"], len(found["all"])) == (512, 2, 3)
    assert found["gb_s"] == np.median(found["all"]) > 0
    for wrong in (["--mb", "1"], ["--threads", "0"], ["--speed", "9"], ["--mb"], ["--repeats", "3x"]):
        assert subprocess.run([program, *wrong], capture_output=True).returncode == 2
