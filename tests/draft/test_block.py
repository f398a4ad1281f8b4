"""The block drafter: what it feeds its head, what it proposes, and that the text stays the target's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from foredraft.core.errors import UsageError
from foredraft.core.protocols import Ask, Budget, Draw, Feed, Model, Request
from foredraft.core.rules import Bias, Logits, Rules
from foredraft.core.stream import KeyedStream
from foredraft.core.tree import DraftTree
from foredraft.draft import specify
from foredraft.draft.block import FAMILY, BlockDrafter, Options
from foredraft.draft.family import Provided
from foredraft.draft.plain_head import PlainHead
from foredraft.engine.sequence import open_sequence
from foredraft.models.toy import Tables, ToyModel
from foredraft.testing.drafters import DrafterChecks, MakeDrafter, until
from foredraft.testing.watch import Varied, drive
from foredraft.verify.match import Match
from random_heads import logits_of, random_head, taps_of

SMALL: dict[str, Any] = {"heads": 2, "kv_heads": 1, "head_size": 4, "hidden": 6, "rank": 3}


def plain_head(target: Model, **changes: Any) -> PlainHead:
    return PlainHead(target, *random_head(target.about, **(SMALL | changes)), dtype=np.float64)


@pytest.mark.parametrize("says", [None, (0, 2)], ids=["all", "some"])
class TestBlock(DrafterChecks):
    @pytest.fixture
    def make_drafter(self, target: Model, says: Any) -> MakeDrafter:
        head = plain_head(target, block=3, says=says)
        return lambda: BlockDrafter(head)


class TestShortBlock(DrafterChecks):
    @pytest.fixture
    def make_drafter(self, target: Model) -> MakeDrafter:
        head = plain_head(target, block=4, layers=2, taps=(1,))
        return lambda: BlockDrafter(head, depth=2)
