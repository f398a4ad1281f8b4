"""Identical: the user's model as it is, with every drafter, says the tokens that it says alone, at any temperature.

With `match` the text is a function of model, prompt and seed, so tokens are compared one by one. A case counts only if
some drafts were accepted and some rejected: one in which nothing was drafted, or all of it was right, shows little. A
drafter that fails, or proposes what it may not, fails the audit although the text survives it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import zip_longest
from types import MappingProxyType
from typing import Any

from foredraft.audit.margins import NearTie, margins
from foredraft.bench.entrants import Entrant
from foredraft.bench.prompts import Prompt
from foredraft.core.params import SamplingParams
from foredraft.core.protocols import Cache
from foredraft.draft import AUTO
from foredraft.engine.compare import first_difference, scored, timed
from foredraft.engine.llm import LLM

TEMPERATURES = (0.0, 0.7, 1.0)
PREDICTION = "prediction"
SHOWN = 4  # tokens from the first difference on


@dataclass(frozen=True)
class Run:
    """One drafter's text. difference: the first output position that plain decoding fills otherwise, if any.

    here, there: what this text and the plain one have from that position on, a few tokens of each. ties: of a text that
    differs on an engine that is not row-invariant, the tokens that are not the best of their row; noise: of its logits.
    """

    drafter: str
    tokens: int
    drafted: int
    accepted: int
    difference: int | None = None
    here: tuple[int, ...] = ()
    there: tuple[int, ...] = ()
    faults: tuple[str, ...] = ()
    noise: float = 0.0
    ties: tuple[NearTie, ...] = ()

    @property
    def mismatch(self) -> bool:
        """Whether it differs, and not because the engine's rounding decided a near tie."""
        return self.difference is not None and not (self.ties and all(tie.excused for tie in self.ties))

    @property
    def counts(self) -> bool:
        """Whether it shows anything: some drafts were accepted and some rejected."""
        return 0 < self.accepted < self.drafted


@dataclass(frozen=True)
class Compared:
    """One prompt at one temperature: every drafter that met it."""

    prompt: str
    temperature: float
    seed: int
    runs: tuple[Run, ...]

    @property
    def id(self) -> str:
        return case_id(self.prompt, self.temperature)


def case_id(prompt: str, temperature: float) -> str:
    return f"{prompt} at {temperature:g}"


def compared_of(found: Mapping[str, Any]) -> Compared:
    """The case that a line of JSON says (`dataclasses.asdict` made it)."""
    return Compared(found["prompt"], found["temperature"], found["seed"], tuple(map(_run_of, found["runs"])))


def _run_of(found: Mapping[str, Any]) -> Run:
    several: dict[str, Any] = {key: tuple(found[key]) for key in ("here", "there", "faults")}
    return Run(**{**found, **several, "ties": tuple(NearTie(**tie) for tie in found["ties"])})


@dataclass(frozen=True)
class Scope:
    """What is compared. few: of the prompts, those that drafters other than `auto` meet."""

    prompts: tuple[Prompt, ...]
    few: int
    max_tokens: int
    temperatures: tuple[float, ...] = TEMPERATURES
    raw: bool = False

    @property
    def ids(self) -> list[str]:
        return [case_id(prompt.id, temperature) for prompt in self.prompts for temperature in self.temperatures]


def meets_all(drafter: str) -> bool:
    """Whether it is compared on all prompts, not on a few: what users get who say nothing."""
    return drafter.split("+")[0] == AUTO


NONE_DONE: Mapping[str, Compared] = MappingProxyType({})


def compare_texts(
    entrants: Sequence[Entrant],
    scope: Scope,
    *,
    done: Mapping[str, Compared] = NONE_DONE,
    keep: Callable[[Compared], None] = lambda found: None,
    each: Callable[[int, int], None] = lambda done, total: None,
) -> list[Compared]:
    """All prompts at all temperatures, those that are `done` (by id) as they are; `keep` is given each new one."""
    plain = entrants[0].llm
    found: list[Compared] = []
    for place, prompt in enumerate(scope.prompts):
        others = [one for one in entrants[1:] if place < scope.few or meets_all(one.name)]
        ids: tuple[int, ...] = ()
        for temperature in scope.temperatures:
            case = done.get(case_id(prompt.id, temperature))
            if case is None:
                ids = ids or _encoded(plain, prompt, scope.raw)
                seed = zlib.crc32(prompt.id.encode())
                params = SamplingParams(max_tokens=scope.max_tokens, temperature=temperature, seed=seed)
                each(len(found), len(scope.ids))
                case = Compared(prompt.id, temperature, seed, _runs(plain, others, ids, params))
                keep(case)
            found.append(case)
    return found


