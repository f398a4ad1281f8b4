"""Which model this is, whatever file its weights come from: what a trained head is bound to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def fingerprint_of(norm: Sequence[float] | NDArray[np.floating]) -> str:
    """sha256, in hex, of the final norm's weights as little-endian float32, which no quantisation changes."""
    return hashlib.sha256(np.asarray(norm).astype("<f4").tobytes()).hexdigest()
