"""The built-in models pass the kit for models."""

import numpy as np
import pytest

from foredraft.core.protocols import Model
from foredraft.models.toy import NGrams, Tables, ToyModel
from foredraft.testing.models import ModelChecks


class TestTables(ModelChecks):
    @pytest.fixture
    def model(self) -> Model:
        return ToyModel(Tables.random(5, order=3, seed=1, mixed=True))


class TestTablesWithTies(ModelChecks):
    """Equal and impossible logits: argmax and top must break ties by id."""

    @pytest.fixture
    def model(self) -> Model:
        return ToyModel(Tables.random(6, order=1, seed=2, scale=0.5, ties=True, zeros=0.3))


class TestNGrams(ModelChecks):
    @pytest.fixture
    def model(self) -> Model:
        texts = np.random.default_rng(3).integers(7, size=(4, 60)).tolist()
        return ToyModel(NGrams.fit(texts, 7, order=3))


class TestTablesWithoutAbilities(ModelChecks):
    @pytest.fixture
    def model(self) -> Model:
        net = Tables.random(4, seed=4)
        return ToyModel(Tables(net.tables, net.orders, net.positions, net.out, abilities=frozenset()))
