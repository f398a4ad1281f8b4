"""Memory as the kernel tells it: read from text by hand, and of this process where it can be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from foredraft.bench.memory import UNKNOWN, Memory, forget_peak, memory, most

STATUS = "Name:\tpython\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\nRssAnon:\t   512 kB\n"


def test_bytes_of_what_the_kernel_writes(tmp_path: Path) -> None:
    assert memory(tmp_path) == UNKNOWN
    (tmp_path / "status").write_text(STATUS, encoding="utf-8")
    assert memory(tmp_path) == Memory(2048 * 1024, 512 * 1024)
    (tmp_path / "status").write_text("Name:\tpython\n", encoding="utf-8")
    assert memory(tmp_path) == UNKNOWN
    forget_peak(tmp_path / "none")  # where that may not be, nothing happens


def test_the_most_of_several_passes_over_what_is_unknown() -> None:
    assert most([Memory(1, None), Memory(3, None), UNKNOWN]) == Memory(3, None)
    assert most([]) == UNKNOWN


ALONE = """
import numpy as np
from foredraft.bench.memory import forget_peak, memory
large = np.ones(16_000_000)  # 128 MB
held = memory()
del large
forget_peak()
print(held.peak, held.anonymous, memory().peak)
"""


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="this kernel does not forget a peak")
def test_a_peak_is_forgotten_and_memory_that_is_held_is_seen() -> None:
    """In a process of its own: what other tests did to this one's memory is not what is asked."""
    said = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=True).stdout
    peak, anonymous, after = map(int, said.split())
    assert anonymous > 128_000_000
    assert after < peak - 100_000_000
