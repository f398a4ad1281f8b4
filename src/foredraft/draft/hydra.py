"""Hydra heads draft level by level, each reading the tokens drafted before it (Ankner et al. 2402.05109)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from foredraft.draft.head_drafter import HeadOptions, head_family
from foredraft.draft.levels import build


@dataclass(frozen=True)
class Options(HeadOptions):
    name: ClassVar[str] = "hydra"


FAMILY = head_family(Options, "heads guess one place further each, and read what was drafted before (Hydra)", build)
