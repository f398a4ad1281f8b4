"""`foredraft report`: benchmarks as one page to read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from foredraft.bench import url_record
from foredraft.bench.events import Events, read, setup_of
from foredraft.bench.page import page
from foredraft.cli.place import put_in_place, write

NAME = "report.html"


def write_report(folders: Sequence[str], out: str | None) -> None:
    """Writes the page of one or several runs, into the first folder when not told where, and says where it is."""
    runs = [_read(Path(folder).expanduser()) for folder in folders]
    path = Path(out).expanduser() if out is not None else runs[0].folder / NAME
    with put_in_place(path) as file:
        write(file, page(runs).encode(), str(path))
    print(path)


def _read(folder: Path) -> Events | url_record.Served:
    """A comparison of drafters, or a run against a server."""
    return url_record.read(folder) if setup_of(folder).get("engine") == "url" else read(folder)
