"""Fixtures of the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("suite") / "own.jsonl"
    lines = [
        {"id": "a", "task": "one", "turns": ["Hello?", "And then?"]},
        {"id": "b", "task": "two", "turns": ["Yes?"]},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path
