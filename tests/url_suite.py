"""For tests of `foredraft bench --url`: what a benchmark of a server says, and servers that stall or refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from foredraft.cli import run
from sse_server import Body, Handler, said

Capture = pytest.CaptureFixture[str]


PIECES = ["Ja", ", gérne", " 𝄞", "."]


def words(url: str, suite: Path, *options: str) -> list[str]:
    return ["bench", "--url", url, "--suite", str(suite), "--max-tokens", "8", "--timeout", "5", *options]


def measured(url: str, suite: Path, capsys: Capture, *options: str, status: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert run(words(url, suite, "--json", *options)) == status
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return dict(json.loads(captured.out.strip().splitlines()[-1]))


def stalls(handler: Handler, body: Body) -> None:
    handler.begin()
    handler.event(said("Ja"))
    handler.told.over.wait(20)


def status(handler: Handler, body: Body) -> None:
    handler.page(503, "application/json", b'{"error": "overloaded"}')