def spread(prompts: Iterable[Prompt], count: int) -> tuple[Prompt, ...]:
    """The first `count` prompts, a task at a time in turn, so that any number of them is of all tasks."""
    by_task: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        by_task.setdefault(prompt.task, []).append(prompt)
    turns = zip_longest(*by_task.values())
    return tuple(prompt for turn in turns for prompt in turn if prompt is not None)[:count]


def fitting(llm: LLM, prompts: Iterable[Prompt], max_tokens: int, raw: bool = False) -> tuple[Prompt, ...]:
    """Those that leave room for an answer of so many tokens."""
    room = llm.loaded.model.about.context - max_tokens
    return tuple(prompt for prompt in prompts if len(_encoded(llm, prompt, raw)) <= room)


def _encoded(llm: LLM, prompt: Prompt, raw: bool) -> tuple[int, ...]:
    return llm.encode(prompt.turns[0]) if raw else llm.encode_chat([{"role": "user", "content": prompt.turns[0]}])


def _runs(plain: LLM, entrants: Iterable[Entrant], ids: tuple[int, ...], params: SamplingParams) -> tuple[Run, ...]:
    """The prompt is scored once, and all drafters that need no more of it go on from there."""
    cache, _ = scored(plain, ids, params)
    with closing(cache):
        right = timed(plain, ids, params, cache=cache.fork()).completion.token_ids
        return tuple(_run(entrant, ids, params, cache, right) for entrant in entrants)


def nearly(text: str) -> str:
    """The text without every third of its words."""
    return " ".join(word for place, word in enumerate(text.split(" ")) if place % 3 != 2)


def _run(entrant: Entrant, ids: tuple[int, ...], params: SamplingParams, cache: Cache, right: tuple[int, ...]) -> Run:
    llm = entrant.fresh(f"audit {params.seed} {params.temperature}")
    if entrant.text == PREDICTION:  # which has to be told what to expect: nearly what will come
        params = replace(params, prediction=nearly(llm.tokenizer.decode(right, skip_special=True)))
    text = timed(llm, ids, params, cache=cache.fork() if entrant.forks else None).completion
    at, stats, model = first_difference(text.token_ids, right), text.stats, llm.loaded.model
    run = Run(entrant.name, len(text.token_ids), stats.drafted, stats.accepted, at, faults=stats.faults)
    if at is None:
        return run
    run = replace(run, here=text.token_ids[at : at + SHOWN], there=right[at : at + SHOWN])
    if model.about.row_invariant:
        return run
    found = margins(model, ids, text.token_ids, params.temperature, text.seed)
    return replace(run, noise=found.noise, ties=found.ties)


@dataclass(frozen=True)
class Identical:
    """What the cases show."""

    compared: tuple[Compared, ...]

    @property
    def prompts(self) -> int:
        return len({case.prompt for case in self.compared})

    @property
    def temperatures(self) -> list[float]:
        return sorted({case.temperature for case in self.compared})

    @property
    def drafters(self) -> list[str]:
        return list(dict.fromkeys(run.drafter for case in self.compared for run in case.runs))

    @property
    def runs(self) -> list[tuple[Compared, Run]]:
        return [(case, run) for case in self.compared for run in case.runs]

    @property
    def mismatches(self) -> list[tuple[Compared, Run]]:
        return [(case, run) for case, run in self.runs if run.mismatch]

    @property
    def near_ties(self) -> list[tuple[Compared, Run]]:
        """Runs that differ where rounding decides, on an engine that is not row-invariant."""
        return [(case, run) for case, run in self.runs if run.difference is not None and not run.mismatch]

    @property
    def failed(self) -> list[tuple[Compared, Run]]:
        """Runs in which a drafter failed."""
        return [(case, run) for case, run in self.runs if run.faults]

    def counted(self, drafter: str | None = None) -> int:
        """Runs that show something, of one drafter or of all."""
        return sum(run.counts for _, run in self.runs if drafter in (None, run.drafter))

    @property
    def idle(self) -> list[str]:
        """Drafters of which no run shows anything."""
        return [drafter for drafter in self.drafters if not self.counted(drafter)]

    @property
    def passed(self) -> bool:
        return not self.mismatches and not self.failed and self.counted() > 0
