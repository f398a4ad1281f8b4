"""Writes docs/cli.md from the commands' own help; with --check only says whether it is up to date (exit status 1)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PAGE = Path(__file__).parent / "cli.md"
COMMANDS = (
    "",
    "generate",
    "trace",
    "chat",
    "models",
    "models list",
    "models pull",
    "models show",
    "drafters",
    "cost",
    "bench",
    "report",
    "simulate",
    "audit",
)
HEAD = "# The command line\n\nMade by `make docs` from the help texts; do not edit.\n"


def page() -> str:
    """The page's text: every command's help in a code block."""
    parts = [HEAD]
    for command in COMMANDS:
        title = f"foredraft {command}".strip()
        parts.append(f"\n## {title}\n\n```\n{_help(command.split())}\n```\n")
    return "".join(parts)


def _help(words: list[str]) -> str:
    from typer.main import get_command
    from typer.testing import CliRunner

    from foredraft.cli.app import app

    assert get_command(app) is not None
    result = CliRunner().invoke(app, [*words, "--help"], prog_name="foredraft", terminal_width=100)
    return "\n".join(line.rstrip() for line in result.output.strip().splitlines())


def main() -> int:
    os.environ.update(COLUMNS="100", NO_COLOR="1", TERM="dumb")
    text = page()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print("docs/cli.md is out of date: run `make docs`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
