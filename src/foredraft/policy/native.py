"""Which twin of the counts behind the policy's chances runs.

The native one where the module is there, else Python's, its specification. FOREDRAFT_NATIVE=0 in the environment
chooses Python's, as for `core/native.py`.
"""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Protocol, cast

from foredraft.core.native import module
from foredraft.policy import acceptance


class Twins(Protocol):
    """What `policy/acceptance.py` has and says, and `foredraft._native` has too."""

    @property
    def Acceptance(self) -> type[acceptance.Acceptance]: ...


def twins(wanted: str | None) -> Twins:
    """The native class, Python's where it was not built or `wanted` is "0"."""
    return cast(Twins, module(wanted) or SimpleNamespace(Acceptance=acceptance.Acceptance))


TWINS = twins(os.environ.get("FOREDRAFT_NATIVE"))
