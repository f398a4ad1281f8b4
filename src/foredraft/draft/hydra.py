"""Hydra heads draft level by level, each reading the tokens drafted before it (Ankner et al. 2402.05109)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

from foredraft.draft.family import Family, Provided
from foredraft.draft.head_drafter import HeadOptions
from foredraft.draft.levels import LevelDrafter, Levels


@dataclass(frozen=True)
class Options(HeadOptions):
    name: ClassVar[str] = "hydra"


def _build(options: Options, provided: Provided) -> LevelDrafter:
    return LevelDrafter(cast(Levels, options.given(provided)), options.depth, name=options.name)


FAMILY = Family(
    name=Options.name,
    summary="heads guess one place further each, and read what was drafted before (Hydra)",
    options=Options,
    needs=lambda options: options.needs,
    build=_build,
    positional="head",
    requires="a head trained for the target",
)
