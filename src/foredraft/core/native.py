"""Which twin of a hot pure function runs: the native one where the module is there, else numpy's, its specification.

The one place that chooses. `from foredraft.core.native import TWINS`; FOREDRAFT_NATIVE=0 in the environment chooses
numpy's, which changes the time and no result.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import Protocol, cast

from foredraft.core import sampling
from foredraft.core.sampling import Floats, Ids, Logits


class Twins(Protocol):
    """What `core/sampling.py` has and says, and `foredraft._native` has too."""

    def argmax(self, logits: Logits, /) -> int: ...

    def top(self, logits: Logits, count: int, /) -> Ids: ...

    def log_softmax(self, logits: Logits, /) -> Floats: ...

    def warp(
        self, logits: Logits, temperature: float, top_k: int, top_p: float, min_p: float, /
    ) -> tuple[Ids | None, Floats]: ...

    def uniform(self, seed: int, choice: int, position: int, purpose: int, origin: int, /) -> float: ...

    def rank(
        self,
        ids: Ids | None,
        probs: Floats,
        count: int,
        seed: int,
        choice: int,
        position: int,
        purpose: int,
        origin: int,
        /,
    ) -> list[int]: ...


def module(wanted: str | None) -> ModuleType | None:
    """The native module; None where it was not built or `wanted` is "0"."""
    if wanted != "0":
        try:
            return importlib.import_module("foredraft._native")
        except ModuleNotFoundError:  # a checkout that was not installed
            pass
    return None


def twins(wanted: str | None) -> Twins:
    """The native functions, numpy's where they were not built or `wanted` is "0"."""
    return cast(Twins, module(wanted) or sampling)


TWINS = twins(os.environ.get("FOREDRAFT_NATIVE"))
