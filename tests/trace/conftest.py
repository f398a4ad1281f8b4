"""A traced generation, its page, and a browser that reads it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import traces
from foredraft.trace.page import page
from foredraft.trace.record import Json
from page_reader import TOKENS, Reader, chromium


@pytest.fixture(scope="module")
def record() -> Json:
    return traces.traced(tokens=TOKENS)


@pytest.fixture(scope="module")
def file(record: Json, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_bytes(page(record).encode())
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as launched:
        yield launched


@pytest.fixture
def reader(browser: Any, file: Path) -> Iterator[Reader]:
    opened = Reader(browser, file)
    yield opened
    opened.context.close()
    assert opened.complaints == []
    # data: is the empty icon that the page brings along.
    assert [url for url in opened.requests if not url.startswith("data:")] == [file.as_uri()]
