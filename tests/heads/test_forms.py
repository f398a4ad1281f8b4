"""The head as it is trained says what the heads that draft say."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from foredraft.heads.batch import Batch  # noqa: E402
from foredraft.heads.block import BlockHead  # noqa: E402
from foredraft.models.toy import Tables, ToyModel  # noqa: E402
from random_heads import logits_of, random_head, taps_of  # noqa: E402

TEXT = (0, 3, 1, 4, 1, 2, 0, 0, 3)


@pytest.mark.parametrize("layers", [1, 2])
def test_the_trained_module_is_the_definition(layers: int) -> None:
    target = ToyModel(Tables.random(6, order=2, seed=4, mixed=True))
    config, tensors = random_head(target.about, layers=layers, taps=(1, 0, 2), says=(0, 1, 3, 5), block=3)
    taps = taps_of(target, TEXT, config.taps)
    rows = target.head_rows([0, 1, 3, 5])
    head = BlockHead(config, torch.from_numpy(tensors["vocabulary"]), torch.from_numpy(rows)).double()
    head.load({name: torch.from_numpy(values) for name, values in tensors.items()})
    length = len(TEXT)
    batch = Batch(
        hidden=torch.from_numpy(taps.reshape(1, length, len(config.taps), -1)),
        embedded=torch.from_numpy(target.embed(TEXT))[None],
        positions=torch.arange(length)[None],
        real=torch.ones(1, length, dtype=torch.bool),
        start=1,
        previous=torch.zeros(1, length, dtype=torch.long),
    )
    with torch.no_grad():
        found = [head.logits(step[:, -1], 0)[0].numpy() for step in head(batch)]
    np.testing.assert_allclose(np.stack(found), logits_of(target, (config, tensors), TEXT, taps), atol=1e-5)
