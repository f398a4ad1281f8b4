"""Memory that was freed goes back."""

from __future__ import annotations

import platform

import numpy as np
import pytest

from foredraft.bench.memory import Memory, memory
from foredraft.train import giving_back
from foredraft.train.giving_back import ROOM, Held, give_back

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


def test_it_looks_until_there_is_much(monkeypatch: pytest.MonkeyPatch) -> None:
    told, given = iter([100, 100 + ROOM, 101 + ROOM, 50, 50 + ROOM, 51 + ROOM, None]), list[int]()
    monkeypatch.setattr(giving_back, "memory", lambda: Memory(None, next(told)))
    monkeypatch.setattr(giving_back, "give_back", lambda: given.append(1))
    held, times = Held(), list[int]()
    for _ in range(4):
        held.look()
        times.append(len(given))
    assert times == [0, 0, 1, 1]
    held.look()
    assert len(given) == 2
    assert held.bytes is None
