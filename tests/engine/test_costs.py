"""What passes cost is measured once, and again when anything that it depends on has changed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from foredraft.core.protocols import Query, Scores
from foredraft.engine import costs
from foredraft.engine.backends import Loaded
from foredraft.engine.costs import ROWS, costs_of
from foredraft.engine.measure import Curve
from foredraft.models.sources import Source
from foredraft.models.tokenizer import Tokenizer
from foredraft.models.toy import NGrams, ToyModel
from tiny import write_tokenizer


class Counting(ToyModel):
    """Counts its passes."""

    passes = 0

    def score(self, queries: Sequence[Query]) -> list[Scores]:
        self.passes += 1
        return super().score(queries)


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    monkeypatch.setenv("FOREDRAFT_MODELS", str(tmp_path / "models"))
    size = write_tokenizer(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    source = Source("toy", tmp_path, "hf")
    model = Counting(NGrams.fit([[1, 2, 3]], size), context=256)
    return Loaded(source, "toy", model, Tokenizer.from_source(source), 1)


def measured(loaded: Loaded) -> bool:
    """Whether the costs took passes."""
    assert isinstance(loaded.model, Counting)
    before = loaded.model.passes
    found = costs_of(loaded)
    assert found.rows == ROWS
    assert min(found.seconds) > 0
    return loaded.model.passes > before


def entry(tmp_path: Path) -> Path:
    (path,) = (tmp_path / "models" / "costs").iterdir()
    return path


def test_they_are_measured_once(loaded: Loaded) -> None:
    assert measured(loaded)
    assert not measured(loaded)
    assert costs_of(loaded) == costs_of(loaded)


def test_other_weights_or_threads_are_measured_anew(loaded: Loaded, tmp_path: Path) -> None:
    assert measured(loaded)
    assert measured(replace(loaded, threads=2))
    os.utime(tmp_path / "model.safetensors", ns=(1, 1))
    assert measured(loaded)
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    assert measured(loaded)


@pytest.mark.parametrize(
    ("engine", "threads", "processors", "had", "remembered"),
    [
        ("native", 2, 2.0, 1.9, True),
        ("native", 2, 2.0, 1.2, False),
        ("native", 2, 1.5, 1.4, True),  # a quota
        ("native", 8, 2.0, 1.9, True),  # more threads than processors
        ("hf", 2, 2.0, 0.3, True),  # on a GPU, say
    ],
)
def test_what_was_measured_on_a_busy_machine_is_measured_again(
    loaded: Loaded,
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    threads: int,
    processors: float,
    had: float,
    remembered: bool,
) -> None:
    monkeypatch.setattr(costs, "available_processors", lambda: processors)
    monkeypatch.setattr(Curve, "processors", property(lambda curve: had))
    there = replace(loaded, engine=engine, threads=threads)
    assert measured(there)
    assert measured(there) != remembered


def test_an_engine_that_was_built_anew_is_measured_anew(
    loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = tmp_path / "_native.so"
    monkeypatch.setattr(costs, "_kernels", lambda: [str(engine)])
    engine.write_bytes(b"slow")
    assert measured(loaded)
    assert not measured(loaded)
    engine.write_bytes(b"faster")
    assert measured(loaded)


def test_the_oldest_entries_are_forgotten(loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "ENTRIES", 2)
    for threads in (1, 2, 3):
        assert measured(replace(loaded, threads=threads))
        newest = max((tmp_path / "models" / "costs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, ns=(threads, threads))
    assert not measured(replace(loaded, threads=3))
    assert measured(loaded)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"rows": [1], "seconds": []}', b"\xff\xfe", b"null"],
)
def test_a_damaged_entry_counts_as_none(loaded: Loaded, tmp_path: Path, content: bytes) -> None:
    costs_of(loaded)
    entry(tmp_path).write_bytes(content)
    assert measured(loaded)
    assert not measured(loaded)


@pytest.mark.parametrize(
    ("key", "value"), [("seconds", "[-1]"), ("rows", "[2, 1]"), ("seconds", "[NaN]"), ("rows", "[0]")]
)
def test_impossible_figures_count_as_none(loaded: Loaded, tmp_path: Path, key: str, value: str) -> None:
    costs_of(loaded)
    text = entry(tmp_path).read_text(encoding="utf-8")
    before, _, after = text.partition(f'"{key}": [')
    entry(tmp_path).write_text(f'{before}"{key}": {value}{after.partition("]")[2]}', encoding="utf-8")
    assert measured(loaded)


def test_a_folder_that_cannot_be_written_costs_a_measurement(loaded: Loaded, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir(exist_ok=True)
    (tmp_path / "models" / "costs").write_text("a file", encoding="utf-8")
    assert measured(loaded)
    assert measured(loaded)


def test_a_model_without_files_is_not_remembered(loaded: Loaded, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").unlink()
    assert measured(loaded)
    assert measured(loaded)
    assert not (tmp_path / "models" / "costs").exists()


def test_a_small_context_is_measured_as_far_as_it_goes(loaded: Loaded) -> None:
    small = ToyModel(NGrams.fit([[1, 2, 3]], loaded.model.about.vocab_size), context=20)
    assert costs_of(replace(loaded, model=small, threads=7)).rows == (1, 2, 3, 4, 5, 6, 8, 9, 12, 16)
