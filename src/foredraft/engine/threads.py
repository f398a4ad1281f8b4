"""How many threads this process may really use: its processor affinity and its control group's quota."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def available_threads(cgroup: Path = CGROUP) -> int:
    """At least 1. A container limited to 1.5 processors gets 2 threads, not those of the whole machine."""
    try:
        usable = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        usable = os.cpu_count() or 1
    quota = _quota(cgroup)
    return max(1, min(usable, math.ceil(quota)) if quota is not None else usable)


def _quota(cgroup: Path) -> float | None:
    """Processors allowed by cgroup v2 (cpu.max) or v1 (cpu.cfs_*); None without a limit."""
    try:
        limit, period = (cgroup / "cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        pass
    try:
        limit = (cgroup / "cpu/cpu.cfs_quota_us").read_text()
        period = (cgroup / "cpu/cpu.cfs_period_us").read_text()
        return int(limit) / int(period) if int(limit) > 0 else None
    except (OSError, ValueError):
        return None
