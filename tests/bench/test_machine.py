"""What a figure was measured with."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from foredraft.bench import machine as facts
from foredraft.bench.machine import commit, isa_of, machine, weights_hash
from foredraft.core.protocols import About
from foredraft.engine.backends import Loaded
from foredraft.models.sources import Source
from foredraft.models.toy import ToyModel


def test_the_machine_is_named_in_json() -> None:
    found = machine()
    assert json.loads(json.dumps(found)) == found
    assert found["processor"]
    assert found["available_threads"] >= 1


def test_weights_are_hashed_by_file_and_by_directory(tmp_path: Path) -> None:
    (tmp_path / "b.safetensors").write_bytes(b"two")
    (tmp_path / "a.safetensors").write_bytes(b"one")
    (tmp_path / "tokenizer.json").write_bytes(b"not weights")
    assert weights_hash(Source("x", tmp_path, "hf")) == hashlib.sha256(b"onetwo").hexdigest()
    file = tmp_path / "model.gguf"
    file.write_bytes(b"x" * (5 << 20))
    assert weights_hash(Source("x", file, "gguf")) == hashlib.sha256(b"x" * (5 << 20)).hexdigest()


def test_a_commit_is_told_only_of_a_checkout_of_this_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = commit()
    assert found is None or len(found.removesuffix("-dirty")) == 40
    monkeypatch.setattr(facts.foredraft, "__file__", str(tmp_path / "__init__.py"))  # installed, or not under git
    assert commit() is None


def test_the_instruction_set_is_torchs_own_or_what_the_engine_says(toy: Loaded) -> None:
    assert isa_of(replace(toy, engine="hf")) == "torch"
    assert isa_of(toy) == "unknown"
    assert isinstance(toy.model, ToyModel)
    native = ToyModel(toy.model.net)
    native.about = About("x", 3, 4, 1, 1, True, details=(("isa", "amx"), ("threads", "2")))
    assert isa_of(replace(toy, model=native)) == "amx"
