"""Heads of every method as they are trained say what the heads that draft say, row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from foredraft.core.heads import Feed  # noqa: E402
from foredraft.draft import family  # noqa: E402
from foredraft.draft.family import Provided  # noqa: E402
from foredraft.engine.heads import plain_head  # noqa: E402
from foredraft.heads.batch import Batch  # noqa: E402
from foredraft.heads.hydra import HydraHead  # noqa: E402
from foredraft.heads.medusa import MedusaHead  # noqa: E402
from foredraft.heads.mtp import MTPHead  # noqa: E402
from foredraft.models.toy import Tables, ToyModel  # noqa: E402
from random_heads import random_head, taps_of  # noqa: E402

TEXT = (0, 3, 1, 4, 1, 2, 0, 0, 3, 5, 2, 1)
SAYS = (0, 1, 3, 5)
MODULES: dict[str, Any] = {"medusa": MedusaHead, "hydra": HydraHead, "mtp": MTPHead}
FORMS = [
    ("medusa", {"layers": 1}),
    ("medusa", {"layers": 2, "own": 1}),
    ("hydra", {"layers": 1}),
    ("hydra", {"layers": 3, "prefix": 1}),
    ("hydra", {"layers": 1, "own": 1}),
    ("mtp", {}),
]


@pytest.mark.parametrize(("method", "sizes"), FORMS, ids=str)
def test_the_trained_module_is_the_definition(method: str, sizes: dict[str, int]) -> None:
    target = ToyModel(Tables.random(6, order=2, seed=4, mixed=True))
    config, tensors = random_head(target.about, method=method, says=SAYS, block=3, seed=1, **sizes)
    taps = taps_of(target, TEXT, config.taps)
    rows = torch.from_numpy(target.head_rows(SAYS))
    module = MODULES[method](config, torch.from_numpy(tensors["vocabulary"]), rows, torch.zeros(config.width)).double()
    module.load({name: torch.from_numpy(values) for name, values in tensors.items()})
    length = len(TEXT)
    batch = Batch(
        hidden=torch.from_numpy(taps.reshape(1, length, 1, -1)),
        embedded=torch.from_numpy(target.embed(TEXT))[None],
        positions=torch.arange(length)[None],
        real=torch.ones(1, length, dtype=torch.bool),
        start=1,
        previous=torch.zeros(1, length, dtype=torch.long),
    )
    with torch.no_grad():
        found = [module.logits(step[0], number).numpy() for number, step in enumerate(module(batch))]
    assert len(found) == 3
    head = plain_head(target, config, tensors)
    drafter: Any = family(method).build(family(method).options(), Provided(head=head))
    cache = head.open()
    for root in (1, 2, 5, 8):
        first = cache.length + 1
        feed = Feed(cache, TEXT[first : root + 1], taps[first - 1 : root], 3)
        said = drafter.laws(feed, TEXT[root + 1 :])
        expected = np.stack([step[root - 1] for step in found])
        np.testing.assert_allclose(said, expected, atol=2e-5 * max(1.0, np.abs(expected).max()), rtol=0)
