"""What a policy makes of drafts that were recorded: decisions without the noise of a machine, in seconds of a core.

    policies.py record [-m smollm2] --sources recycling,suffix,block --suite FILE.jsonl [--limit-per-task 8]
                       [--max-tokens 128] --out RECORD.json
    policies.py replay RECORD.json --sources recycling,suffix,block [--policy adaptive] [--set worth.DOUBT=4 …]
                       [--noise 0.1] [--out FILE.json]

record: the model answers first turns at temperature 0, one token a round, and each source is asked at every place for
a wide tree, of which nothing is scored. So what it drafts depends on the text alone (`recycling` is not taught by rows
of rejected drafts, for there are none). Then it is measured what sources take, asked for four nodes and not asked, and
what there is beside them in a round; a source that goes level by level takes as long here for any number of them.
replay: the text is said again in rounds. Each source drafts as much of its recorded tree as its budget lets it, passes
take what the measured curve says; passes and sources that are asked are jittered by `noise` (a log-normal's sigma, from
a fixed seed). Every text has a tenant of its own, in both. Prints one JSON object: speed-up against rounds without
drafts as a mean of texts, by task too, the slowest of twenty, tokens a round, and in which share of rounds each source
was asked.
--set: another value for a constant of a module of `foredraft.policy`.
--policy oracle: the fewest seconds in which a text could be said, by one who knows it: each round asks one source or
none, and scores nothing but what is right. A bound for any policy that scores a draft of one source a round.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import math
import random
import re
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from records import tell

from foredraft import SamplingParams, load
from foredraft.bench.prompts import Prompt
from foredraft.bench.suites import load_suite
from foredraft.core.events import Step, Times
from foredraft.core.protocols import AnyPolicy, Budget, Costs, Load, Plan, Request
from foredraft.core.tree import EMPTY, ROOT, DraftTree, join
from foredraft.engine.costs import costs_of
from foredraft.engine.llm import LLM
from foredraft.policy import make_policy
from foredraft.policy.adaptive import Adaptive
from foredraft.policy.constant import Constant

WIDE = Budget(24, 8)
MEASURED = 4  # nodes asked for where a source is timed
TIMED = 6  # texts for that
ORACLE = "oracle"
ONE, REQUEST = Load(1), Request((1,), 0)

Node = tuple[list[int], list[int], list[float]]
"""Tokens, parents and scores of a recorded tree."""


@dataclass
class Watching:
    """Asks for `budget`, keeps the trees in order, and has nothing scored."""

    budget_: Budget
    trees: list[DraftTree] = field(default_factory=list)

    def open(self, request: Request) -> Watching:
        return self

    def budget(self, state: Watching, source: str, so_far: DraftTree, load: Load) -> Budget:
        return self.budget_

    def shape(self, states: Sequence[Watching], trees: Sequence[DraftTree], load: Load) -> list[Plan]:
        self.trees.extend(trees)
        return [Plan(EMPTY) for _ in trees]

    def update(self, state: Watching, step: Step) -> None:
        """Nothing to learn."""


@dataclass(frozen=True)
class Text:
    """trees: by source, of every place of the text."""

    task: str
    tokens: list[int]
    trees: dict[str, list[Node]]


@dataclass(frozen=True)
class Record:
    """Seconds: of a pass by rows, of sources asked and not, of judging one source's draft, of the rest of a round."""

    model: str
    texts: list[Text]
    rows: list[int]
    seconds: list[float]
    asked: dict[str, float]
    rest: dict[str, float]
    judging: float
    drawing: float


def said(llm: LLM, policy: AnyPolicy, prompt: Prompt, most: int) -> tuple[list[int], list[Step]]:
    own = llm.for_tenant(prompt.id)  # drafters learn from other texts of a tenant
    own.policy = policy
    ids = own.encode_chat([{"role": "user", "content": prompt.turns[0]}])
    (found,) = own.generate(ids, SamplingParams(temperature=0, max_tokens=most)).outputs
    return list(found.token_ids), [step for step in found.steps if step.tokens]


