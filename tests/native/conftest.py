"""Tiny files, each written once, for the tests of the native engine."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gguf_cases import Size, Written, write_gguf

Files = Callable[..., Written]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """files(name, kind, size=None): the case as a file."""
    folder = tmp_path_factory.mktemp("gguf")

    @functools.cache
    def written(name: str, kind: str = "Q8_0", size: Size | None = None) -> Written:
        return write_gguf(folder / f"{name}-{kind}-{size}.gguf", name, kind, size=size)

    return written


@pytest.fixture(scope="session")
def twins() -> Callable[[Written], Any]:
    """twins(written): the file's torch twin, made once."""
    from native_twin import Twin

    known: dict[str, Twin] = {}

    def twin(written: Written) -> Twin:
        if str(written.path) not in known:
            known[str(written.path)] = Twin(written)
        return known[str(written.path)]

    return twin


@pytest.fixture
def one_thread() -> Iterator[None]:
    """torch loses by threads on models this small."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
