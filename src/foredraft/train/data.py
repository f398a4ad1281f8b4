"""`foredraft train data`: prompts answered by the target itself, in batches, resumable.

A drafter learns to say what its target says, so responses of people or of other models are of no use (algorithms.md
section 6; Zhou et al. 2310.08461). Prompts come from a file, and from the target: given the beginning of a user's turn
it writes one (Magpie, 2406.08464). Openings, words that such a turn begins with, spread them over many kinds of task.
"""

from __future__ import annotations

import json
import math
import random
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foredraft.core.errors import UsageError
from foredraft.heads.files import replace
from foredraft.models.templates import chat_ids
from foredraft.models.tokenizer import Tokenizer
from foredraft.train import corpus
from foredraft.train.answers import Answers
from foredraft.train.corpus import Text

OVERLAP = 10  # words in a row that a prompt must not share with a benchmark's; one of fewer must not be equal
Tell = Callable[[str], None]
Expect = Callable[[int], None]
Runs = frozenset[tuple[str, ...]]


@dataclass(frozen=True)
class Plan:
    """prompts: a file of {"id", "task", "turns"}. against: files whose prompts must not be met. invented: prompts that
    the target writes itself, of at most `longest_invented` tokens after one of `openings`, if there are any.
    temperatures: each prompt is answered once at each. batch: texts that are written down together."""

    prompts: Path | None
    out: Path
    against: tuple[Path, ...] = ()
    invented: int = 0
    most: int = 192
    longest: int = 512
    temperatures: tuple[float, ...] = (0.0,)
    batch: int = 256
    limit: int | None = None
    minutes: float | None = None
    seed: int = 0
    openings: tuple[str, ...] = ()
    longest_invented: int = 96

    def __post_init__(self) -> None:
        if min(self.batch, self.most, self.longest_invented) < 1 or not self.temperatures:
            raise UsageError("a batch, a response, an invented prompt and the temperatures must be at least one")
        if not all(0 <= warmth < math.inf for warmth in self.temperatures):
            raise UsageError(f"temperatures are 0 or more, not {', '.join(map(str, self.temperatures))}")


@dataclass(frozen=True)
class Wanted:
    id: str
    task: str
    prompt: tuple[int, ...]
    temperature: float


def make(target: Answers, plan: Plan, tell: Tell = print, expect: Expect | None = None) -> int:
    """Answers what is not yet answered in plan.out; the number of texts in it. Stops after plan.minutes. expect: is
    told before the first answer how many tokens all texts may have, and may raise."""
    began, count = time.monotonic(), 0
    done = _done(target, plan, tell)
    groups = _groups(_wanted(target, plan, tell), {(text.prompt, text.temperature) for text in done}, plan)
    wanted = [one for _, group in groups for one in group]
    if expect is not None:
        there = sum(len(text.prompt) + len(text.response) for text in done)
        expect(there + sum(len(one.prompt) + plan.most for one in wanted))
    for seed, group in groups:
        answers = target.answer([one.prompt for one in group], plan.most, group[0].temperature, seed)
        texts = [Text(one.id, one.task, one.prompt, own, one.temperature) for one, own in zip(group, answers)]
        corpus.append(plan.out, [text for text in texts if text.response])
        count += len(group)
        spent = time.monotonic() - began
        tell(f"{count} of {len(wanted)} texts, {spent:.0f} s, {spent / count * (len(wanted) - count):.0f} s to go")
        if plan.minutes is not None and spent > plan.minutes * 60:
            tell("stopped, for the time is up: run it again to go on")
            break
    return len(done) + count


def _done(target: Answers, plan: Plan, tell: Tell) -> list[Text]:
    """The texts of an earlier run. Raises UsageError for those of another target."""
    if not plan.out.exists():
        corpus.begin(plan.out, target.speaker)
        return []
    done, said = corpus.read(plan.out), corpus.speaker_of(plan.out)
    corpus.repair(plan.out)
    if said is None:
        tell(f"{plan.out} does not say which model spoke: it is taken for {target.speaker.target}")
    elif said.fingerprint != target.speaker.fingerprint:
        raise UsageError(
            f"the texts in {plan.out} are what {said.target} said, not {target.speaker.target}: give another --out"
        )
    if plan.against and (count := _met(target.tokenizer, done, _forbidden(plan))):
        tell(f"{count} of the texts in {plan.out} answer prompts of --against: give another --out to be without them")
    return done


def _met(tokenizer: Tokenizer, texts: Iterable[Text], forbidden: Runs) -> int:
    """How many answer what must not be met, which an earlier run was not told."""
    before, after = frame(tokenizer)
    said = (tokenizer.decode(text.prompt[len(before) : len(text.prompt) - len(after)]) for text in texts)
    return sum(not forbidden.isdisjoint(runs(one)) for one in said)


def _wanted(target: Answers, plan: Plan, tell: Tell) -> list[Wanted]:
    prompts = list(_from_file(target, plan)) if plan.prompts is not None else []
    prompts += _invented(target, plan, tell)
    kept, seen = list[tuple[str, str, tuple[int, ...]]](), set[tuple[int, ...]]()
    for name, task, ids in prompts:
        if ids not in seen and len(ids) <= plan.longest:
            seen.add(ids)
            kept.append((name, task, ids))
    return [Wanted(name, task, ids, warmth) for warmth in plan.temperatures for name, task, ids in kept]


