"""Prompts to benchmark with: the package's own, or a file of JSON lines {"id", "task", "turns": [text, …]}.

Turns are what a user says one after another; what the model answers comes in between. Nothing malformed is left out
silently: the line is named and refused. Lines as Spec-Bench has them (Xia et al. 2024, arXiv:2401.07851) do as well:
{"question_id", "category", "turns"}, the eight categories of MT-Bench being its one task `mt_bench`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol, TypeVar

from foredraft.bench.humaneval import humaneval
from foredraft.bench.made import copying, reading
from foredraft.bench.prompts import Prompt
from foredraft.core.errors import UsageError

BUILTIN, COPY, LONG, HUMANEVAL = NAMES = ("builtin", "copy", "long", "humaneval")
# What Spec-Bench calls the questions of its first task.
MT_BENCH = {"writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities"}


def load_suite(name: str) -> tuple[Prompt, ...]:
    """The prompts of a suite by name, or of a file. Raises UsageError for what cannot be read, by the number of its
    line, and SourceError for a suite that cannot be fetched.
    """
    if name == HUMANEVAL:
        return humaneval()
    if name == LONG:
        return reading()
    if name in (BUILTIN, COPY):
        builtin = parse_suite((files("foredraft.bench") / "builtin.jsonl").read_text(encoding="utf-8"), BUILTIN)
        return copying(builtin) if name == COPY else builtin
    return parse_suite(_read(name), name)


def parse_suite(text: str, name: str) -> tuple[Prompt, ...]:
    """The prompts of JSON lines; `name` is for messages. Empty lines are passed over."""
    prompts: dict[str, Prompt] = {}
    taken: set[str] = set()
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        prompt = _parse(line, f"line {number} of {name}")
        again = next((case for case in prompt.cases if case in taken), None)
        if again is not None:
            raise UsageError(f"line {number} of {name} has the id {again!r} again: give every prompt its own")
        taken.update(prompt.cases)
        prompts[prompt.id] = prompt
    if not prompts:
        raise UsageError(f"{name} has no prompts: give at least one line {_FORM}")
    return tuple(prompts.values())


def limited(prompts: Iterable[Prompt], per_task: int | None) -> tuple[Prompt, ...]:
    """The first prompts of every task, or all of them."""
    if per_task is None:
        return tuple(prompts)
    if per_task < 1:
        raise UsageError(f"--limit-per-task must be at least 1, not {per_task}")
    taken: Counter[str] = Counter()
    kept = []
    for prompt in prompts:
        taken[prompt.task] += 1
        if taken[prompt.task] <= per_task:
            kept.append(prompt)
    return tuple(kept)


class Tasked(Protocol):
    """What belongs to a task."""

    @property
    def task(self) -> str: ...


One = TypeVar("One", bound=Tasked)


def in_turn(prompts: Iterable[One]) -> list[One]:
    """The first of every task, then the second of every task, and so on."""
    tasks: dict[str, list[One]] = {}
    for prompt in prompts:
        tasks.setdefault(prompt.task, []).append(prompt)
    most = max(map(len, tasks.values()), default=0)
    return [own[place] for place in range(most) for own in tasks.values() if place < len(own)]


def check_met_once(prompts: Iterable[Prompt]) -> None:
    """Raises UsageError where a text stands twice: what was learnt from the first would be the answer to the second."""
    first: dict[str, str] = {}
    for prompt in prompts:
        other = first.setdefault(prompt.turns[0], prompt.id)
        if other != prompt.id:
            raise UsageError(
                f"prompts {other!r} and {prompt.id!r} are the same text, which --warm would meet twice: leave one out"
            )


def hash_of(prompts: Iterable[Prompt]) -> str:
    """sha256 of the prompts, so that two runs can tell whether they had the same."""
    return hashlib.sha256(json.dumps([astuple(prompt) for prompt in prompts]).encode()).hexdigest()


_HALF = re.compile("[\ud800-\udfff]")
_FORM = '{"id": text, "task": text, "turns": [text, …]}'


def _read(name: str) -> str:
    try:
        return Path(name).expanduser().read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = 1 + error.object.count(b"\n", 0, error.start)
        raise UsageError(f"line {line} of {name} is not UTF-8 text: convert the file first") from None
    except (OSError, RuntimeError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UsageError(
            f"cannot read suite {name}: {why}; give {', '.join(NAMES)} or the path of a .jsonl file"
        ) from None


def _parse(line: str, where: str) -> Prompt:
    try:
        entry: Any = json.loads(line)
    except (ValueError, RecursionError):
        raise UsageError(f"{where} is not JSON: write it as {_FORM}") from None
    if not isinstance(entry, dict):
        raise UsageError(f"{where} is not an object: write it as {_FORM}")
    entry = _of_spec_bench(entry)
    if _HALF.search(json.dumps(entry, ensure_ascii=False)):
        raise UsageError(f"{where} has half a character, spelt \\ud800 to \\udfff: write it whole")
    for key in ("id", "task"):
        if not isinstance(entry.get(key), str) or not entry[key].strip():
            raise UsageError(f"{where} has no {key}: write it as {_FORM}")
    turns = entry.get("turns")
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, str) and turn.strip() for turn in turns):
        raise UsageError(f"{where} has no turns, or an empty one: write it as {_FORM}")
    return Prompt(entry["id"], entry["task"], tuple(turns))


def _of_spec_bench(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry with an id and a task, where it has Spec-Bench's names for them."""
    number, category = entry.get("question_id"), entry.get("category")
    if "id" not in entry and isinstance(number, int | str) and not isinstance(number, bool):
        entry = {**entry, "id": str(number)}
    if "task" not in entry and isinstance(category, str):
        entry = {**entry, "task": "mt_bench" if category in MT_BENCH else category}
    return entry
