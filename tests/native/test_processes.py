"""The end of a process, and forks of it, while another thread is inside the engine: no abort, nothing that hangs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gguf_cases import Written

Files = Callable[..., Written]
SOON = 60  # seconds; what hangs longer is killed

# A model, and two daemon threads that are nearly always inside a pass. Forks may warn, so warnings are let go.
BUSY = """
import atexit, multiprocessing, os, sys, threading, time, warnings
warnings.simplefilter("ignore")
exec(BEFORE)
from foredraft import _native
from foredraft.core.protocols import Query
from foredraft.models.native import NativeModel

model = NativeModel.load(sys.argv[1], threads=2)
TEXT = tuple(range(96))

def score():
    cache = model.open()
    [scores] = model.score([Query(cache, TEXT, tuple(range(-1, 95)), (95,))])
    cache.close()
    return scores.argmax(95)

def busy():
    while True:
        work()

def ended(child):
    for _ in range(1000):
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return "hangs"

work, wanted = score, score()
exec(FIRST)
for _ in range(2):
    threading.Thread(target=busy, daemon=True).start()
time.sleep(0.02)
"""


def run(path: Path, script: str, *, before: str = "", first: str = "") -> None:
    """The script ends well, and has nothing to say. before: run ahead of imports; first: ahead of the threads."""
    text = f"BEFORE, FIRST = {before!r}, {first!r}\n{BUSY}{script}"
    command = [sys.executable, "-c", text, str(path)]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SOON)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.02, 0.03, 0.05, 0.08])
def test_a_process_ends_while_threads_score(files: Files, delay: float) -> None:
    """Python unwinds the stack of a thread that comes back too late, which C++ answers with abort()."""
    run(files("llama3").path, f"time.sleep({delay})")


@pytest.mark.parametrize(
    "work",
    [
        "lambda: _native.read_bandwidth(1 << 20, 2, 3)",
        "lambda: _native.log_softmax(ROW)",
        "lambda: _native.Packed.of('F32', 64, 64, ZEROS, POOL)",
        "lambda: model.head(HIDDEN)",
    ],
)
def test_a_process_ends_while_threads_compute_otherwise(files: Files, work: str) -> None:
    first = f"""
import numpy as np
ROW, ZEROS, POOL = np.zeros(1 << 18, np.float32), np.zeros(4 * 64 * 64, np.uint8), _native.Pool(2)
HIDDEN = np.ones((64, model.about.width), np.float32)
work = {work}
"""
    run(files("llama3").path, "", first=first)


def test_what_runs_at_exit_may_score(files: Files) -> None:
    """Registered ahead of the engine's own, it runs after it."""
    run(files("llama3").path, "", before="atexit.register(lambda: score() == wanted or os._exit(7))")


def test_a_fork_scores_what_its_parent_does(files: Files) -> None:
    """Again and again, while other threads are inside a pass; and so does the parent afterwards."""
    script = """
for turn in range(20):
    child = os.fork()
    if not child:
        os._exit(0 if score() == wanted else 3)
    assert (code := ended(child)) == 0, code
assert score() == wanted
"""
    run(files("llama3").path, script)


def test_a_fork_of_a_fork_ends_as_a_program_does(files: Files) -> None:
    """Its interpreter is torn down too, with a thread of its own inside a pass."""
    script = """
child = os.fork()
if not child:
    grandchild = os.fork()
    assert score() == wanted
    if grandchild:
        assert ended(grandchild) == 0
    threading.Thread(target=busy, daemon=True).start()
    time.sleep(0.02)
    sys.exit()
assert (code := ended(child)) == 0, code
"""
    run(files("llama3").path, script)


def test_workers_of_multiprocessing_score(files: Files) -> None:
    script = """
with multiprocessing.get_context("fork").Pool(3) as pool:
    found = [pool.apply_async(score) for _ in range(12)]
    assert [one.get(timeout=30) for one in found] == [wanted] * 12
"""
    run(files("llama3").path, script)
