"""Drafters by name: one literal table, loaded when asked for.

A drafter is written so that no shell needs quotes: `lookup`, `lookup:n=3,branches=2`, `model:PATH,tree=3x2x1`. Others
may add theirs through the entry point group `foredraft.drafters` (name -> "module:FAMILY").
"""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points

from foredraft.core.errors import UnknownName
from foredraft.draft.family import Family, Spec, parse

DRAFTERS: dict[str, str] = {
    "lookup": "foredraft.draft.lookup:FAMILY",
    "model": "foredraft.draft.model:FAMILY",
    "none": "foredraft.draft.none:FAMILY",
}


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


def _plugins() -> list[importlib.metadata.EntryPoint]:
    return [point for point in entry_points(group="foredraft.drafters") if point.name not in DRAFTERS]


__all__ = ["DRAFTERS", "Family", "Spec", "family", "names", "specify"]
