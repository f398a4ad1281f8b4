"""Parallel heads for multi-token prediction draft a block (Gloeckle et al. 2404.19737)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from foredraft.draft.family import Family
from foredraft.draft.independent import IndependentOptions, build


@dataclass(frozen=True)
class Options(IndependentOptions):
    name: ClassVar[str] = "mtp"


FAMILY = Family(
    name=Options.name,
    summary="heads of one layer each on the target's trunk (multi-token prediction)",
    options=Options,
    needs=lambda options: options.needs,
    build=build,
    positional="head",
    requires="a head trained for the target",
)
