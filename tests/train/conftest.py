"""What the tests of heads in training share: a tiny target, what it answers, and one thread."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tiny import write_model

if TYPE_CHECKING:
    from foredraft.train.corpus import Text
    from foredraft.train.target import TorchTarget


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """More threads than cores that are free wait for each other, longer than these passes take."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> TorchTarget:
    from foredraft.train.target import TorchTarget

    return TorchTarget(str(write_model(tmp_path_factory.mktemp("target"), layers=3)), "cpu", "float32")


@pytest.fixture(scope="module")
def texts(target: TorchTarget, tmp_path_factory: pytest.TempPathFactory) -> list[Text]:
    from recipes import texts_of

    return texts_of(target, tmp_path_factory.mktemp("texts"))
