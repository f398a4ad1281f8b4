"""A folder of measurements: what they compare (`run.json`), its cases as they are done (`cases.jsonl`), the result.

Cases are appended whole, so whatever interrupts a run leaves usable ones, and the same command goes on where it was. A
folder belongs to one comparison: other weights, options, machine or version are refused, for their times do not mix.
"""

from __future__ import annotations

import abc
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from foredraft.bench.record import Case, Json, case_of
from foredraft.core.errors import ForedraftError, UsageError

RUN, CASES, RESULT = "run.json", "cases.jsonl", "result.json"


class Known(Protocol):
    """What is written a line at a time."""

    @property
    def id(self) -> str: ...


Found = TypeVar("Found", bound=Known)


class Records(abc.ABC, Generic[Found]):
    """The folder of one run. done: what an earlier run left, by id."""

    def __init__(self, folder: str | Path, setup: Json) -> None:
        """setup: all that a figure depends on. Raises UsageError for a folder that cannot be written or goes with
        another setup, and for damaged cases.
        """
        self.folder = Path(folder).expanduser()
        self.done: dict[str, Found] = {}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if (self.folder / RUN).exists():
                self._compare(setup)
            elif any(self.folder.iterdir()):
                raise UsageError(f"{self.folder} holds other files: give --out an empty or a new folder")
            else:
                self._write(RUN, setup)
            self._read()
        except OSError as error:
            raise UsageError(f"cannot use {self.folder}: {error.strerror or error}; choose another --out") from None

    @abc.abstractmethod
    def parse(self, found: Json) -> Found:
        """What one line says. Raises ValueError, KeyError, TypeError or AttributeError for a damaged one."""

    def add(self, found: Json) -> None:
        """Appends a case. Raises ForedraftError when it cannot be written; the cases before it are safe."""
        line = json.dumps(found, separators=(",", ":")) + "\n"
        path = self.folder / CASES
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            raise _unwritten(path, error) from None

    def finish(self, result: Json) -> None:
        """Writes the result beside the cases it was computed from."""
        try:
            self._write(RESULT, result)
        except OSError as error:
            raise _unwritten(self.folder / RESULT, error) from None

    def _write(self, name: str, found: Json) -> None:
        (self.folder / name).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    def _compare(self, setup: Json) -> None:
        try:
            there = json.loads((self.folder / RUN).read_text(encoding="utf-8"))
            keys = list(dict.fromkeys((*there, *setup)))
            other = [key for key in keys if there.get(key) != json.loads(json.dumps(setup)).get(key)]
        except (ValueError, TypeError, AttributeError):
            raise UsageError(f"{self.folder / RUN} is damaged: give --out a new folder") from None
        if other:
            key = other[0]
            was, is_now = (json.dumps(one.get(key)) for one in (there, setup))
            raise UsageError(
                f"{self.folder} holds another comparison ({key} was {was} and is {is_now}): give --out a new folder"
            )

    def _read(self) -> None:
        """The cases there are. What an interrupted write left of a last line is cut off."""
        path = self.folder / CASES
        if not path.exists():
            return
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            with path.open("r+b") as file:
                file.truncate(len(whole))
        for case in _parsed(whole.decode("utf-8", "replace").splitlines(), str(path), self.parse):
            self.done[case.id] = case


class Journal(Records[Case]):
    """The folder of a benchmark: a case is all arms of one prompt."""

    def parse(self, found: Json) -> Case:
        return case_of(found)


def read_cases(lines: Iterable[str], name: str) -> list[Case]:
    """The cases of JSON lines. Raises UsageError for a damaged one, by its number; `name` is for messages."""
    return _parsed(lines, name, case_of)


def _parsed(lines: Iterable[str], name: str, parse: Callable[[Json], Found]) -> list[Found]:
    cases = []
    for number, line in enumerate(lines, start=1):
        try:
            cases.append(parse(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UsageError(f"line {number} of {name} is damaged: remove it to measure that prompt again") from None
    return cases


def _unwritten(path: Path, error: OSError) -> ForedraftError:
    return ForedraftError(f"cannot write {path}: {error.strerror or error}; make room and run the same command again")
