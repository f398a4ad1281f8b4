"""Memory that was freed goes back."""

from __future__ import annotations

import platform

import numpy as np
import pytest

from foredraft.bench.memory import memory
from foredraft.train.giving_back import give_back

SMALL, COUNT = 64 << 10, 4096  # pieces that glibc does not map one by one


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps what was freed")
def test_what_was_freed_in_pieces_is_no_longer_held() -> None:
    pieces = [np.ones(SMALL // 8) for _ in range(COUNT)]
    stones = pieces[::64]  # between which glibc cannot give back by itself
    del pieces
    before = memory().anonymous
    give_back()
    after = memory().anonymous
    assert before is not None
    assert after is not None
    assert len(stones) == COUNT // 64
    assert before - after > SMALL * COUNT // 2
