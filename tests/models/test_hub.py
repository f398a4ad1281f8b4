"""Weights from a hub: what is fetched of a repository, what is refused, and what works without a network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fetched import CONTENT, INSTALLED, TINY, WEIGHTS, contents
from foredraft.core.errors import SourceError, UsageError, WeightsError
from foredraft.models.fetch import Progress, from_hub, known_file
from foredraft.models.hub import Hub
from foredraft.models.known import Known
from foredraft.models.sources import resolve
from hub_server import Repositories, serving
from vocabularies import write_gguf


@pytest.fixture
def served() -> Iterator[Repositories]:
    with serving() as repositories:
        yield repositories


def test_a_known_file_comes_from_the_hub(tmp_path: Path, served: Repositories) -> None:
    served.files[TINY.hub] = {TINY.file: CONTENT}
    told: list[tuple[int, int]] = []

    def fetcher(known: Known, target: Path, progress: Progress | None) -> None:
        from_hub(known, target, progress, Hub(served.url, tmp_path / "cache"))

    path = known_file(TINY, tmp_path / "models", [fetcher], lambda done, whole: told.append((done, whole)))
    assert path.read_bytes() == CONTENT
    assert contents(tmp_path / "models") == INSTALLED
    assert told[-1] == (TINY.size, TINY.size)


def test_a_repository_is_fetched_without_what_is_not_needed_and_found_again_offline(
    tmp_path: Path, served: Repositories, capfd: pytest.CaptureFixture[str]
) -> None:
    served.files["org/model"] = {
        "config.json": b"{}",
        "model.safetensors": WEIGHTS,
        "consolidated.safetensors": WEIGHTS,
        "pytorch_model.bin": b"pickle",
        "modeling.py": b"raise SystemExit",
        "onnx/model.json": b"{}",
        "tokenizer.json": b"{}",
    }
    told: list[tuple[int, int]] = []
    hub = Hub(served.url, tmp_path)
    source = resolve("org/model", lambda done, whole: told.append((done, whole)), hub=hub)
    assert source.kind == "hf"
    assert contents(source.path) == {"config.json", "model.safetensors", "tokenizer.json"}
    assert told[-1][0] == told[-1][1] == len(WEIGHTS) + 4
    offline = replace(hub, endpoint="http://nowhere.invalid")
    assert resolve("org/model", hub=offline) == source
    assert capfd.readouterr() == ("", "")


def test_one_file_of_a_repository_may_be_chosen(tmp_path: Path, served: Repositories) -> None:
    content = write_gguf(tmp_path / "m.gguf", "qwen2").read_bytes()
    served.files["org/model-GGUF"] = {"sub/m-q4.gguf": content, "bad.gguf": b"GGUF"}
    hub = Hub(served.url, tmp_path / "cache")
    source = resolve("org/model-GGUF:sub/m-q4.gguf", hub=hub)
    assert (source.kind, source.path.read_bytes()) == ("gguf", content)
    assert resolve("org/model-GGUF:sub/m-q4.gguf", hub=replace(hub, endpoint="http://nowhere.invalid")) == source
    with pytest.raises(UsageError, match="choose one, such as `org/model-GGUF:sub/m-q4.gguf`"):
        resolve("org/model-GGUF", hub=hub)
    with pytest.raises(SourceError, match="no such file: check its name"):
        resolve("org/model-GGUF:other.gguf", hub=hub)
    with pytest.raises(WeightsError, match="ends in the middle"):
        resolve("org/model-GGUF:bad.gguf", hub=hub)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"config.json": b"{}", "pytorch_model.bin": b""}, "pickled weights only, which can run code: convert"),
        ({"README.md": b""}, "no weights: choose"),
        ({"model.safetensors": WEIGHTS}, "no config.json: choose"),
        ({"config.json": b'{"auto_map": {}}', "model.safetensors": WEIGHTS}, "never done: use a stock architecture"),
    ],
)
def test_repositories_that_may_not_be_loaded_say_why(
    tmp_path: Path, served: Repositories, files: dict[str, bytes], says: str
) -> None:
    served.files["org/model"] = files
    with pytest.raises(WeightsError, match=says):
        resolve("org/model", hub=Hub(served.url, tmp_path))
    assert not any("pytorch_model" in path for path in served.asked)


def test_what_the_hub_refuses_is_one_sentence(tmp_path: Path, served: Repositories) -> None:
    served.gated.add("org/gated")
    hub = Hub(served.url, tmp_path)
    for name, says in [
        ("org/gated", "hf auth login"),
        ("org/absent", "check the name"),
        ("org/a--b..", "not a hub id"),
    ]:
        with pytest.raises((SourceError, UsageError), match=says):
            resolve(name, hub=hub)


@pytest.mark.parametrize(
    ("endpoint", "name"),
    [
        ("http://nowhere.invalid", "org/model"),
        ("http://nowhere.invalid", "org/model:m.gguf"),
        ("http://127.0.0.1:9", "org/model"),
    ],
)
def test_without_a_network_the_remedy_is_named(tmp_path: Path, endpoint: str, name: str) -> None:
    with pytest.raises(SourceError, match="cannot be reached and org/model is not on disk: connect, or give a path"):
        resolve(name, hub=Hub(endpoint, tmp_path))


def test_a_known_file_without_a_network_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be reached"):
        from_hub(TINY, tmp_path / "tiny.gguf", None, Hub("http://nowhere.invalid", tmp_path))
