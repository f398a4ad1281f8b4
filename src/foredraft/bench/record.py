"""Raw results as JSON lines: one case, all arms of one prompt, a line. Every figure is derived from cases.

A case is made of what its line says, also in the run that made it: a resumed run and an uninterrupted one see the same
numbers. Steps leave out what can be told from the rest: what follows from the steps before, a chain's parents, scores
that are all 0, one source for all nodes. Times are rounded to 0.1 us; the names of the sources that spent some of it
stand once a trial.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from foredraft.bench.memory import UNKNOWN, Memory
from foredraft.core.events import Step, Times
from foredraft.core.stop import Finish
from foredraft.core.tree import EMPTY, DraftTree
from foredraft.engine.compare import Arm
from foredraft.engine.stats import Stats
from foredraft.engine.stats import stats as stats_of

DIGITS = 7
NONE = "none"  # the source that never drafts, of plain decoding: what asking it takes is not worth a line
Json = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """One arm's generation of one prompt, from the scored prompt on.

    seconds: first token to last, opening included. opening: the drafter's opening and its work on the prompt.
    prompt_faults: what the drafter did wrong before the first token. silent: the places of steps whose tokens showed
    nothing yet. memory: of the process, at its end.
    """

    seconds: float
    opening: float
    finish: Finish | None
    prompt_faults: tuple[str, ...]
    steps: tuple[Step, ...]
    silent: frozenset[int] = frozenset()
    memory: Memory = UNKNOWN

    @cached_property
    def tokens(self) -> tuple[int, ...]:
        return tuple(token for step in self.steps for token in step.tokens)

    @cached_property
    def stats(self) -> Stats:
        return stats_of(self.steps)

    @property
    def faults(self) -> tuple[str, ...]:
        return (*self.prompt_faults, *self.stats.faults)


@dataclass(frozen=True)
class Case:
    """All arms of one prompt, or of a later turn of it. prompt: the id of the prompt. order: the arms as they ran.
    trials: arm -> its generation.
    """

    id: str
    prompt: str
    task: str
    prompt_tokens: int
    prompt_seconds: float
    order: tuple[str, ...]
    trials: Mapping[str, Trial]


def trial_json(arm: Arm, held: Memory = UNKNOWN) -> Json:
    """What is kept of a generation. Chunks of the prompt are not steps of the text; their faults are kept.

    held: the memory of the process at its end.
    """
    emitting = [step for step in arm.completion.steps if step.tokens or step.finish is not None]
    others = [step for step in arm.completion.steps if not step.tokens and step.finish is None]
    found: Json = {"seconds": round(arm.seconds, DIGITS), "opening": round(arm.opening, DIGITS)}
    faults = [step.fault for step in others if step.fault is not None]
    if faults:
        found["prompt_faults"] = faults
    if arm.completion.finish_reason is not None:
        found["finish"] = arm.completion.finish_reason
    silent = _silent(emitting, arm.completion.text)
    if silent:
        found["silent"] = silent
    if held != UNKNOWN:
        found["memory"] = [held.peak, held.anonymous]
    sources = list(dict.fromkeys(source for step in emitting for source, _ in step.spent if source != NONE))
    if sources:
        found["sources"] = sources
    return found | {"steps": [step_json(step, sources) for step in emitting]}


def case_of(found: Json) -> Case:
    """The case of a line. Raises KeyError, TypeError, ValueError or AttributeError for what is none."""
    trials = {name: _trial_of(trial) for name, trial in found["trials"].items()}
    return Case(
        str(found["id"]),
        str(found.get("prompt", found["id"])),
        str(found["task"]),
        int(found["prompt_tokens"]),
        float(found["prompt_seconds"]),
        tuple(found["order"]),
        trials,
    )


def step_json(step: Step, sources: Sequence[str] = ()) -> Json:
    """A step, without its text, laws and log probabilities. sources: those that may have spent time, in this order."""
    seconds = step.seconds
    found: Json = {"tokens": list(step.tokens)}
    if len(step.tree):
        found |= {"tree": _tree_json(step.tree), "accepted": step.accepted, "path": list(step.path)}
    if step.rows != 1 + len(step.tree):
        found["rows"] = step.rows
    if step.fault is not None:
        found["fault"] = step.fault
    if step.finish is not None:
        found["finish"] = step.finish
    if not step.lossless:
        found["lossless"] = False
    times = (seconds.draft, seconds.verify, seconds.sample, seconds.other)
    found["seconds"] = [round(one, DIGITS) for one in times]
    spent = dict(step.spent)
    if any(source in spent for source in sources):
        found["spent"] = [round(spent[source], DIGITS) if source in spent else None for source in sources]
    if step.expected is not None:
        found["expected"] = [round(step.expected[0], 3), round(step.expected[1], DIGITS)]
    return found


def steps_of(lines: Iterable[Json], sources: Sequence[str] = ()) -> tuple[Step, ...]:
    """The steps of a text, in order; `sources` as in `step_json`."""
    steps, position = list[Step](), 0
    for found in lines:
        tokens = tuple(map(int, found["tokens"]))
        tree = _tree_of(found["tree"]) if "tree" in found else EMPTY
        times = Times(*map(float, found["seconds"]))
        steps.append(
            Step(
                position,
                tokens,
                accepted=int(found.get("accepted", 0)),
                tree=tree,
                path=tuple(map(int, found.get("path", ()))),
                rows=int(found.get("rows", 1 + len(tree))),
                finish=found.get("finish"),
                fault=found.get("fault"),
                seconds=times,
                wall=times.total,
                spent=_spent_of(found.get("spent", ()), sources),
                expected=_expected_of(found.get("expected")),
                lossless=bool(found.get("lossless", True)),
            )
        )
        position += len(tokens)
    return tuple(steps)


def _trial_of(found: Json) -> Trial:
    return Trial(
        float(found["seconds"]),
        float(found["opening"]),
        found.get("finish"),
        tuple(found.get("prompt_faults", ())),
        steps_of(found["steps"], tuple(map(str, found.get("sources", ())))),
        frozenset(map(int, found.get("silent", ()))),
        Memory(*found.get("memory", ())),
    )


def _silent(steps: Sequence[Step], text: str) -> list[int]:
    """Steps that showed nothing; what was held back to the end of a text comes with its last one."""
    held = len(text) > sum(len(step.text) for step in steps)
    last = len(steps) - 1
    return [place for place, step in enumerate(steps) if not step.text and not (held and place == last)]


def _spent_of(found: Sequence[float | None], sources: Sequence[str]) -> tuple[tuple[str, float], ...]:
    pairs = zip(sources, found, strict=bool(found))
    return tuple((source, float(seconds)) for source, seconds in pairs if seconds is not None)


def _expected_of(found: Sequence[float] | None) -> tuple[float, float] | None:
    if found is None:
        return None
    tokens, seconds = map(float, found)
    return tokens, seconds


def _tree_json(tree: DraftTree) -> Json:
    found: Json = {"tokens": list(tree.tokens)}
    if tree.parents != tuple(range(-1, len(tree) - 1)):
        found["parents"] = list(tree.parents)
    if any(tree.score):
        found["score"] = [_finite(score) for score in tree.score]
    found["source"] = tree.sources[0] if len(set(tree.sources)) == 1 else list(tree.sources)
    if any(tree.probes):
        found["probes"] = [int(probe) for probe in tree.probes]
    return found


def _tree_of(found: Json) -> DraftTree:
    tokens, source = tuple(map(int, found["tokens"])), found["source"]
    size = len(tokens)
    return DraftTree(
        tokens,
        tuple(map(int, found.get("parents", range(-1, size - 1)))),
        tuple(map(float, found.get("score", (0.0,) * size))),
        (source,) * size if isinstance(source, str) else tuple(source),
        (None,) * size,
        tuple(map(bool, found.get("probes", (False,) * size))),
    )


def _finite(score: float) -> float | str:
    """JSON has no infinity: a node that is held impossible is written as text, which `float` reads again."""
    return round(score, 4) if abs(score) != float("inf") else str(score)
