"""Which options of `foredraft bench` go with --url, and which without: one that would do nothing is refused."""

from __future__ import annotations

from typing import Protocol

from foredraft.core.errors import UsageError

URL_ALONE = frozenset({"concurrency", "api_key", "timeout"})
BOTH = frozenset({"url", "model", "suite", "limit_per_task", "max_tokens", "temperature", "seed", "raw", "out", "json"})


class Source(Protocol):
    @property
    def name(self) -> str: ...


class Context(Protocol):
    """What the command line's library knows of one call."""

    @property
    def params(self) -> dict[str, object]: ...

    def get_parameter_source(self, name: str) -> Source | None: ...


def given(context: Context, url: str | None) -> frozenset[str]:
    """The options that were typed. Raises UsageError for one that does nothing here."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    typed = frozenset(name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE")
    wrong = typed - BOTH - URL_ALONE if url is not None else typed & URL_ALONE
    if wrong:
        option = f"--{min(wrong).replace('_', '-')}"
        if url is None:
            raise UsageError(f"{option} is of a server: give its address with --url, or leave {option} out")
        raise UsageError(f"{option} says how foredraft itself decodes, which a server decides: leave it out with --url")
    return typed