def recorded(model: str, sources: Sequence[str], prompts: Sequence[Prompt], most: int) -> Record:
    few = prompts[:: max(1, len(prompts) // TIMED)][:TIMED]
    texts = [Text(prompt.task, [], {}) for prompt in prompts]
    asked, rest = dict[str, float](), dict[str, float]()
    for source in sources:
        with load(model, source) as llm:
            name = source.split(":")[0]
            for text, prompt in zip(texts, prompts, strict=True):
                watching = Watching(WIDE)
                tokens, _ = said(llm, watching, prompt, most)
                if text.tokens and text.tokens != tokens:
                    raise SystemExit(f"{prompt.id} was answered otherwise beside another source")
                text.tokens[:] = tokens
                text.trees[name] = [(list(t.tokens), list(t.parents), list(t.score)) for t in watching.trees]
            asked[name] = _median(llm, Constant(MEASURED), few, most, _spent)
            rest[name] = _median(llm, Watching(Budget(0, 0)), few, most, _spent)
    with load(model, "+".join(sources)) as llm:
        costs = costs_of(llm.loaded)
        drawing = _median(llm, llm.policy, few, most, lambda step: step.seconds.sample + step.seconds.other)
        judging = llm.policy.curve.handling
    return Record(model, texts, list(costs.rows), list(costs.seconds), asked, rest, judging, drawing)


def _median(llm: LLM, policy: AnyPolicy, prompts: Sequence[Prompt], most: int, of: Callable[[Step], float]) -> float:
    steps = [step for prompt in prompts for step in said(llm, policy, prompt, most)[1][2:]]
    return statistics.median(map(of, steps))


def _spent(step: Step) -> float:
    return sum(seconds for _, seconds in step.spent)


@dataclass
class Played:
    """What became of a text. seconds: of all rounds; rounds: how many; asked: by source."""

    seconds: float = 0.0
    tokens: int = 0
    rounds: int = 0
    asked: Counter[str] = field(default_factory=Counter)


def play(record: Record, text: Text, sources: Sequence[str], policy: AnyPolicy, jitter: Callable[[], float]) -> Played:
    """The text said again. The first token comes with the prompt."""
    curve, state, gone, played = _curve(record), policy.open(REQUEST), set[str](), Played()
    at, end = 1, len(text.tokens)
    while at < end:
        tree, spent, count, room = EMPTY, dict[str, float](), 0, end - at - 1
        for source in (source for source in sources if source not in gone):
            spent[source] = record.rest[source]
            if not room:  # as in `core/round.py`: the last token leaves none for a draft, and nobody is asked
                continue
            budget = policy.budget(state, source, tree, ONE)
            if budget.leave:
                gone.add(source)
            elif budget.rows:
                count += 1
                played.asked[source] += 1
                spent[source] = record.asked[source] * jitter()
                found = drafted(text.trees[source][at], source, budget, room)
                tree = join([tree, found]) if len(tree) else found
        (plan,) = policy.shape([state], [tree], ONE)
        emitted, rows = right(plan.tree, text.tokens[at:]), 1 + len(plan.tree)
        drafting = sum(spent.values())
        judging = record.judging * (1 + count)
        times = Times(draft=drafting + judging, verify=curve(rows) * jitter(), sample=record.drawing)
        step = Step(at, tuple(emitted), len(emitted) - 1, plan.tree, rows=rows, seconds=times, wall=times.total)
        policy.update(state, replace(step, spent=tuple(spent.items()), expected=plan.expected))
        played.seconds += times.total
        played.rounds += 1
        played.tokens += len(emitted)
        at += len(emitted)
    return played


def known(record: Record, text: Text, sources: Sequence[str]) -> Played:
    """The text said by one who knows it. The first token comes with the prompt."""
    curve, end = _curve(record), len(text.tokens)
    quickest = [Played() for _ in range(end + 1)]  # from each place to the end
    for at in range(end - 1, 0, -1):
        offers = [(0, 0.0, "")]
        for source in sources:
            tokens, parents, score = text.trees[source][at]
            longest = len(right(DraftTree.of(tokens, parents, source, score=score), text.tokens[at:])) - 1
            offers += [(length, record.asked[source], source) for length in range(1, min(longest, end - at - 1) + 1)]
        found = []
        for length, asking, source in offers:
            seconds = curve(1 + length) + asking + record.judging * (1 + (length > 0)) + record.drawing
            after = quickest[at + length + 1]
            asked = after.asked + Counter([source] if source else [])
            found.append(Played(seconds + after.seconds, end - at, 1 + after.rounds, asked))
        quickest[at] = min(found, key=lambda one: one.seconds)
    return quickest[1]


def drafted(node: Node, source: str, budget: Budget, room: int) -> DraftTree:
    """Of a recorded tree what would have been drafted for less; what a level must bring is not asked."""
    tokens, parents, score = node
    least = math.log(budget.min_gain) if budget.min_gain > 0 else -math.inf
    likeliest = sorted((n for n in range(len(tokens)) if score[n] >= least), key=lambda n: (-score[n], n))
    within, depths, kept = set(likeliest[: budget.rows]), {ROOT: 0}, list[int]()
    for place, parent in enumerate(parents):
        if place in within and depths.get(parent, WIDE.depth) < min(budget.depth, room):
            depths[place] = depths[parent] + 1
            kept.append(place)
    return DraftTree.of(tokens, parents, source, score=score).select(kept)


def right(tree: DraftTree, tokens: Sequence[int]) -> list[int]:
    """The tokens that the round emits: those drafted in a row, and one more."""
    emitted, node = list[int](), ROOT
    for token in tokens:
        emitted.append(token)
        following = tree.child(node, token)
        if following is None:
            break
        node = following
    return emitted


def _curve(record: Record) -> Callable[[int], float]:
    return Adaptive(Costs(tuple(record.rows), tuple(record.seconds))).curve


def replayed(record: Record, sources: Sequence[str], policy: str, noise: float) -> dict[str, Any]:
    draw, costs = random.Random(0), Costs(tuple(record.rows), tuple(record.seconds))
    plain = _curve(record)(1) + record.judging + record.drawing
    gains, total = defaultdict[str, list[float]](list), Played()
    for text in record.texts:
        if len(text.tokens) < 2:
            continue
        if policy == ORACLE:
            played = known(record, text, sources)
        else:
            fresh = make_policy(policy, lambda: costs)
            played = play(record, text, sources, fresh, lambda: math.exp(draw.gauss(0, noise)))
        gains[text.task].append(math.log(played.tokens * plain / played.seconds))
        total.tokens, total.rounds = total.tokens + played.tokens, total.rounds + played.rounds
        total.asked += played.asked
    every = sorted(gain for task in gains.values() for gain in task)
    return {
        "mean": round(math.exp(statistics.fmean(every)), 3),
        "p5": round(math.exp(every[len(every) // 20]), 2),
        "tokens_a_round": round(total.tokens / total.rounds, 2),
        "tasks": {task: round(math.exp(statistics.fmean(found)), 2) for task, found in gains.items()},
        "asked": {source: round(total.asked[source] / total.rounds, 2) for source in sources},
    }


def set_constant(name: str, value: str) -> None:
    """Of a module of `foredraft.policy`, and in those that import it by its name."""
    module, constant = name.rsplit(".", 1)
    home = importlib.import_module(f"foredraft.policy.{module}")
    changed = type(getattr(home, constant))(value)
    taken = re.compile(rf"from {re.escape(home.__name__)} import [^)\n(]*\b{constant}\b")
    for path, other in list(sys.modules.items()):
        if path.startswith("foredraft.policy.") and (other is home or taken.search(inspect.getsource(other))):
            setattr(other, constant, changed)


def main() -> None:
    parser = argparse.ArgumentParser(description="What a policy makes of drafts that were recorded.")
    doing = parser.add_subparsers(dest="what", required=True)
    record = doing.add_parser("record")
    record.add_argument("-m", "--model", default="smollm2")
    record.add_argument("--suite", default="builtin")
    record.add_argument("--limit-per-task", type=int, default=8)
    record.add_argument("--max-tokens", type=int, default=128)
    replay = doing.add_parser("replay")
    replay.add_argument("record", type=Path)
    replay.add_argument("--policy", default="adaptive")
    replay.add_argument("--set", action="append", default=[], metavar="MODULE.NAME=VALUE")
    replay.add_argument("--noise", type=float, default=0.1)
    for each in (record, replay):
        each.add_argument("--sources", required=True)
        each.add_argument("--out", type=Path, required=each is record)
    options = parser.parse_args()
    sources = options.sources.split(",")
    if options.what == "record":
        met, prompts = Counter[str](), []
        for prompt in load_suite(options.suite):
            met[prompt.task] += 1
            if met[prompt.task] <= options.limit_per_task:
                prompts.append(prompt)
        found = asdict(recorded(options.model, sources, prompts, options.max_tokens))
        options.out.write_text(json.dumps(found), encoding="utf-8")
        return
    for setting in options.set:
        set_constant(*setting.split("="))
    fields = json.loads(options.record.read_text(encoding="utf-8"))
    texts = [Text(**text) for text in fields.pop("texts")]
    played = replayed(Record(texts=texts, **fields), sources, options.policy, options.noise)
    told = {"model": fields["model"], "texts": len(texts), "sources": options.sources, "policy": options.policy}
    tell({**told, "set": options.set, "noise": options.noise, **played}, options.out)


if __name__ == "__main__":
    main()
