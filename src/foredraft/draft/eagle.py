"""Trained heads that draft token by token: EAGLE, EAGLE-3 and sequential multi-token prediction.

What the target thought at a position, joined with the token that followed, is a context row of the head; where that row
ended, joined with a drafted token, is the next one. The tree grows as EAGLE-2's does (Li et al. 2406.16858, section
4.1): every level goes on from the likeliest paths so far, in one pass, and of all nodes that were ever drafted the
likeliest are kept. Whatever was accepted, the next round makes its rows anew from the target's own hidden states.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

from foredraft.draft.family import Family, Provided
from foredraft.draft.head_drafter import HeadOptions
from foredraft.draft.levels import LevelDrafter, Levels


@dataclass(frozen=True)
class EagleOptions(HeadOptions):
    name: ClassVar[str] = "eagle"


@dataclass(frozen=True)
class Eagle3Options(HeadOptions):
    name: ClassVar[str] = "eagle3"


@dataclass(frozen=True)
class SequentialOptions(HeadOptions):
    name: ClassVar[str] = "mtp_sequential"


def _build(options: HeadOptions, provided: Provided) -> LevelDrafter:
    return LevelDrafter(cast(Levels, options.given(provided)), options.depth, name=options.name)


def _family(options: type[HeadOptions], summary: str) -> Family:
    return Family(
        name=options.name,
        summary=summary,
        options=options,
        needs=lambda given: given.needs,
        build=_build,
        positional="head",
        requires="a head trained for the target",
    )


EAGLE = _family(EagleOptions, "a trained layer continues the target's last hidden states, token by token (EAGLE)")
EAGLE3 = _family(Eagle3Options, "a trained layer drafts token by token from three layers of the target (EAGLE-3)")
MTP = _family(SequentialOptions, "trained modules for the tokens ahead, or one for all, each reading the one before")
