"""A trained head drafts a block in one pass, with what the drafted token before each adds (docs/algorithms).

Kin to Medusa (2401.10774), EAGLE-3 (2503.01840), P-EAGLE (2602.01469) and DFlash (2602.06036). Rows for the tokens that
are not there yet stand behind the last context row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

from foredraft.draft.family import Provided
from foredraft.draft.head_drafter import HeadOptions, head_family
from foredraft.draft.one_pass import OnePass, OnePassDrafter


@dataclass(frozen=True)
class Options(HeadOptions):
    name: ClassVar[str] = "block"


def _build(options: Options, provided: Provided) -> OnePassDrafter:
    head = cast(OnePass, options.given(provided))
    return OnePassDrafter(head, options.depth, name=options.name, window=options.window)


FAMILY = head_family(Options, "a trained head drafts a block in one pass, from the target's hidden states", _build)
