"""`foredraft drafters`: every way of guessing, its needs and options."""

from __future__ import annotations

import dataclasses
import json as jsonlib
from typing import Any

from foredraft.draft import family, names
from foredraft.draft.family import Family, option_fields

LENGTH_HELP = "tokens drafted a round, at most; left to the policy by default"


def list_drafters(json: bool) -> None:
    """Prints them as text, or as a JSON array."""
    rows = [_describe(family(name)) for name in names()]
    if json:
        print(jsonlib.dumps(rows, indent=2))
        return
    for row in rows:
        print(f"{row['name']}: {row['summary']}\n  needs {row['needs']}")
        for one in row["options"]:
            default = "" if one["default"] is None else f" (default {one['default']!r})"
            print(f"  {one['name']}: {one['help']}{default}")
    print(
        "\nWrite them as name:option=value,…; all are lossless: a drafter changes when the text is ready, not the text."
    )


def _describe(found: Family) -> dict[str, Any]:
    options = [
        {"name": name, "type": kind, "default": None if default is dataclasses.MISSING else default, "help": text}
        for name, kind, default, text in option_fields(found)
    ]
    length = {"name": "num_speculative_tokens", "type": "int", "default": None}
    return {
        "name": found.name,
        "summary": found.summary,
        "needs": found.requires,
        "lossless": True,
        "options": [*options, {**length, "help": LENGTH_HELP}],
    }
