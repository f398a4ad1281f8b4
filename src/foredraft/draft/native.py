"""Which twin of the searches in texts runs: the native one where the module is there, else Python's, its specification.

FOREDRAFT_NATIVE=0 in the environment chooses Python's, as for `core/native.py`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol, cast

from foredraft.core.native import module
from foredraft.draft import matches
from foredraft.draft.matches import Places, Source, Text


class Twins(Protocol):
    """What `draft/matches.py` has and says, and `foredraft._native` has too."""

    def matches(
        self,
        text: Text,
        single: Text,
        triple: Text,
        newest: tuple[int, int],
        context: Text,
        span: tuple[int, int],
        reach: int,
        /,
    ) -> Places: ...

    def bounds(self, text: Text, suffixes: Text, context: Text, /) -> tuple[int, int]: ...

    def continuations(
        self, sources: Sequence[Source], rows: int, depth: int, least: float, doubt: float, /
    ) -> tuple[list[int], list[int], list[float]]: ...


def twins(wanted: str | None) -> Twins:
    """The native functions, Python's where they were not built or `wanted` is "0"."""
    return cast(Twins, module(wanted) or matches)


TWINS = twins(os.environ.get("FOREDRAFT_NATIVE"))
