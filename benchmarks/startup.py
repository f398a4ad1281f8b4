"""How long a new process takes to its first token, and how much memory a model takes, repacking included.

    startup.py [--model smollm2] [--runs 7] [--out FILE.json]

The first token: from the start of `foredraft generate` to the first byte of text, for a prompt of some 32 tokens and
files that have been read before. Memory: the most of RssAnon + RssShmem that a thread sees every millisecond in a
process of its own, from before the model is loaded until a prompt of 512 tokens was read and 32 tokens were made;
pages of the mapped file do not count. Beside it what the weights take, and in turn with the starts how long a process
waits for as much fresh memory, which it only touches: a virtual machine may have to ask its host for every page. The
last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from records import commit, machine

import foredraft
from foredraft import SamplingParams

PROMPT = (
    "Describe in a few words what a lighthouse keeper does on an ordinary day, and why it matters to ships at sea, "
    "in summer and in winter."
)
CACHE_TOKENS = 512


def first_token(model: str) -> float:
    """Seconds from the start of a process to the first byte of its text."""
    program = [sys.executable, "-m", "foredraft", "generate", "--raw", "-m", model, "--max-tokens", "8", PROMPT]
    begun = time.perf_counter()
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        found = process.stdout.read(1)
        seconds = time.perf_counter() - begun
        process.stdout.read()
    if process.returncode or not found:
        raise SystemExit(f"generate ended with status {process.returncode} and no text")
    return seconds


def resident() -> int:
    """Bytes of this process's own memory."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return sum(int(lines[name].split()[0]) * 1024 for name in ("RssAnon", "RssShmem"))


FRESH = """
import mmap, sys, time
memory = mmap.mmap(-1, int(sys.argv[1]))
memory.madvise(mmap.MADV_HUGEPAGE)
begun = time.perf_counter()
for at in range(0, len(memory), mmap.PAGESIZE):
    memory[at] = 1
print(time.perf_counter() - begun)
"""


def fresh_memory(size: int) -> float:
    """Seconds in which a new process touches so many bytes of memory for the first time."""
    said = subprocess.run([sys.executable, "-c", FRESH, str(size)], check=True, capture_output=True, text=True)
    return float(said.stdout)


def memory(model: str) -> dict[str, Any]:
    """Run in a process of its own: the most memory, and what of it are weights."""
    most, done = resident(), threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.001):
            most = max(most, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    with foredraft.load(model, "none") as llm:
        prompt = tuple(at % 1000 + 300 for at in range(CACHE_TOKENS))
        llm.generate(prompt, SamplingParams(max_tokens=32, ignore_eos=True))
        weights = llm.loaded.model.nbytes
    done.set()
    watcher.join()
    return {"most": most, "weights": weights}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        print(json.dumps(memory(options.model)))
        return
    first_token(options.model)  # files are read once before
    words = [sys.executable, __file__, "--memory", "--model", options.model]
    used = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    seconds, touching = list[float](), list[float]()
    for _ in range(options.runs):
        seconds.append(first_token(options.model))
        touching.append(fresh_memory(used["most"]))
    found = {
        "model": options.model,
        "first_token_s": statistics.median(seconds),
        "first_token_s_all": [round(one, 3) for one in seconds],
        "fresh_memory_s_all": [round(one, 3) for one in touching],
        "memory_mb": {name: round(used[name] / 1e6, 1) for name in used},
        "machine": machine(),
        "version": foredraft.__version__,
        "commit": commit(),
    }
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
