"""`foredraft report`: benchmarks as one page to read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from foredraft.bench.events import read
from foredraft.bench.page import page
from foredraft.core.errors import ForedraftError

NAME = "report.html"


def write_report(folders: Sequence[str], out: str | None) -> None:
    """Writes the page of one or several runs, into the first folder when not told where, and says where it is."""
    runs = [read(folder) for folder in folders]
    path = Path(out).expanduser() if out is not None else runs[0].folder / NAME
    content = page(runs)
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise ForedraftError(f"cannot write {path}: {error.strerror or error}; give --out another file") from None
    print(path)
