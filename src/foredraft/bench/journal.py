"""A folder of measurements as it is written: what they compare, its cases as they are done, the result (`events.py`).

Cases are appended whole, so whatever interrupts a run leaves usable ones, and the same command goes on where it was. A
folder belongs to one comparison: other weights, options, machine or version are refused, for their times do not mix.
"""

from __future__ import annotations

import abc
import json
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from foredraft.bench.events import COSTS, LARGEST, RESULT, RUN, case_file, case_files, parsed, whole_lines
from foredraft.bench.record import Case, Json, case_of
from foredraft.core.errors import ForedraftError, UsageError
from foredraft.core.protocols import Costs

PART = ".part"  # of a file that is being written


class Known(Protocol):
    """What is written a line at a time."""

    @property
    def id(self) -> str: ...


Found = TypeVar("Found", bound=Known)


class Records(abc.ABC, Generic[Found]):
    """The folder of one run. done: what an earlier run left, by id. largest: bytes of a file of cases."""

    def __init__(self, folder: str | Path, setup: Json, *, largest: int = LARGEST) -> None:
        """setup: all that a figure depends on. Raises UsageError for a folder that cannot be written or goes with
        another setup, and for damaged cases.
        """
        self.folder, self.largest = Path(folder).expanduser(), largest
        self.done: dict[str, Found] = {}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if (self.folder / RUN).exists():
                self._compare(setup)
            elif any(path.suffix != PART for path in self.folder.iterdir()):
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
        line = (json.dumps(found, separators=(",", ":")) + "\n").encode()
        path = self._room_for(len(line))
        try:
            with path.open("ab") as file:
                file.write(line)
        except OSError as error:
            raise _unwritten(path, error) from None

    def finish(self, result: Json) -> None:
        """Writes the result beside the cases it was computed from."""
        try:
            self._write(RESULT, result)
        except OSError as error:
            raise _unwritten(self.folder / RESULT, error) from None

    def _room_for(self, size: int) -> Path:
        """The last file of cases, or the next where that would grow too large."""
        files = case_files(self.folder)
        if not files:
            return case_file(self.folder, 1)
        full = files[-1].stat().st_size + size > self.largest
        return case_file(self.folder, len(files) + 1) if full else files[-1]

    def _write(self, name: str, found: Json) -> None:
        """All of it or nothing: a file that was half written would not be taken for one."""
        path, draft = self.folder / name, self.folder / (name + PART)
        try:
            draft.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            draft.replace(path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise

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
        for path in case_files(self.folder):
            lines = whole_lines(path)
            for case in parsed(path, lines, self.parse):
                self.done[case.id] = case
            self._cut(path)

    def _cut(self, path: Path) -> None:
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole != len(content):
            with path.open("r+b") as file:
                file.truncate(whole)


class Journal(Records[Case]):
    """The folder of a benchmark: a case is all arms of one prompt."""

    def parse(self, found: Json) -> Case:
        return case_of(found)

    def keep_costs(self, costs: Costs) -> None:
        """Writes what passes cost, once: a run that goes on keeps those it began with."""
        try:
            if not (self.folder / COSTS).exists():
                self._write(COSTS, {"rows": costs.rows, "seconds": costs.seconds})
        except OSError as error:
            raise _unwritten(self.folder / COSTS, error) from None


def _unwritten(path: Path, error: OSError) -> ForedraftError:
    return ForedraftError(f"cannot write {path}: {error.strerror or error}; make room and run the same command again")
