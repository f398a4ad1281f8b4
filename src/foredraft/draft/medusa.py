"""Medusa heads draft one place further each from one hidden state (Cai et al. 2401.10774)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from foredraft.draft.family import Family
from foredraft.draft.independent import IndependentOptions, build


@dataclass(frozen=True)
class Options(IndependentOptions):
    name: ClassVar[str] = "medusa"


FAMILY = Family(
    name=Options.name,
    summary="heads guess one place further each, from the last hidden state (Medusa)",
    options=Options,
    needs=lambda options: options.needs,
    build=build,
    positional="head",
    requires="a head trained for the target",
)
