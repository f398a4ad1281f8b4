"""Who takes part in a benchmark: plain decoding, and drafters that meet every prompt as if it were their first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

from foredraft.core.errors import UsageError
from foredraft.draft import line_up, names
from foredraft.engine.backends import Loaded
from foredraft.engine.llm import DEFAULT_POLICY, DEFAULT_VERIFIER, LLM
from foredraft.models.sources import Progress
from foredraft.policy.constant import Constant

PLAIN = "plain"
NONE = "none"  # as a drafter beside plain decoding: plain against plain, which shows the noise
ALL = "all"

# `branches=2` goes on with the drafter before the comma; `lookup:n=3` and `model:PATH` begin another.
OPTION = re.compile(r"\s*\w+=")


@dataclass(frozen=True)
class Variant:
    """A drafter that is to take part. text: as it is written. length: tokens it drafts a round, where a sweep says."""

    name: str
    text: str
    length: int | None = None

    @staticmethod
    def of(text: str, length: int | None = None) -> Variant:
        """The drafter of a text, so many tokens a round, under a name that says so."""
        return Variant(text if length is None else with_option(text, "k", str(length)), text, length)


def with_option(text: str, option: str, value: str) -> str:
    """A drafter's text with one more option; of several, the last gets it."""
    last = line_up(text).specs[-1].text
    return f"{text}{',' if ':' in last else ':'}{option}={value}"


@dataclass(frozen=True)
class Entrant:
    """One arm of the comparison. name: PLAIN, or the drafter as it was written; text: the latter without a length that
    a sweep says. borrows: its models are another's.
    """

    name: str
    llm: LLM
    text: str = ""
    borrows: bool = False

    def fresh(self, tenant: str) -> LLM:
        """The same for a tenant of this arm's own: nothing that was learnt from others' prompts, or by other arms."""
        return self.llm.for_tenant(f"{self.name}: {tenant}")

    @property
    def forks(self) -> bool:
        """May it start from a prompt that was scored for all? Not where it wants the prompt's hidden states."""
        return not self.llm.drafting.needs_taps

    def close(self) -> None:
        """Gives back a second model, if it has one of its own."""
        if not self.borrows:
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
    drafters: Iterable[str | Variant],
    progress: Progress | None = None,
    *,
    policy: str = DEFAULT_POLICY,
    verifier: str = DEFAULT_VERIFIER,
    allow_lossy: bool = False,
    strict: bool = True,
) -> tuple[list[Entrant], dict[str, str]]:
    """Plain decoding first, then the drafters; and, unless `strict`, those that the model cannot serve and why.

    policy: of those whose own options do not say how many tokens they draft. verifier: of all drafters; plain decoding
    has the default one.
    """
    judging = {"verifier": verifier, "allow_lossy": allow_lossy}
    entrants, unable = [Entrant(PLAIN, LLM(loaded, NONE))], {}
    variants = [Variant(one, one) if isinstance(one, str) else one for one in drafters]
    try:
        for variant in variants:
            try:
                entrants.append(_admit(loaded, variant, entrants, policy, judging, progress))
            except UsageError as error:
                if strict:
                    raise
                unable[variant.name] = str(error)
    except BaseException:
        for entrant in entrants:
            entrant.close()
        raise
    return entrants, unable


def _admit(
    loaded: Loaded,
    variant: Variant,
    others: Iterable[Entrant],
    policy: str,
    judging: Mapping[str, Any],
    progress: Progress | None,
) -> Entrant:
    """Lengths of one drafter share its models: a sweep would not fit into memory otherwise."""
    length = variant.length
    for other in others:
        if length is not None and other.text == variant.text:
            llm = copy(other.llm)
            llm.policy = Constant(length)
            return Entrant(variant.name, llm, variant.text, borrows=True)
    own = policy if length is None and line_up(variant.text).fixed is None else DEFAULT_POLICY
    llm = LLM(loaded, variant.text, policy=own, num_speculative_tokens=length, progress=progress, **judging)
    return Entrant(variant.name, llm, variant.text)
