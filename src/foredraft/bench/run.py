"""Running a benchmark: every prompt is scored once, and all arms go on from there in turn, in an order that alternates.

Machines change from minute to minute; two generations of one prompt, one after the other, do not. So arms are compared
within a prompt and never across runs. Nothing but the generations themselves is on the clock. A later turn of a prompt
goes on from the plain answer to the one before, for every arm the same.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from foredraft.bench.entrants import PLAIN, Entrant
from foredraft.bench.memory import UNKNOWN, forget_peak, memory
from foredraft.bench.prompts import Prompt
from foredraft.bench.record import Case, Json, case_of, trial_json
from foredraft.core.errors import PromptError, RuleError
from foredraft.core.events import Step
from foredraft.core.params import SamplingParams
from foredraft.engine.compare import WARM_UP, scored, timed
from foredraft.engine.llm import LLM
from foredraft.engine.sequence import check_prompt

NONE_DONE: Mapping[str, Case] = MappingProxyType({})


@dataclass(frozen=True)
class Task:
    """One turn of a prompt, which goes on from the model's own answers to the turns before it.

    turn: from 0. seed: it stays the same whatever else is in the suite. raw: no chat template.
    """

    prompt: Prompt
    turn: int
    seed: int
    raw: bool

    @property
    def id(self) -> str:
        return self.prompt.cases[self.turn]

    def ids(self, llm: LLM, answers: Sequence[str]) -> tuple[int, ...]:
        """The turn as the model reads it. answers: those to the turns before.

        Raw texts follow each other, parted by an empty line. Raises PromptError for a turn that does not fit.
        """
        said = self.prompt.turns[: self.turn + 1]
        if self.raw:
            later = (part for pair in zip(answers, said[1:], strict=True) for part in pair)
            ids = llm.encode("\n\n".join((said[0], *later)))
        else:
            messages = [{"role": "user", "content": said[0]}]
            for answer, text in zip(answers, said[1:], strict=True):
                messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": text}]
            ids = llm.encode_chat(messages)
        self.check(llm, ids)
        return ids

    def check(self, llm: LLM, ids: Sequence[int], more: int = 0) -> None:
        """Raises PromptError for ids that, `more` tokens longer, leave no room for an answer."""
        try:
            check_prompt(llm.loaded.model, (*ids, *(0,) * more))
        except PromptError as error:
            remedy = "lower --max-tokens, or leave it out" if self.turn else "or leave it out"
            raise PromptError(f"prompt {self.id!r}: {error}, {remedy} of the suite") from None

    def tenant(self, warm: bool) -> str:
        """Who asks: the turns of a conversation are one user's; warm, all prompts are."""
        return "bench" if warm else f"bench {self.prompt.id}"


def prepare(llm: LLM, prompts: Sequence[Prompt], seed: int, raw: bool, max_tokens: int = 0) -> list[Task]:
    """The turns of the prompts in order. max_tokens: of an answer.

    Raises PromptError, before any is run, for one that does not fit, or may not after answers of that length.
    """
    tasks = []
    for prompt in prompts:
        for turn, case in enumerate(prompt.cases):
            task = Task(prompt, turn, (seed + zlib.crc32(case.encode())) & 0xFFFFFFFF, raw)
            task.check(llm, task.ids(llm, ("",) * turn), turn * max_tokens)
            tasks.append(task)
    return tasks


def fitting(
    llm: LLM, prompts: Sequence[Prompt], raw: bool, max_tokens: int
) -> tuple[tuple[Prompt, ...], dict[str, str]]:
    """The prompts that leave room for an answer in the model's context, and why the others are left out, by id: for a
    suite that is made for contexts of several lengths. Raises PromptError where none fits.
    """
    kept, left_out = [], {}
    for prompt in prompts:
        try:
            task = Task(prompt, 0, 0, raw)
            task.check(llm, task.ids(llm, ()), max_tokens)
            kept.append(prompt)
        except PromptError as error:
            left_out[prompt.id] = str(error)
    if not kept:
        raise PromptError(next(iter(left_out.values()), "there is no prompt: give a suite that has some"))
    return tuple(kept), left_out


