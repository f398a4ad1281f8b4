"""Threads from affinity and control-group quota."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from foredraft.engine.threads import available_threads


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


def test_nonsense_is_no_quota(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("what")
    assert available_threads(tmp_path) == len(os.sched_getaffinity(0))
