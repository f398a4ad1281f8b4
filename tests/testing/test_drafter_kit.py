"""The built-in drafters pass the kit for drafters."""

import numpy as np
import pytest

from foredraft.draft.corpus import Corpus
from foredraft.draft.corpus import Options as CorpusOptions
from foredraft.draft.datastore import Datastore, suffix_array
from foredraft.draft.lookup import Lookup, Options
from foredraft.draft.model import ModelDrafter
from foredraft.draft.model_tree import Shape
from foredraft.draft.none import Nothing
from foredraft.draft.suffix import Options as SuffixOptions
from foredraft.draft.suffix import Suffix
from foredraft.models.toy import Tables, ToyModel
from foredraft.testing.drafters import DrafterChecks, MakeDrafter


class TestNothing(DrafterChecks):
    drafts = False

    @pytest.fixture
    def make_drafter(self) -> MakeDrafter:
        return Nothing


class TestLookup(DrafterChecks):
    @pytest.fixture(params=[Options(), Options(n=2, branches=3)], ids=str)
    def make_drafter(self, request: pytest.FixtureRequest) -> MakeDrafter:
        return lambda: Lookup(request.param)


class TestSuffix(DrafterChecks):
    @pytest.fixture(params=[SuffixOptions(), SuffixOptions(depth=2, shared=False, factor=1.0)], ids=str)
    def make_drafter(self, request: pytest.FixtureRequest) -> MakeDrafter:
        return lambda: Suffix(request.param)


class TestCorpus(DrafterChecks):
    @pytest.fixture
    def make_drafter(self) -> MakeDrafter:
        text = np.array([0, 1, 2, 0, 2, 1, 1, -1, 2, 2, 1, 2, 0, 0, 1, -1, 1, 0, 2], dtype=np.int32)
        return lambda: Corpus(CorpusOptions("texts", min=1), Datastore(text, suffix_array(text)))


class TestModelDrafter(DrafterChecks):
    exact_rows = 3

    @pytest.fixture(
        params=[
            Shape(),
            Shape((3, 2, 1)),
            Shape(depth=2),
            Shape(threshold=0.5),
            Shape((2, 2), threshold=0.4),
            Shape(dynamic=2),
            Shape(dynamic=3, depth=2, threshold=0.2),
        ],
        ids=str,
    )
    def make_drafter(self, request: pytest.FixtureRequest) -> MakeDrafter:
        draft = ToyModel(Tables.random(3, order=0, seed=12))
        return lambda: ModelDrafter(draft, shape=request.param)


class TestModelDrafterWithAHead(DrafterChecks):
    """A draft model that can say two of three tokens."""

    exact_rows = 3

    @pytest.fixture(params=[Shape(), Shape((2, 2)), Shape(dynamic=2)], ids=str)
    def make_drafter(self, request: pytest.FixtureRequest) -> MakeDrafter:
        draft = ToyModel(Tables.random(3, order=0, seed=12))
        return lambda: ModelDrafter(draft, shape=request.param, says=np.array([0, 2]))
