"""Which twin of the searches in texts and of the table of successors runs.

The native one where the module is there, else Python's, its specification. FOREDRAFT_NATIVE=0 in the environment
chooses Python's, as for `core/native.py`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Protocol, cast

from foredraft.core.native import module
from foredraft.draft import matches, successors
from foredraft.draft.matches import Places, Source, Text


class Twins(Protocol):
    """What `draft/matches.py` and `draft/successors.py` have and say, and `foredraft._native` has too."""

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
        self, sources: Sequence[Source], rows: int, depth: int, least: float, /
    ) -> tuple[list[int], list[int], list[float]]: ...

    @property
    def Successors(self) -> type[successors.Successors]: ...


def twins(wanted: str | None) -> Twins:
    """The native functions, Python's where they were not built or `wanted` is "0"."""
    return cast(Twins, module(wanted) or SimpleNamespace(**vars(matches), Successors=successors.Successors))


TWINS = twins(os.environ.get("FOREDRAFT_NATIVE"))
