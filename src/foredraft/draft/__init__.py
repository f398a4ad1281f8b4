"""Drafters by name: one literal table, loaded when asked for.

A drafter is written so that no shell needs quotes: `lookup`, `lookup:n=3,branches=2`, `model:PATH,tree=3x2x1`. Several
are joined by a plus, `lookup+model:PATH`, and fill one tree; `auto` stands for all that are free, `auto+model:PATH`
adds to them, and `auto+suffix:depth=8` chooses an option of one. Others may add theirs through the entry point group
`foredraft.drafters` (name -> "module:FAMILY").
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from importlib.metadata import entry_points

from foredraft.core.errors import UnknownName, UsageError
from foredraft.draft.family import Family, Spec, parse

DRAFTERS: dict[str, str] = {
    "ahead": "foredraft.draft.ahead:FAMILY",
    "blind": "foredraft.draft.blind:FAMILY",
    "block": "foredraft.draft.block:FAMILY",
    "corpus": "foredraft.draft.corpus:FAMILY",
    "eagle": "foredraft.draft.eagle:EAGLE",
    "eagle3": "foredraft.draft.eagle:EAGLE3",
    "early_exit": "foredraft.draft.early_exit:FAMILY",
    "forced": "foredraft.draft.forced:FAMILY",
    "hydra": "foredraft.draft.hydra:FAMILY",
    "jacobi": "foredraft.draft.jacobi:FAMILY",
    "lookahead": "foredraft.draft.lookahead:FAMILY",
    "lookup": "foredraft.draft.lookup:FAMILY",
    "medusa": "foredraft.draft.medusa:FAMILY",
    "model": "foredraft.draft.model:FAMILY",
    "mtp": "foredraft.draft.mtp:FAMILY",
    "mtp_sequential": "foredraft.draft.eagle:MTP",
    "none": "foredraft.draft.none:FAMILY",
    "prediction": "foredraft.draft.prediction:FAMILY",
    "recycling": "foredraft.draft.recycling:FAMILY",
    "staged": "foredraft.draft.staged:FAMILY",
    "suffix": "foredraft.draft.suffix:FAMILY",
    "translate": "foredraft.draft.translate:FAMILY",
}

AUTO = "auto"
NONE = "none"
TRAINED = "block"
"""What `auto` asks beside, last, where a trained head is known for the target."""
FREE = ("forced", "prediction", "recycling", "suffix")
"""What `auto` stands for, asked in this order: those that need nothing and cost next to nothing."""


@dataclass(frozen=True)
class Lineup:
    """The drafters of a sequence as asked for, in the order in which they are asked. auto: some were left to us."""

    text: str
    specs: tuple[Spec, ...]
    auto: bool = False

    def with_trained(self) -> Lineup:
        """With the head that is known for the target, where `auto` was asked for."""
        if not self.auto or TRAINED in [spec.family.name for spec in self.specs]:
            return self
        return Lineup(self.text, (*self.specs, specify(TRAINED)), auto=True)

    @property
    def fixed(self) -> int | None:
        """Tokens a round, where somebody said how many; None where that is left to the policy."""
        said = [spec.num_speculative_tokens for spec in self.specs if spec.num_speculative_tokens is not None]
        return max(said, default=None)


def names() -> list[str]:
    """All drafters, the built-in ones first."""
    return [*sorted(DRAFTERS), *sorted(point.name for point in _plugins())]


def family(name: str) -> Family:
    """The family called `name`; UnknownName otherwise."""
    where = DRAFTERS.get(name) or next((point.value for point in _plugins() if point.name == name), None)
    if where is None:
        raise UnknownName("drafter", name, names())
    module, _, attribute = where.partition(":")
    found: Family = getattr(importlib.import_module(module), attribute)
    return found


def specify(text: str) -> Spec:
    """A drafter as written on a command line, its options checked. Raises UsageError or UnknownName."""
    return parse(text, family)


def line_up(text: str) -> Lineup:
    """`auto`, a drafter, or several joined by a plus, their options checked. Raises UsageError or UnknownName.

    A drafter that is named beside `auto` takes the place of its own.
    """
    known = [AUTO, *names()]
    starts = "|".join(map(re.escape, known))
    items = re.split(rf"\+(?=(?:{starts})(?:[:+]|$))", text)  # a path may hold a plus, but hardly one before a name
    named = {item.partition(":")[0].strip() for item in items}
    free = [name for name in FREE if name not in named]
    specs = [specify(item) for item in items for item in (free if item.strip() == AUTO else (item,))]
    for spec in specs:
        if [other.family.name for other in specs].count(spec.family.name) > 1:
            raise UsageError(f"drafter {spec.family.name!r} stands twice in {text!r}: name it once")
        if spec.family.name == NONE and len(specs) > 1:
            raise UsageError(f"{text!r} joins drafters and {NONE!r}, which drafts nothing: leave one of them out")
    return Lineup(text, tuple(specs), auto=AUTO in [item.strip() for item in items])


def _plugins() -> list[importlib.metadata.EntryPoint]:
    return [point for point in entry_points(group="foredraft.drafters") if point.name not in DRAFTERS]


__all__ = ["AUTO", "DRAFTERS", "FREE", "TRAINED", "Family", "Lineup", "Spec", "family", "line_up", "names", "specify"]
