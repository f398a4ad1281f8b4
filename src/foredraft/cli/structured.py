"""`--json-schema`, `--regex`, `--grammar` and `--choice`: what the text must be, checked before a model is loaded."""

from __future__ import annotations

from pathlib import Path

from foredraft.core.errors import UsageError
from foredraft.core.params import StructuredOutputsParams


def structured(
    json_schema: str | None, regex: str | None, grammar: str | None, choice: list[str] | None
) -> StructuredOutputsParams | None:
    """What the options ask for, None where none is given; files are read. Raises UsageError for more than one."""
    options = {"--json-schema": json_schema, "--regex": regex, "--grammar": grammar, "--choice": choice or None}
    given = [option for option, value in options.items() if value is not None]
    if not given:
        return None
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} each say what the text must be: give one")
    from foredraft.grammar.compile import check  # heavy: llguidance

    wanted = StructuredOutputsParams(
        json=_schema(json_schema) if json_schema is not None else None,
        regex=regex,
        choice=tuple(choice) if choice else None,
        grammar=read_text(grammar) if grammar is not None else None,
    )
    check(wanted)
    return wanted


def _schema(given: str) -> str:
    """The schema itself, or the text of its file."""
    return given if given.lstrip().startswith("{") else read_text(given)


def read_text(file: str) -> str:
    """The text of a file. Raises UsageError for one that is not there, or not text."""
    try:
        return Path(file).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{file} is not UTF-8 text: convert it first") from None
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}; check the path") from None
