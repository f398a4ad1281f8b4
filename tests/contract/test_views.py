"""A drafter that is part of the target: some of its layers, behind a cache of their own (self-speculation)."""

from __future__ import annotations

import pytest

from foredraft.core.protocols import Model, Needs, Request
from foredraft.core.rules import Rules
from foredraft.draft.family import Provided
from foredraft.draft.model import ModelDrafter
from foredraft.engine.sequence import open_sequence
from foredraft.models.toy import Tables, ToyModel
from foredraft.testing.drafters import DrafterChecks, MakeDrafter, until
from foredraft.testing.watch import Varied, drive
from foredraft.verify.match import Match


class Layers(ModelDrafter):
    """A draft model, but for where it comes from."""

    def __init__(self, provided: Provided, layers: tuple[int, ...], widths: tuple[int, ...] = ()) -> None:
        assert provided.view is not None
        super().__init__(provided.view, widths)
        self.needs = Needs(layers=layers)


class TestLayers(DrafterChecks):
    @pytest.fixture
    def target(self) -> Model:
        return ToyModel(Tables.random(3, order=2, seed=21))

    @pytest.fixture(params=[(2, 1)], ids=str)
    def make_drafter(self, target: Model, request: pytest.FixtureRequest) -> MakeDrafter:
        return lambda: Layers(Provided(view=target.view((0,))), (0,), request.param)


def test_a_view_shares_no_cache_with_its_target() -> None:
    target = ToyModel(Tables.random(4, order=2, seed=22))
    drafter = Layers(Provided(view=target.view((0,))), (0,))
    sequence = open_sequence(target, drafter, Match(), Request((1, 2, 3), 0, rules=Rules(temperature=1.0)), until(12))
    drive(target, Varied(), [sequence], rounds=3)
    committed = sequence.committed
    assert sequence.cache.path == committed[:-1]
    assert all(branch.cache is not sequence.cache for branch in sequence.state.branches)
    assert drafter.model.passes > target.passes
