"""A toy model with a real tokenizer: a whole benchmark without torch, on rows that are invariant."""

from __future__ import annotations

from pathlib import Path

import pytest

from foredraft.bench.prompts import Prompt
from foredraft.engine.backends import Loaded
from foredraft.models.sources import Source
from foredraft.models.tokenizer import Tokenizer
from foredraft.models.toy import NGrams, ToyModel
from tiny import write_tokenizer

TEXT = "the cat sat on the mat and the dog sat on the cat and the mat sat on the dog. " * 3


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """An n-gram model of bytes that says what it has read, named "toy"."""
    folder: Path = tmp_path_factory.mktemp("toy")
    size = write_tokenizer(folder)
    source = Source("toy", folder, "hf")
    tokenizer = Tokenizer.from_source(source)
    net = NGrams.fit([tokenizer.encode(TEXT)], size, order=4, weight=0.9)
    return Loaded(source, "toy", ToyModel(net, context=512), tokenizer, 1)


@pytest.fixture
def prompts() -> list[Prompt]:
    return [
        Prompt("a1", "animals", ("the cat sat on the ",)),
        Prompt("a2", "animals", ("the dog sat on the mat and the ",)),
        Prompt("m1", "mats", ("the mat sat",)),
        Prompt("m2", "mats", ("and the mat and the dog",)),
    ]
