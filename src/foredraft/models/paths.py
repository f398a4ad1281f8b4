"""What every cache checks: that rows of a pass are one path."""

from __future__ import annotations

from collections.abc import Sequence


def check_path(rows: Sequence[int], parents: Sequence[int]) -> None:
    """Raises ValueError unless `rows` are one path of the last pass from the end of the cache."""
    parent = -1
    for row in rows:
        if not 0 <= row < len(parents) or parents[row] != parent:
            raise ValueError(f"rows {list(rows)} are not one path of the last pass from the end of the cache")
        parent = row
