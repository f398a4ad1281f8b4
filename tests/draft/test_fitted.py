"""A draft model seen through another vocabulary size gives its best known token, with and without logits."""

from __future__ import annotations

import numpy as np
import pytest

from foredraft.core.protocols import Query
from foredraft.draft.fitted import Fitted, fit
from foredraft.models.toy import Tables, ToyModel


@pytest.mark.parametrize("size", [4, 6, 8])
@pytest.mark.parametrize("argmax_only", [False, True])
def test_the_best_token_is_one_of_the_target(size: int, argmax_only: bool) -> None:
    """6 tokens of its own: cut to 4, as they are, and filled up to 8."""
    model = ToyModel(Tables.random(6, seed=3))
    fitted = Fitted.of(model, size)
    for start in range(min(size, 6)):
        tokens, parents = (start, 1, 2), (-1, 0, 1)
        [own] = model.score([Query(model.open(), tokens, parents, (0, 1, 2))])
        logits = [np.array(own.logits(row)) for row in range(3)]
        [scores] = fitted.score([Query(fitted.open(), tokens, parents, (0, 1, 2), argmax_only=argmax_only)])
        for row in range(3):
            assert scores.argmax(row) == int(np.argmax(fit(logits[row], size)))