def _from_file(target: Answers, plan: Plan) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    assert plan.prompts is not None
    forbidden = _forbidden(plan)
    for count, raw in enumerate(_prompts(plan.prompts)):
        if plan.limit is not None and count >= plan.limit:
            return
        if not forbidden.isdisjoint(runs(raw["turns"][0])):
            continue
        ids = tuple(chat_ids(target.tokenizer, [{"role": "user", "content": raw["turns"][0]}]))
        yield str(raw["id"]), str(raw["task"]), ids


def _invented(target: Answers, plan: Plan, tell: Tell) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Prompts that the target writes where a user would, kept beside plan.out as they come: those too that must not be
    met, for another run may be told of others."""
    path = plan.out.with_name(plan.out.name + ".invented")
    kept = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    before, after = frame(target.tokenizer)
    begun = [tuple(target.tokenizer.encode(opening, add_bos=False)) for opening in plan.openings] or [()]
    stops = target.tokenizer.stop_ids
    asked = sum(one["asked"] for one in kept)
    while asked < plan.invented:
        count = min(plan.batch, plan.invented - asked)
        tell(f"{asked} of {plan.invented} prompts invented")
        openings = [begun[number % len(begun)] for number in range(asked, asked + count)]
        said = target.answer([(*before, *one) for one in openings], plan.longest_invented, 1.0, plan.seed + asked)
        whole = [(*one, *found[:-1]) for one, found in zip(openings, said) if found[-1] in stops]  # no halves
        kept.append({"asked": count, "prompts": [ids for ids in whole if target.tokenizer.decode(ids).strip()]})
        replace(path, "".join(json.dumps(one) + "\n" for one in kept).encode())
        asked += count
    forbidden = _forbidden(plan)
    for number, ids in enumerate(ids for one in kept for ids in one["prompts"]):
        if forbidden.isdisjoint(runs(target.tokenizer.decode(ids))):
            yield f"invented-{number}", "invented", (*before, *ids, *after)


def _forbidden(plan: Plan) -> Runs:
    """Every run of the prompts that must not be met, all turns."""
    turns = (turn for path in plan.against for text in _prompts(path) for turn in text["turns"])
    return frozenset(run for turn in turns for run in runs(turn))


def read_openings(path: Path) -> tuple[str, ...]:
    """A line each, `\\n` in it for the end of a line. Raises UsageError for a file that cannot be read or has none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the openings in {path} cannot be read ({error}): give a file of lines of text") from error
    found = tuple(line.replace("\\n", "\n") for line in lines if line.strip())
    if not found:
        raise UsageError(f"there are no openings in {path}: write one a line, or leave --openings out")
    return found


def frame(tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What the chat template puts before and after a user's words."""
    one, other = (chat_ids(tokenizer, [{"role": "user", "content": word}]) for word in ("one", "Two"))
    before = next(place for place, (a, b) in enumerate(zip(one, other)) if a != b)
    after = next(place for place, (a, b) in enumerate(zip(one[::-1], other[::-1])) if a != b)
    return tuple(one[:before]), tuple(one[len(one) - after :])


def runs(text: str) -> Iterable[tuple[str, ...]]:
    """Every run of ten words, whatever their case and punctuation; of a shorter text the whole, if it has a word."""
    words = re.findall(r"\w+", text.casefold())
    last = max(len(words) - OVERLAP, 0)
    return [tuple(words[at : at + OVERLAP]) for at in range(last + 1)] if words else []


def _prompts(path: Path) -> list[dict[str, Any]]:
    """Raises UsageError, naming the line, for one that is no prompt."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the prompts in {path} cannot be read ({error}): give a file of JSON lines") from error
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            raw = json.loads(line)
            if not raw["turns"] or not all(isinstance(turn, str) for turn in raw["turns"]):
                raise ValueError("turns are texts")
            found.append({"id": raw["id"] if "id" in raw else raw["question_id"], "task": raw.get("task", ""), **raw})
        except (ValueError, KeyError, TypeError, IndexError) as error:
            remedy = "give lines of id, task and turns"
            raise UsageError(f"line {number} of {path} is no prompt ({error}): {remedy}") from error
    return found


def _groups(
    wanted: Iterable[Wanted], have: Collection[tuple[tuple[int, ...], float]], plan: Plan
) -> list[tuple[int, list[Wanted]]]:
    """Batches of what is missing and their seeds. Each is of one temperature and of lengths alike; their order is by
    chance, so that a run cut short has seen all kinds. A text's seed is its place among all that are wanted, so that a
    run that goes on says what one that was never stopped says; nothing is drawn at temperature 0, which is last."""

    def missing(one: Wanted) -> bool:
        return (one.prompt, one.temperature) not in have

    ranked = sorted(wanted, key=lambda one: (-one.temperature, len(one.prompt)))
    ranked = [one for one in ranked if one.temperature or missing(one)]
    found: list[list[tuple[int, Wanted]]] = []
    for seed, one in enumerate(ranked, plan.seed):
        if not found or len(found[-1]) >= plan.batch or found[-1][0][1].temperature != one.temperature:
            found.append([])
        found[-1].append((seed, one))
    random.Random(plan.seed).shuffle(found)
    left = [[(seed, one) for seed, one in group if missing(one)] for group in found]
    return [(group[0][0], [one for _, one in group]) for group in left if group]
