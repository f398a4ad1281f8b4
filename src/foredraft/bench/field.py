"""Who is to take part in a benchmark, from all that the command line says about drafting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from foredraft.bench.entrants import ALL, NONE, Variant, every, listed
from foredraft.bench.sweep import Sweep, expand_all, parse_sweep
from foredraft.core.errors import UsageError
from foredraft.engine.options import Speculation
from foredraft.policy import ADAPTIVE


@dataclass(frozen=True)
class Field:
    """variants: who takes part, plain decoding left out. policy: of those whose length is not said. unable: which
    drafters cannot run, and why. swept: drafter -> value -> who stands for it.
    """

    variants: tuple[Variant, ...]
    policy: str
    unable: Mapping[str, str] = field(default_factory=dict)
    sweep: Sweep | None = None
    swept: Mapping[str, Mapping[str, Variant]] = field(default_factory=dict)


def field_of(drafters: str, said: Callable[[str], Speculation], *, aa: bool = False, sweep: str | None = None) -> Field:
    """drafters: as in `listed`, or all. said: what the other options make of one of them. aa: plain decoding beside
    itself. Raises UsageError.
    """
    names, unable = every() if drafters == ALL else (listed(drafters), {})
    drafting: dict[str, Speculation] = {}
    for name in names:
        try:
            drafting |= {name: said(name)} if name != NONE else {}
        except UsageError as error:
            if drafters != ALL:
                raise
            unable = {**unable, name: str(error)}
    names = [name for name in names if name in drafting or name == NONE]
    policy = next((one.policy for one in drafting.values()), ADAPTIVE)
    plain = [Variant(NONE, NONE)] if aa or NONE in names else []
    if sweep is not None:
        return _swept(list(drafting.values()), parse_sweep(sweep), plain, policy, unable, strict=drafters != ALL)
    variants = [
        Variant.of(drafting[name].drafter, drafting[name].num_speculative_tokens)
        if name in drafting
        else Variant(NONE, NONE)
        for name in names
    ]
    return Field(tuple(dict.fromkeys([*variants, *plain])), policy, unable)


def _swept(
    drafting: Sequence[Speculation],
    sweep: Sweep,
    plain: Sequence[Variant],
    policy: str,
    unable: Mapping[str, str],
    *,
    strict: bool,
) -> Field:
    if sweep.of_lengths and (policy != ADAPTIVE or any(one.num_speculative_tokens is not None for one in drafting)):
        raise UsageError("--sweep says how much is drafted: leave policy and num_speculative_tokens out")
    lengths = {one.drafter: one.num_speculative_tokens for one in drafting}
    swept, more = expand_all(lengths, sweep, strict=strict)
    swept = {
        drafter: {
            value: one if one.length is not None else Variant.of(one.text, lengths[drafter])
            for value, one in own.items()
        }
        for drafter, own in swept.items()
    }
    variants = [variant for own in swept.values() for variant in own.values()]
    return Field(tuple(dict.fromkeys([*variants, *plain])), policy, {**unable, **more}, sweep, swept)