def run_cases(
    entrants: Sequence[Entrant],
    tasks: Sequence[Task],
    params: SamplingParams,
    *,
    done: Mapping[str, Case] = NONE_DONE,
    warm: bool = False,
    keep: Callable[[Json], None] = lambda found: None,
    each: Callable[[int, int], None] = lambda done, total: None,
) -> list[Case]:
    """Runs the tasks that are not `done` (by id), with all arms; `keep` is given each case as JSON when it is complete.

    entrants: plain decoding first. warm: what an arm learnt from a prompt serves it at the next ones; otherwise at
    later turns of the same prompt alone. Arms share nothing. each: told (generations done, in all) between generations,
    first those that an earlier run did, wherever they stand.
    An arm that fails to draft shows in its faults; RuleError when a text itself fails.
    """
    found: list[Json] = []
    answers: dict[str, list[str]] = {}
    owed = _owed(tasks, done, warm)
    started, before, total = False, sum(task.id in done for task in tasks), len(tasks) * len(entrants)
    for place, task in enumerate(tasks):
        said = answers.setdefault(task.prompt.id, [])
        case = done.get(task.id)
        if case is None or task.id in owed:
            ids = task.ids(entrants[0].llm, said)
            if not started:
                _warm_up(entrants, task, ids, params)
                started = True
                each(before * len(entrants), total)
            if case is None:
                count = _counter(each, (before + len(found)) * len(entrants), total)
                found.append(run_case(entrants, task, ids, params, place, warm, count))
                keep(found[-1])
            else:
                _learn_again(entrants[1:], task, ids, params, warm)
        tokens = case.trials[PLAIN].tokens if case is not None else _plain_tokens(found[-1])
        said.append(entrants[0].llm.tokenizer.decode(tokens, skip_special=True))
    return [case_of(one) for one in found]  # after the last generation, for it takes time


def order_of(entrants: Sequence[Entrant], place: int) -> list[Entrant]:
    """The order at one task: each comes first as often as last, before another as often as after it."""
    shift = place // 2 % len(entrants)
    rotated = [*entrants[shift:], *entrants[:shift]]
    return rotated[::-1] if place % 2 else rotated


def run_case(
    entrants: Sequence[Entrant],
    task: Task,
    ids: tuple[int, ...],
    params: SamplingParams,
    place: int,
    warm: bool = False,
    each: Callable[[int], None] = lambda done: None,
) -> Json:
    """All arms of one task, as a line of the journal. ids: its prompt. place: of the task among all, for the order."""
    params = replace(params, seed=task.seed)
    order = order_of(entrants, place)
    trials: Json = {}
    base, seconds = scored(entrants[0].llm, ids, params)
    try:
        for count, entrant in enumerate(order, start=1):
            llm = entrant.fresh(task.tenant(warm))
            watch = _Watch()
            arm = timed(llm, ids, params, watch, cache=base.fork() if entrant.forks else None)
            if arm.completion.finish_reason == "error":
                raise RuleError(f"prompt {task.id!r}: {arm.completion.stop_reason}")
            trials[entrant.name] = trial_json(arm, watch.held)
            each(count)
    finally:
        base.close()
    return {
        "id": task.id,
        **({"prompt": task.prompt.id} if task.turn else {}),
        "task": task.prompt.task,
        "prompt_tokens": len(ids),
        "prompt_seconds": round(seconds, 7),
        "order": [entrant.name for entrant in order],
        "trials": trials,
    }


class _Watch:
    """The memory of the process when a text ends, before its cache is given back; looked at off the clock."""

    def __init__(self) -> None:
        self.held = UNKNOWN
        forget_peak()

    def __call__(self, step: Step) -> None:
        if step.finish is not None:
            self.held = memory()


def _owed(tasks: Sequence[Task], done: Mapping[str, Case], warm: bool) -> set[str]:
    """Tasks an earlier run has done that later ones are to have learnt from: by id."""
    waiting: set[str] = set()
    owed: set[str] = set()
    for task in reversed(tasks):
        if task.id not in done:
            waiting.add(task.tenant(warm))
        elif task.tenant(warm) in waiting:
            owed.add(task.id)
    return owed


def _learn_again(
    drafting: Sequence[Entrant], task: Task, ids: tuple[int, ...], params: SamplingParams, warm: bool
) -> None:
    """Runs a task that was measured before once more, untimed, for what it taught: that was lost with its process."""
    for entrant in drafting:
        timed(entrant.fresh(task.tenant(warm)), ids, replace(params, seed=task.seed))


def _plain_tokens(found: Json) -> tuple[int, ...]:
    """Of a line of the journal."""
    return tuple(token for step in found["trials"][PLAIN]["steps"] for token in step["tokens"])


def _counter(each: Callable[[int, int], None], before: int, total: int) -> Callable[[int], None]:
    return lambda within: each(before + within, total)


def _warm_up(entrants: Sequence[Entrant], task: Task, ids: tuple[int, ...], params: SamplingParams) -> None:
    """A few untimed tokens of each arm: first passes pay for memory and thread pools."""
    few = min(WARM_UP, params.max_tokens or WARM_UP)
    for entrant in entrants:
        timed(entrant.fresh("warm-up"), ids, replace(params, seed=task.seed, max_tokens=few))
