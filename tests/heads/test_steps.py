"""Heads that draft token by token, as they are trained: every column of every step is the definition's row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from foredraft.heads.batch import Batch  # noqa: E402
from foredraft.heads.eagle import EagleHead  # noqa: E402
from foredraft.heads.eagle3 import Eagle3Head  # noqa: E402
from foredraft.heads.mtp_sequential import SequentialHead  # noqa: E402
from foredraft.heads.steps import StepHead  # noqa: E402
from foredraft.models.toy import Tables, ToyModel  # noqa: E402
from random_heads import random_head, taps_of  # noqa: E402
from random_steps import METHODS, NAMES, laws_of  # noqa: E402

TEXT = (0, 3, 1, 4, 1, 2, 0, 0, 3, 5, 1)
SAYS = (0, 1, 3, 5)


def module_of(config: Any, tensors: Any, rows: Any) -> StepHead:
    vocabulary, head = torch.from_numpy(tensors["vocabulary"]), torch.from_numpy(rows)
    if config.method == "eagle3":
        made: StepHead = Eagle3Head(config, vocabulary, head)
    else:
        norm = torch.from_numpy(tensors["feature_norm.weight"])
        made = (EagleHead if config.method == "eagle" else SequentialHead)(config, vocabulary, head, norm)
    made = made.double()
    made.load({name: torch.from_numpy(values) for name, values in tensors.items()})
    return made


@pytest.mark.parametrize(("method", "made"), METHODS, ids=NAMES)
@pytest.mark.parametrize("start", [1, 4])
def test_the_trained_module_is_the_definition(method: str, made: dict[str, Any], start: int) -> None:
    target = ToyModel(Tables.random(6, order=2, seed=4, mixed=True))
    head = random_head(target.about, method=method, says=SAYS, **({"block": 3} | made))
    config, tensors = head
    taps, length = taps_of(target, TEXT, config.taps), len(TEXT)
    module = module_of(config, tensors, target.head_rows(list(SAYS)))
    hidden = np.stack(np.split(taps, len(config.taps), axis=1), axis=1)
    # A second text that begins later, as texts of other lengths do.
    late = np.zeros_like(hidden)
    late[2:] = hidden[: length - 2]
    words, later = target.embed(TEXT), np.zeros((length, target.about.width))
    later[2:] = words[: length - 2]
    real = torch.ones(2, length, dtype=torch.bool)
    real[1, :2] = False
    batch = Batch(
        hidden=torch.from_numpy(np.stack([hidden, late])),
        embedded=torch.from_numpy(np.stack([words, later])),
        positions=(real.long().cumsum(1) - 1).clamp(min=0),
        real=real,
        start=start,
        previous=torch.zeros(2, length, dtype=torch.long),
    )
    with torch.no_grad():
        found = [module.logits(rows, step).numpy() for step, rows in enumerate(module(batch))]
    assert len(found) == config.block
    for text, offset in ((0, 0), (1, 2)):
        for column in range(max(start, offset + 1), length - config.block):
            end = column - offset + 1
            wanted = laws_of(target, head, TEXT[:end], TEXT[end : end + config.block - 1], taps)
            for step in range(config.block):
                np.testing.assert_allclose(found[step][text, column - start], wanted[step], atol=2e-5)


def test_files_hold_what_modules_have() -> None:
    target = ToyModel(Tables.random(6, order=2, seed=4, mixed=True))
    for method, made in METHODS:
        config, tensors = random_head(target.about, method=method, says=SAYS, **made)
        module = module_of(config, tensors, target.head_rows(list(SAYS)))
        assert {name: tuple(value.shape) for name, value in module.tensors().items()} == config.tensors(len(SAYS))
