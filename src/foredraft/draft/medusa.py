"""Medusa heads draft one place further each from one hidden state (Cai et al. 2401.10774)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from foredraft.draft.head_drafter import head_family
from foredraft.draft.independent import IndependentOptions, build


@dataclass(frozen=True)
class Options(IndependentOptions):
    name: ClassVar[str] = "medusa"


FAMILY = head_family(Options, "heads guess one place further each, from the last hidden state (Medusa)", build)
