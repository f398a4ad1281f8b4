"""Writes the tables of docs/options.md from the code's own; with --check only says whether they are up to date."""

from __future__ import annotations

import sys
from pathlib import Path

from foredraft.engine.foreign import LENGTH, METHOD, METHODS, MODEL, PAIR, SCHEDULE, TABLE, UNSUPPORTED_METHODS, Foreign

PAGE = Path(__file__).parent / "options.md"
BEGIN, END = "<!-- made by docs/generate_options.py -->\n", "<!-- end -->\n"
SHARED = {
    METHOD: "the drafter",
    MODEL: "the drafter's `model`",
    LENGTH: f"`{LENGTH}`",
    SCHEDULE: "the policy",
    PAIR: "drafter `translate`",
}


def tables() -> str:
    """What stands between the marks: the options, then the methods."""
    lines = ["| system | option | here | note |", "|---|---|---|---|"]
    lines += [f"| {one.system} | `{one.name}` | {_here(one)} | {_note(one)} |" for one in TABLE]
    lines += ["", "| method | drafter |", "|---|---|"]
    lines += [f"| `{name}` | `{ours}` |" for name, ours in METHODS.items()]
    lines += [f"| `{name}` | not supported: {why} |" for name, why in UNSUPPORTED_METHODS.items()]
    return "\n".join(lines) + "\n"


def _here(one: Foreign) -> str:
    drafter, _, option = one.ours.partition(":")
    return SHARED.get(one.ours, f"`{option}` of `{drafter}`") if one.ours else "not supported"


def _note(one: Foreign) -> str:
    neutral = " or ".join(f"`{str(value).lower()}`" for value in one.neutral)
    return "; ".join(filter(None, (one.note, f"{neutral} may stay" if neutral else "")))


def page(text: str) -> str:
    """The page with its tables made anew."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + tables() + END + rest.partition(END)[2]


def main() -> int:
    text = PAGE.read_text(encoding="utf-8")
    made = page(text)
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(made, encoding="utf-8")
    elif made != text:
        print("docs/options.md is out of date: run `make docs`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
