"""How many threads this process may really use: its processor affinity and its control group's quota."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

CGROUP, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def available_threads(cgroup: Path = CGROUP, own: Path = OWN) -> int:
    """At least 1. A container limited to 1.5 processors gets 2 threads, not those of the whole machine."""
    return max(1, math.ceil(available_processors(cgroup, own)))


def available_processors(cgroup: Path = CGROUP, own: Path = OWN) -> float:
    """As many as affinity and quotas leave, which may be a fraction.

    cgroup: where groups are mounted. own: the kernel's list of the groups that this process is in.
    """
    try:
        usable = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        usable = os.cpu_count() or 1
    quotas = [quota for folder in _groups(cgroup, own) if (quota := _quota(folder)) is not None]
    return min([float(usable), *quotas])


def _groups(cgroup: Path, own: Path) -> Iterator[Path]:
    """The folders of the process's groups and of all around them: any of them may set a limit."""
    yield cgroup
    yield cgroup / "cpu"
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if ".." in path or (controllers and "cpu" not in controllers.split(",")):
            continue
        for group in (PurePosixPath(path), *PurePosixPath(path).parents):
            yield cgroup / ("cpu" if controllers else "") / str(group).lstrip("/")


def _quota(group: Path) -> float | None:
    """Processors allowed by cgroup v2 (cpu.max) or v1 (cpu.cfs_*); None without a limit."""
    try:
        limit, period = (group / "cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        pass
    try:
        limit = (group / "cpu.cfs_quota_us").read_text()
        period = (group / "cpu.cfs_period_us").read_text()
        return int(limit) / int(period) if int(limit) > 0 else None
    except (OSError, ValueError):
        return None
