"""Threads from affinity and control-group quota."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from foredraft.engine.threads import available_processors, available_threads


def test_without_a_quota_affinity_decides(tmp_path: Path) -> None:
    assert available_threads(tmp_path) == len(os.sched_getaffinity(0))
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert available_threads(tmp_path) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("quota", "expected"), [("50000", 1), ("100000", 1)])
def test_a_quota_of_version_2_limits(tmp_path: Path, quota: str, expected: int) -> None:
    (tmp_path / "cpu.max").write_text(f"{quota} 100000\n")
    assert available_threads(tmp_path) == expected


def test_a_quota_is_rounded_up_and_never_above_the_affinity(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert available_processors(tmp_path) == min(1.5, len(os.sched_getaffinity(0)))
    assert available_threads(tmp_path) == min(2, len(os.sched_getaffinity(0)))
    (tmp_path / "cpu.max").write_text("99900000 100000\n")
    assert available_threads(tmp_path) == len(os.sched_getaffinity(0))


def test_a_quota_of_version_1_limits(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("100000\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert available_threads(tmp_path) == 1
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("-1\n")
    assert available_threads(tmp_path) == len(os.sched_getaffinity(0))


def groups(tmp_path: Path, own: str) -> Path:
    """A list of a process's groups, as the kernel writes it."""
    path = tmp_path / "groups"
    path.write_text(own)
    return path


@pytest.mark.parametrize("limited", ["outer.slice", "outer.slice/inner.scope"])
def test_the_groups_above_limit_too(tmp_path: Path, limited: str) -> None:
    """A service's quota is that of its own group, or of a slice around it; the root has none."""
    (tmp_path / "outer.slice/inner.scope").mkdir(parents=True)
    (tmp_path / "outer.slice/cpu.max").write_text("max 100000\n")
    (tmp_path / "outer.slice/inner.scope/cpu.max").write_text("max 100000\n")
    own = groups(tmp_path, "0::/outer.slice/inner.scope\n")
    assert available_threads(tmp_path, own) == len(os.sched_getaffinity(0))
    (tmp_path / limited / "cpu.max").write_text("100000 100000\n")
    assert available_threads(tmp_path, own) == 1


def test_the_groups_above_limit_too_in_version_1(tmp_path: Path) -> None:
    (tmp_path / "cpu/docker/a").mkdir(parents=True)
    (tmp_path / "cpu/docker/cpu.cfs_quota_us").write_text("100000\n")
    (tmp_path / "cpu/docker/cpu.cfs_period_us").write_text("100000\n")
    assert available_threads(tmp_path, groups(tmp_path, "5:memory:/x\n4:cpu,cpuacct:/docker/a\n0::/\n")) == 1


@pytest.mark.parametrize("own", ["", "what", "0::/../../etc\n", "0::/gone\n", "4:cpu\n"])
def test_groups_that_are_not_there_limit_nothing(tmp_path: Path, own: str) -> None:
    assert available_threads(tmp_path, groups(tmp_path, own)) == len(os.sched_getaffinity(0))
    assert available_threads(tmp_path, tmp_path / "none") == len(os.sched_getaffinity(0))


def test_nonsense_is_no_quota(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("what")
    assert available_threads(tmp_path) == len(os.sched_getaffinity(0))
