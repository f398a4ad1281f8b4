"""Who takes part in a benchmark: plain decoding, and drafters that meet every prompt as if it were their first."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from foredraft.core.errors import UsageError
from foredraft.draft import line_up, names
from foredraft.engine.backends import Loaded
from foredraft.engine.llm import DEFAULT_POLICY, LLM
from foredraft.models.sources import Progress

PLAIN = "plain"
NONE = "none"  # as a drafter beside plain decoding: plain against plain, which shows the noise
ALL = "all"

# `branches=2` goes on with the drafter before the comma; `lookup:n=3` and `model:PATH` begin another.
OPTION = re.compile(r"\s*\w+=")


@dataclass(frozen=True)
class Entrant:
    """One arm of the comparison. name: PLAIN, or the drafter as it was written."""

    name: str
    llm: LLM

    def fresh(self, tenant: str) -> LLM:
        """The same for a tenant of its own: nothing that was learnt from other prompts is there."""
        return self.llm.for_tenant(tenant)

    @property
    def forks(self) -> bool:
        """May it start from a prompt that was scored for all? Not where it wants the prompt's hidden states."""
        return not self.llm.drafting.needs_taps

    def close(self) -> None:
        """Gives back a second model, if it has one."""
        self.llm.drafting.close()


def listed(text: str) -> list[str]:
    """The drafters of `a,b:option=1,option=2,c`; their names and options are checked. Raises UsageError."""
    found: list[str] = []
    for item in filter(None, (item.strip() for item in text.split(","))):
        if found and OPTION.match(item):
            found[-1] += f",{item}"
        else:
            found.append(item)
    if not found:
        raise UsageError("there is no drafter to compare: name some as in lookup,none or give all")
    for name in found:
        if found.count(name) > 1:
            raise UsageError(f"drafter {name!r} is named twice: name it once")
        line_up(name)
    return found


def every() -> tuple[list[str], dict[str, str]]:
    """All drafters that need no options, `none` left out, and why the others cannot run."""
    able, unable = [], {}
    for name in names():
        try:
            line_up(name)
        except UsageError as error:
            unable[name] = str(error)
        else:
            able += [name] if name != NONE else []
    return able, unable


def admit(
    loaded: Loaded,
    drafters: Iterable[str],
    progress: Progress | None = None,
    *,
    policy: str = DEFAULT_POLICY,
    strict: bool = True,
) -> tuple[list[Entrant], dict[str, str]]:
    """Plain decoding first, then the drafters; and, unless `strict`, those that the model cannot serve and why.

    policy: of those whose own options do not say how many tokens they draft.
    """
    entrants, unable = [Entrant(PLAIN, LLM(loaded, NONE))], {}
    try:
        for name in drafters:
            try:
                own = policy if line_up(name).fixed is None else DEFAULT_POLICY
                entrants.append(Entrant(name, LLM(loaded, name, policy=own, progress=progress)))
            except UsageError as error:
                if strict:
                    raise
                unable[name] = str(error)
    except BaseException:
        for entrant in entrants:
            entrant.close()
        raise
    return entrants, unable
