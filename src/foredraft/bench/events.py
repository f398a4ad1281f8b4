"""The raw events of a benchmark as `foredraft bench --out FOLDER` keeps them, of which every figure and replay is made.

    run.json       what is compared: model, weights, drafters, sampling, machine, version
    costs.json     what passes of several rows cost when it ran: {"rows": [1, 2, …], "seconds": [0.004, …]}
    cases.jsonl    a line a case: all arms of one prompt, or of one turn of it (`record.py`)
    cases.2.jsonl  … goes on where a file is full: none is larger than 5 MB, but for a case that is larger by itself
    result.json    the figures, made from the cases

A case has a trial for each arm, plain decoding among them, and a trial has its steps (`core/events.py`): position,
tokens, how many of them were drafts, the tree with parents, sources and scores, rows scored, seconds by part, what the
policy expected. Chunks of the prompt are no steps of a trial.

    events = read("out")
    for case in events.cases:
        for step in case.trials["lookup"].steps: ...
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from foredraft.bench.record import Case, Json, case_of
from foredraft.core.errors import UsageError
from foredraft.core.events import Step
from foredraft.core.protocols import Costs

RUN, COSTS, CASES, RESULT = "run.json", "costs.json", "cases.jsonl", "result.json"
LARGEST = 5_000_000  # bytes of a file of cases

Found = TypeVar("Found")


@dataclass(frozen=True)
class Events:
    """One run. setup: all that a figure depends on. cases: in the order in which they were measured. costs: seconds of
    a pass by rows, None where they were not kept.
    """

    folder: Path
    setup: Json
    cases: tuple[Case, ...]
    costs: Costs | None = None

    @property
    def drafters(self) -> tuple[str, ...]:
        """The arms beside plain decoding, in the order in which they were named."""
        return tuple(self.setup["drafters"])

    def steps(self, arm: str) -> Iterator[Step]:
        """All steps of an arm, prompt after prompt."""
        return (step for case in self.cases for step in case.trials[arm].steps)


def read(folder: str | Path) -> Events:
    """The run of a folder, finished or not: of a line that was being written when the run ended nothing is taken.

    Raises UsageError for a folder that holds no comparison of drafters, and for a damaged line by its number.
    """
    folder = Path(folder).expanduser()
    setup = setup_of(folder)
    if "drafters" not in setup:
        raise UsageError(f"{folder} holds no comparison of drafters: give a folder that `foredraft bench --out` wrote")
    cases = [case for path in case_files(folder) for case in parsed(path, whole_lines(path), case_of)]
    return Events(folder, setup, tuple(cases), read_costs(folder))


def setup_of(folder: Path) -> Json:
    """What the run of a folder compares. Raises UsageError for a folder that holds none, or a damaged one."""
    try:
        return dict(json.loads((folder / RUN).read_text(encoding="utf-8")))
    except OSError as error:
        why = f"{error.strerror or error}; give a folder that `foredraft bench --out` wrote"
        raise UsageError(f"cannot read a benchmark from {folder}: {why}") from None
    except (ValueError, TypeError):
        raise UsageError(f"{folder / RUN} is damaged: measure into a new folder") from None


def case_files(folder: Path) -> list[Path]:
    """The files of cases that there are, in the order in which they were written."""
    found: list[Path] = []
    while (path := case_file(folder, len(found) + 1)).exists():
        found.append(path)
    return found


def case_file(folder: Path, number: int) -> Path:
    """The place of the first, second, … file of cases."""
    return folder / (CASES if number == 1 else f"cases.{number}.jsonl")


def whole_lines(path: Path) -> list[str]:
    """The lines of a file; what an interrupted write left of a last one is passed over. Raises UsageError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    return content[: content.rfind(b"\n") + 1].decode("utf-8", "replace").split("\n")[:-1]


def parsed(path: Path, lines: Iterable[str], parse: Callable[[Json], Found]) -> list[Found]:
    """What the lines of a file say. Raises UsageError for a damaged one, by its number."""
    found: list[Found] = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(parse(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UsageError(f"line {number} of {path} is damaged: remove it to measure that prompt again") from None
    return found


def read_costs(folder: Path) -> Costs | None:
    """The cost curve kept beside the cases; None where there is none, or what is there is none."""
    try:
        found = json.loads((folder / COSTS).read_text(encoding="utf-8"))
        return Costs(tuple(map(int, found["rows"])), tuple(map(float, found["seconds"])))
    except (OSError, ValueError, KeyError, TypeError):
        return None
