"""Trained heads that draft token by token: EAGLE, EAGLE-3 and sequential multi-token prediction.

What the target thought at a position, joined with the token that followed, is a context row of the head; where that row
ended, joined with a drafted token, is the next one. The tree grows as EAGLE-2's does (Li et al. 2406.16858, section
4.1): every level goes on from the likeliest paths so far, in one pass, and of all nodes that were ever drafted the
likeliest are kept. Whatever was accepted, the next round makes its rows anew from the target's own hidden states.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from foredraft.draft.head_drafter import HeadOptions, head_family
from foredraft.draft.levels import build


@dataclass(frozen=True)
class EagleOptions(HeadOptions):
    name: ClassVar[str] = "eagle"


@dataclass(frozen=True)
class Eagle3Options(HeadOptions):
    name: ClassVar[str] = "eagle3"


@dataclass(frozen=True)
class SequentialOptions(HeadOptions):
    name: ClassVar[str] = "mtp_sequential"


EAGLE = head_family(EagleOptions, "a trained layer goes on from the target's last hidden states, token by token", build)
EAGLE3 = head_family(Eagle3Options, "a trained layer drafts token by token from three layers of the target", build)
MTP = head_family(SequentialOptions, "trained modules for the tokens ahead, each reading the one before", build)
