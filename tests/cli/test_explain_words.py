"""What `cost --explain` says of a speed-up below 1."""

from __future__ import annotations

import pytest

from foredraft.cli.explain import slower


@pytest.mark.parametrize(
    ("speedup", "interval", "word"),
    [
        (1.01, (0.8, 0.9), ""),
        (1.0, None, ""),
        (0.95, (0.9, 1.1), "do not tell"),
        (0.95, (0.9, 0.99), "SLOWER"),
        (0.95, (1.02, 1.19), "SLOWER"),  # pooled it loses, though the mean of tasks does not
        (0.95, None, "SLOWER"),
    ],
)
def test_slower_is_said_of_what_is_told_from_noise(
    speedup: float, interval: tuple[float, float] | None, word: str
) -> None:
    found = slower(speedup, interval)
    assert (word in found) if word else found == ""
