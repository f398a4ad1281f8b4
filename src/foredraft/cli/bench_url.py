"""`foredraft bench --url`: a server measured from outside, with the same suites."""

from __future__ import annotations

import json as jsonlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import foredraft
from foredraft.bench.machine import commit, machine
from foredraft.bench.prompts import Prompt
from foredraft.bench.record import Json
from foredraft.bench.suites import hash_of, limited, load_suite
from foredraft.bench.url import Asking, Level, agree
from foredraft.bench.url_client import Server
from foredraft.bench.url_record import Answer, Answers, Counted
from foredraft.bench.url_report import report
from foredraft.bench.url_words import COLUMNS, number, row, words
from foredraft.cli.progress import counting
from foredraft.core.errors import UsageError
from foredraft.core.params import SamplingParams

FORMAT = 1  # of the lines in a folder of --out
SECRET = "--api-key"


@dataclass(frozen=True)
class Job:
    """One call of the command. model: None for the first that the server lists. raw: completions, not chats."""

    url: str
    model: str | None
    concurrency: str
    api_key: str | None
    timeout: float
    suite: str
    limit_per_task: int | None
    max_tokens: int
    temperature: float
    seed: int
    raw: bool
    out: str | None
    json: bool
    arguments: tuple[str, ...] = ()

    def run(self) -> int:
        """Measures and prints; returns the exit status: 1 where a request is without an answer."""
        SamplingParams(max_tokens=self.max_tokens, temperature=self.temperature, seed=self.seed)
        if not self.timeout > 0:
            raise UsageError(f"--timeout must be more than 0 seconds, not {self.timeout:g}")
        levels = parse_concurrency(self.concurrency)
        whole = load_suite(self.suite)
        prompts = limited(whole, self.limit_per_task)
        with Server(self.url, self.api_key, self.timeout) as server:
            asking = agree(server, self._asking(server.models(), server.root))
            setup = self._setup(server.root, asking, levels, whole)
            folder = Answers(self.out, setup) if self.out is not None else None
            lines = self._measure(server, asking, prompts, levels, folder)
        # No figure of an answer depends on the timeout, and who goes on may wait longer than before.
        cases = sum(len(prompt.turns) for prompt in prompts)
        result = report(setup, lines, len(prompts), cases) | {"timeout": self.timeout}
        result["arguments"] = without_secrets(self.arguments, self.url, server.root)
        if folder is not None:
            folder.finish(result)
        print(jsonlib.dumps(result, ensure_ascii=False)) if self.json else show(result)
        return int(any(run["completed"] < result["cases"] for run in result["runs"]))

    def _asking(self, listed: Sequence[Json], root: str) -> Asking:
        """Raises UsageError where no model is named, here or there."""
        name = self.model or next((entry["id"] for entry in listed), None)
        if name is None:
            raise UsageError(f"{root} lists no models: name the one to ask with --model")
        owner = next((str(entry.get("owned_by", "")) for entry in listed if entry["id"] == name), "")
        return Asking(name, self.max_tokens, self.temperature, self.seed, self.raw, owner=owner)

    def _measure(
        self,
        server: Server,
        asking: Asking,
        prompts: Sequence[Prompt],
        levels: Sequence[int],
        folder: Answers | None,
    ) -> list[Answer | Counted]:
        """All lines, those of earlier sessions too; of a request that was made again, the last."""
        lines = dict(folder.done) if folder is not None else {}
        session = 1 + max((line.session for line in lines.values()), default=-1)
        wanted = {case for prompt in prompts for case in prompt.cases}
        cases, origin = len(wanted), time.perf_counter()
        done = {key: line for key, line in lines.items() if isinstance(line, Answer) and line.case in wanted}
        if done:
            answered = sum(one.failure is None for one in done.values())
            print(f"{answered} of {cases * len(levels)} requests were answered before", file=sys.stderr)
        keep = folder.add if folder is not None else lambda found: None
        try:
            with counting("requests") as each:
                for place, level in enumerate(levels):
                    before = sum(one.failure is None for one in done.values() if one.concurrency == level)
                    made = place * cases + before
                    running = Level(server, asking, level, session, origin, done)
                    for line in running.run(prompts, keep, partial(_tell, each, made, cases * len(levels))):
                        lines[line.id] = line
        except KeyboardInterrupt:
            if folder is not None:
                print(f"interrupted: run the same command again to go on from {folder.folder}", file=sys.stderr)
            raise
        return [line for line in lines.values() if isinstance(line, Counted) or line.case in wanted]

    def _setup(self, root: str, asking: Asking, levels: Sequence[int], prompts: Sequence[Prompt]) -> Json:
        """All that a figure depends on."""
        return {
            "model": asking.model,
            "engine": "url",
            "url": root,
            "server": asking.owner,
            "api": "completions" if self.raw else "chat completions",
            "concurrency": list(levels),
            "suite": self.suite,
            "suite_sha256": hash_of(prompts),
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": self.seed,
            "usage": asking.usage,
            "machine": machine(),
            "version": foredraft.__version__,
            "commit": commit(),
            "format": FORMAT,
        }


def _tell(each: Callable[[int, int], None], before: int, total: int, made: int) -> None:
    each(before + made, total)


def parse_concurrency(text: str) -> list[int]:
    """`1,2,4` or `1..4`. Raises UsageError for what is neither, or not above 0."""
    try:
        low, dots, high = text.partition("..")
        found = list(range(int(low), int(high) + 1)) if dots else [int(word) for word in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1 or len(set(found)) < len(found):
        raise UsageError(f"--concurrency {text!r} is no list of numbers above 0: write it as 1,2,4 or 1..4")
    return found


def without_secrets(arguments: Sequence[str], url: str, root: str) -> list[str]:
    """The words of the call, but for the key and what else an address may hold."""
    found: list[str] = []
    for word in arguments:
        if found[-1:] == [SECRET]:
            word = "…"
        elif word.startswith(f"{SECRET}="):
            word = f"{SECRET}=…"
        found.append(word.replace(url, root))
    return found


# --- for people -------------------------------------------------------------------------------------------------------


def show(result: Json) -> None:
    """A table of the concurrencies, one of the tasks, and what is to be said of them."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    console.print(f"{result['model']} at {result['url']}, {result['api']}", markup=False)
    what = f"suite {result['suite']}, {result['prompts']} prompts ({result['cases']} requests)"
    console.print(f"{what}, at most {result['max_tokens']} tokens, temperature {result['temperature']:g}", markup=False)
    _print(console, COLUMNS, [row(run) for run in result["runs"]])
    tasks = list(result["runs"][0]["by_task"])
    rows = [[str(run["concurrency"]), *(_task(run, task) for task in tasks)] for run in result["runs"]]
    if tasks:
        _print(console, ("tok/s each by task", *tasks), rows)
    for line in words(result):
        console.print(line, markup=False)


def _task(run: Json, task: str) -> str:
    own = run["by_task"].get(task)
    return number(own["user_tok_s"]) if own else "–"


def _print(console: Any, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for index, column in enumerate(columns):
        table.add_column(Text(column), justify="right" if index else "left", overflow="fold")
    for cells in rows:
        table.add_row(*map(Text, cells))
    console.print(table)
