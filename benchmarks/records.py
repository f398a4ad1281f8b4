"""The raw figures of a comparison: one JSON object a line, written as they are measured, so that a run can go on later.

The first line is the header: what was compared, where and with what. Every other line is one measurement; its `key`
says which, and a measurement whose key is there is not made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from foredraft.bench.events import whole_lines

ROOT = Path(__file__).parents[1]
Record = dict[str, Any]


class OtherRun(ValueError):
    """The file holds figures of another comparison; the message says what differs."""


class Log:
    """An append-only file of records. Raises OtherRun when `path` begins with another header."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self.header = dict(header)
        self.records: list[Record] = []
        if path.exists():
            found, self.records = read(path)
            differing = sorted(
                name for name in self.header.keys() | found.keys() if self.header.get(name) != found.get(name)
            )
            if differing:
                raise OtherRun(f"{path} holds a run with another {', '.join(differing)}: give another --out")
            _cut(path)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_line(self.header), encoding="utf-8")
        self.done = {tuple(record["key"]) for record in self.records}

    def add(self, key: Iterable[str | int], **figures: Any) -> None:
        record = {"key": list(key), **figures}
        self.records.append(record)
        self.done.add(tuple(record["key"]))
        with self.path.open("a", encoding="utf-8") as out:
            out.write(_line(record))


def read(path: Path) -> tuple[Record, list[Record]]:
    """Header and records of a file; a last line that was cut off is left out. Raises OtherRun for other files."""
    entries = []
    for number, line in enumerate(whole_lines(path), 1):
        try:
            entries.append(json.loads(line))
        except ValueError:
            raise OtherRun(f"{path}, line {number}: this is no file of raw figures: give another one") from None
    if not entries or "comparison" not in entries[0] or not all("key" in entry for entry in entries[1:]):
        raise OtherRun(f"{path} is no file of raw figures: give another one")
    return entries[0], entries[1:]


def _cut(path: Path) -> None:
    """Takes off what is left of an interrupted last line; writing the others again would lose them on a full disk."""
    content = path.read_bytes()
    os.truncate(path, content.rfind(b"\n") + 1)


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False) + "\n"


def tell(found: Mapping[str, Any], out: Path | None) -> None:
    """Prints a JSON line, with the commit, and appends it to a file where one is named."""
    line = json.dumps({**found, "commit": commit()})
    print(line, flush=True)
    if out is not None:
        with out.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


# --- where and with what --------------------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    """Processor, cores, the instruction sets that matter, memory, system."""
    flags = set(_cpuinfo("flags").split())
    wanted = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
    return {
        "processor": _cpuinfo("model name") or platform.processor(),
        "cores": len([line for line in _read("/proc/cpuinfo").splitlines() if line.startswith("processor")]),
        "isa": [flag for flag in wanted if flag in flags],
        "memory_gb": round(int((_read("/proc/meminfo").split() or ["", "0"])[1]) / 1e6, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def commit() -> str:
    """The commit of this repository, with `+` when tracked files other than results were changed since."""
    head = _git("rev-parse", "HEAD").strip()
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results").strip()
    return head + ("+" if changed else "")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git(*words: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True).stdout


def _cpuinfo(field: str) -> str:
    lines = _read("/proc/cpuinfo").splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(field)), "")


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
