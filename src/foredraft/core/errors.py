"""Errors a user can meet. Every message is one sentence that ends with the remedy.

ForedraftError
├── UsageError        wrong use (a name, an option, a parameter): exit status 2
│   ├── UnknownName   no model, drafter, verifier, engine or option of that name
│   └── PromptError   an empty prompt, or one longer than the model's context
├── MissingExtra      an optional dependency is not installed: names the pip install
├── SourceError       weights could not be found, fetched or verified
├── WeightsError      a weight file that is truncated, corrupt, unsafe or unsupported
├── RuleError         the rules leave no token that may follow
└── DraftError        a drafter broke its contract (caught by the round, which then decodes plainly)
"""

from __future__ import annotations

from collections.abc import Iterable


class ForedraftError(Exception):
    """Base of every error foredraft raises on purpose."""

    exit_status = 1


class UsageError(ForedraftError, ValueError):
    """Something was asked for that cannot be: the message names it and what would do."""

    exit_status = 2


class UnknownName(UsageError):
    """No such name; `kind` is what was looked for, `known` what there is."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        choices = ", ".join(sorted(known)) or "none"
        super().__init__(f"unknown {kind} {name!r}: choose from {choices}{'; ' + hint if hint else ''}")


class PromptError(UsageError):
    """The prompt is empty or does not fit."""


class MissingExtra(ForedraftError, ImportError):
    """An optional dependency is missing; the message names the command that installs it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an extra that is not installed: run `pip install 'foredraft[{extra}]'`")


class SourceError(ForedraftError, OSError):
    """Weights could not be found, downloaded or verified."""


class WeightsError(ForedraftError):
    """A weight file that cannot be used as it is."""


class RuleError(ForedraftError):
    """No token may follow: grammar, bad words and allowed tokens exclude the whole vocabulary."""


class DraftError(ForedraftError):
    """A drafter raised or proposed something that is not a tree over the vocabulary within its budget."""
