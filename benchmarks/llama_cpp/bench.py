"""llama.cpp's speed on made-up tokens: `llama-bench`, and passes that compute the logits of every row.

Figures are (test, tokens, seconds): `pp512` a prompt of 512 tokens, `tg32` 32 tokens one by one, `pp8@256` eight rows
over a context of 256 with logits of the last one alone, as llama-bench does it, `rows8@256` the same with logits of all
eight, as checking drafts needs them.
"""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llama_cpp.build import Build, BuildError

PROMPT = 512
GENERATED = 32
DEPTH = 256
ROWS = (1, 2, 4, 8, 16)
SMALL_REPEATS = 5  # small passes are short: so many of them each time


@dataclass(frozen=True)
class Flags:
    """How llama.cpp runs a model."""

    flash_attention: bool = True
    repack: bool = True
    mmap: bool = True
    ubatch: int = 512

    @property
    def name(self) -> str:
        return f"fa={self.flash_attention:d},repack={self.repack:d},mmap={self.mmap:d},ub={self.ubatch}"

    @staticmethod
    def parse(name: str) -> Flags:
        """The inverse of `name`."""
        fields = dict(part.split("=") for part in name.split(","))
        on = {key: fields[key] == "1" for key in ("fa", "repack", "mmap")}
        return Flags(on["fa"], on["repack"], on["mmap"], int(fields["ub"]))

    @property
    def attention(self) -> str:
        return "on" if self.flash_attention else "off"

    @property
    def load_mode(self) -> str:
        return "mmap" if self.mmap else "none"


@dataclass(frozen=True)
class Figure:
    """Seconds that repeats of a test took; tokens of one repeat."""

    test: str
    tokens: int
    seconds: tuple[float, ...]

    @property
    def as_json(self) -> dict[str, Any]:
        return {"test": self.test, "tokens": self.tokens, "seconds": list(self.seconds)}

    @property
    def tok_s(self) -> float:
        return self.tokens / statistics.median(self.seconds)


def arm_name(build: str, flags: Flags) -> str:
    return f"llama.cpp {build} {flags.name}"


def arm_of(name: str) -> tuple[str, Flags]:
    """Build and flags of an arm's name."""
    _, build, flags = name.split(" ")
    return build, Flags.parse(flags)


def grid(builds: Sequence[str]) -> list[str]:
    """The arms worth trying: every combination of flags in the first build, the usual ones in the others."""
    every = [Flags(*on) for on in itertools.product((True, False), repeat=3)]
    smaller = [replace(Flags(), flash_attention=on, ubatch=size) for size in (128, 256) for on in (True, False)]
    usual = [replace(Flags(), flash_attention=on) for on in (True, False)]
    return [arm_name(builds[0], flags) for flags in every + smaller] + [
        arm_name(build, flags) for build in builds[1:] for flags in usual
    ]


# --- llama-bench ----------------------------------------------------------------------------------------------------


def bench_command(program: Path, model: Path, threads: int, flags: Flags, tests: Sequence[str]) -> list[str]:
    """The command of one llama-bench run; tests: its own words for what to measure."""
    return [
        *(str(program), "--model", str(model), "--threads", str(threads), "--output", "json"),
        *("--flash-attn", flags.attention, "--repack", f"{flags.repack:d}", "--load-mode", flags.load_mode),
        *("--ubatch-size", str(flags.ubatch), "--n-gpu-layers", "0", *tests),
    ]


def bench_figures(output: str) -> list[Figure]:
    """The figures of llama-bench's JSON output. Raises BuildError when it is none."""
    try:
        return [_figure(entry) for entry in json.loads(output)]
    except (ValueError, KeyError, TypeError) as error:
        raise BuildError(f"llama-bench's output is not understood ({error!r}): {output[:300]!r}") from None


def _figure(entry: Mapping[str, Any]) -> Figure:
    prompt, generated, depth = (int(entry[name]) for name in ("n_prompt", "n_gen", "n_depth"))
    test = f"pp{prompt}" if prompt else f"tg{generated}"
    seconds = tuple(sample / 1e9 for sample in entry["samples_ns"])
    return Figure(f"{test}@{depth}" if depth else test, prompt or generated, seconds)


def row_figures(output: str, depth: int = DEPTH) -> list[Figure]:
    """The figures of `llama-logits passes`."""
    rows = json.loads(output)["rows"]
    return [Figure(f"rows{m}@{depth}", int(m), tuple(ms / 1e3 for ms in rows[m])) for m in sorted(rows, key=int)]


def measure(build: Build, model: Path, threads: int, flags: Flags) -> list[Figure]:
    """One measurement of every test with these flags. Raises BuildError when a program fails."""
    whole = ("--n-prompt", str(PROMPT), "--n-gen", str(GENERATED), "--repetitions", "1")
    rows = ",".join(map(str, ROWS))
    small = ("--n-prompt", rows, "--n-gen", "0", "--n-depth", str(DEPTH), "--repetitions", str(SMALL_REPEATS))
    program = build.program("llama-bench")
    found = [
        figure
        for tests in (whole, small)
        for figure in bench_figures(output(bench_command(program, model, threads, flags, tests)))
    ]
    passes = [
        *(str(build.program("llama-logits")), "passes", str(model), *logits_words(threads, flags)),
        *("--rows", rows, "--depth", str(DEPTH), "--repeats", str(SMALL_REPEATS)),
    ]
    return found + row_figures(output(passes))


def logits_words(threads: int, flags: Flags) -> list[str]:
    """The options of llama-logits."""
    return [
        *("--threads", str(threads), "--flash-attn", flags.attention, "--repack", f"{flags.repack:d}"),
        *("--mmap", f"{flags.mmap:d}", "--ubatch", str(flags.ubatch)),
    ]


def output(command: Sequence[str]) -> str:
    """Standard output of a program. Raises BuildError with the end of its errors when it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BuildError(f"{' '.join(command)} failed with status {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout


# --- the best flags -------------------------------------------------------------------------------------------------


def speeds(records: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """test -> arm -> tokens a second: the median over all repeats of the records' figures."""
    seconds: dict[tuple[str, str], list[float]] = {}
    tokens: dict[str, int] = {}
    for record in records:
        for figure in record["figures"]:
            tokens[figure["test"]] = figure["tokens"]
            seconds.setdefault((figure["test"], record["arm"]), []).extend(figure["seconds"])
    found: dict[str, dict[str, float]] = {}
    for (test, arm), spent in seconds.items():
        found.setdefault(test, {})[arm] = tokens[test] / statistics.median(spent)
    return found


def best_arms(by_test: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """test -> the arm of llama.cpp that is fastest at it."""
    theirs = {
        test: {arm: s for arm, s in arms.items() if arm.startswith("llama.cpp ")} for test, arms in by_test.items()
    }
    return {test: max(arms, key=lambda arm: arms[arm]) for test, arms in theirs.items() if arms}
