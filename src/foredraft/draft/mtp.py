"""Parallel heads for multi-token prediction draft a block (Gloeckle et al. 2404.19737)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from foredraft.draft.head_drafter import head_family
from foredraft.draft.independent import IndependentOptions, build


@dataclass(frozen=True)
class Options(IndependentOptions):
    name: ClassVar[str] = "mtp"


FAMILY = head_family(Options, "heads of one layer each on the target's trunk (multi-token prediction)", build)
