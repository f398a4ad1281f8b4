"""An engine in a process of its own, asked over its standard input and output: one JSON object a line.

Only the standard library: the other side may run in another environment than foredraft's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1]
PATIENCE = 600.0  # seconds for one call: a process that hangs would hold up a run that nobody watches
Call = dict[str, Any]


class WorkerError(RuntimeError):
    """The process failed or ended; the message is its own."""


class Worker:
    """The parent's side: `module` of `folder` run by `python`. log: where its errors go. patience: seconds a call."""

    def __init__(
        self, python: Path | str, module: str, *, log: Path, folder: Path = FOLDER, patience: float = PATIENCE
    ) -> None:
        self._log, self._patience = log, patience
        with log.open("w", encoding="utf-8") as errors:
            self._process = subprocess.Popen(
                [str(python), "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=folder,
                text=True,
                encoding="utf-8",
            )

    def call(self, **call: Any) -> Call:
        """One call and its result. A process that does not answer in time is ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        late = threading.Event()
        timer = threading.Timer(self._patience, self._end, (late,))
        timer.start()
        try:
            self._process.stdin.write(json.dumps(call) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = ""
        finally:
            timer.cancel()
        if late.is_set():
            raise WorkerError(f"its process gave no answer in {self._patience:g} s")
        if not line.endswith("\n"):
            last = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            raise WorkerError(f"its process ended: {' '.join(last)[-300:]}")
        result: Call = json.loads(line)
        if "error" in result:
            raise WorkerError(result["error"])
        return result

    def _end(self, late: threading.Event) -> None:
        late.set()
        self._process.kill()

    def close(self) -> None:
        """Ends the process, kindly first."""
        try:
            self._process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()


def serve(answer: Callable[[Call], Call]) -> None:
    """The child's side: answers calls until there are no more. What libraries print goes to standard error."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            result = answer(json.loads(line))
        except Exception as error:  # whatever a library raises is for the parent to report
            result = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}
        out.write(json.dumps(result) + "\n")
        out.flush()
