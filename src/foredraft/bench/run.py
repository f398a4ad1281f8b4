"""Running a benchmark: every prompt is scored once, and all arms go on from there in turn, in an order that alternates.

Machines change from minute to minute; two generations of one prompt, one after the other, do not. So arms are compared
within a prompt and never across runs. Nothing but the generations themselves is on the clock.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace

from foredraft.bench.entrants import Entrant
from foredraft.bench.record import Case, Json, case_of, trial_json
from foredraft.bench.suites import Prompt
from foredraft.core.errors import PromptError, RuleError
from foredraft.core.params import SamplingParams
from foredraft.engine.compare import WARM_UP, scored, timed
from foredraft.engine.llm import LLM
from foredraft.engine.sequence import check_prompt


@dataclass(frozen=True)
class Task:
    """A prompt as the model reads it, with the seed that it keeps whatever else is in the suite."""

    prompt: Prompt
    ids: tuple[int, ...]
    seed: int


def prepare(llm: LLM, prompts: Sequence[Prompt], seed: int, raw: bool) -> list[Task]:
    """Encodes the prompts, as a chat unless `raw`. Raises PromptError for one that does not fit, before any is run."""
    tasks = []
    for prompt in prompts:
        ids = llm.encode(prompt.text) if raw else llm.encode_chat([{"role": "user", "content": prompt.text}])
        try:
            check_prompt(llm.loaded.model, ids)
        except PromptError as error:
            raise PromptError(f"prompt {prompt.id!r}: {error}, or leave it out of the suite") from None
        tasks.append(Task(prompt, ids, (seed + zlib.crc32(prompt.id.encode())) & 0xFFFFFFFF))
    return tasks


def run_cases(
    entrants: Sequence[Entrant],
    tasks: Sequence[Task],
    params: SamplingParams,
    *,
    done: Container[str] = (),
    keep: Callable[[Json], None] = lambda found: None,
    each: Callable[[int, int], None] = lambda done, total: None,
) -> list[Case]:
    """Runs the tasks that are not `done` (by id), with all arms; `keep` is given each case as JSON when it is complete.

    entrants: plain decoding first. each: told (generations done, in all) between generations. An arm that fails to
    draft shows in its faults; RuleError when a text itself fails.
    """
    total = len(tasks) * len(entrants)
    cases: list[Case] = []
    warm = False
    for turn, task in enumerate(tasks):
        if task.prompt.id in done:
            continue
        if not warm:
            _warm_up(entrants, task, params)
            warm = True

        def count(within: int, before: int = turn * len(entrants)) -> None:
            each(before + within, total)

        found = run_case(entrants, task, params, turn, count)
        keep(found)
        cases.append(case_of(found))
    return cases


def order_of(entrants: Sequence[Entrant], turn: int) -> list[Entrant]:
    """The order at one prompt: each comes first as often as last, before another as often as after it."""
    shift = turn // 2 % len(entrants)
    rotated = [*entrants[shift:], *entrants[:shift]]
    return rotated[::-1] if turn % 2 else rotated


def run_case(
    entrants: Sequence[Entrant],
    task: Task,
    params: SamplingParams,
    turn: int,
    each: Callable[[int], None] = lambda done: None,
) -> Json:
    """All arms of one prompt, as a line of the journal."""
    params = replace(params, seed=task.seed)
    order = order_of(entrants, turn)
    trials: Json = {}
    base, seconds = scored(entrants[0].llm, task.ids, params)
    try:
        for count, entrant in enumerate(order, start=1):
            llm = entrant.fresh(f"bench {task.prompt.id}")
            arm = timed(llm, task.ids, params, cache=base.fork() if entrant.forks else None)
            if arm.completion.finish_reason == "error":
                raise RuleError(f"prompt {task.prompt.id!r}: {arm.completion.stop_reason}")
            trials[entrant.name] = trial_json(arm)
            each(count)
    finally:
        base.close()
    return {
        "id": task.prompt.id,
        "task": task.prompt.task,
        "prompt_tokens": len(task.ids),
        "prompt_seconds": round(seconds, 7),
        "order": [entrant.name for entrant in order],
        "trials": trials,
    }


def _warm_up(entrants: Sequence[Entrant], task: Task, params: SamplingParams) -> None:
    """A few untimed tokens of each arm: first passes pay for memory and thread pools."""
    few = min(WARM_UP, params.max_tokens or WARM_UP)
    for entrant in entrants:
        timed(entrant.fresh("warm-up"), task.ids, replace(params, seed=task.seed, max_tokens=few))
