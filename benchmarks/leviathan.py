"""Does a draft model gain what the formula says? Measured speed-up beside Leviathan's, from measured parts.

    leviathan.py [--model NAME] [--draft SPEC …] [--lengths 1,2,3,4] [--suite FILE.jsonl] [--per-task N]
                 [--max-tokens N] [--passes N] [--out FILE.json]
    leviathan.py --show FILE.json [--times 4,16]

SPEC is what stands after `model:` (a draft model and its options). With g drafted tokens a round (2211.17192, theorem
3.8, with the pass of g + 1 rows at its own price v instead of for nothing):

    S(g) = (1 - a^(g+1)) / (1 - a) / (g c + v(g+1))

a: accepted drafts by those judged, a round's drafts after its first rejection not counted. c: a pass of one row of the
draft model, and v: a pass of g + 1 rows of the target, both beside a pass of one row of the target, measured here on
bare models, in turn with the texts. Measured is decoding: rounds of plain text and of drafted text, the first of each
text left out, because it holds the draft model's reading of the prompt, of which the formula knows nothing; `with
prompt` counts it. Everything between the passes, which the formula leaves out, shows as measured / formula below 1.
Greedy; the texts must be the same. The last line is one JSON object. --show prints a table of one that was written; its
`needs` is the a below which one drafted token costs more than it brings, c + v(2) - 1; --times adds the best that the
formula has for a target whose passes take so many times as long, where a and v are as they are. v is the target's, so
the table takes the median over all drafts.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import foredraft
from foredraft.bench.machine import machine
from foredraft.bench.suites import load_suite
from foredraft.core.events import Step
from foredraft.core.params import SamplingParams
from foredraft.core.protocols import Model, Query
from foredraft.engine.backends import Loaded, load_model
from foredraft.engine.llm import LLM
from foredraft.policy.constant import Constant

CONTEXT = 256
DRAFTS = ["qwen2.5-coder-0.5b", "qwen2.5-coder-0.5b,quantize=int4,head=16384"]


@dataclass
class Passes:
    """A bare model with some text in its cache. seconds: of every timed pass, by rows."""

    model: Model
    seconds: dict[int, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cache = self.model.open()
        self.tokens = tuple(np.random.default_rng(0).integers(0, 10_000, CONTEXT).tolist())
        self.model.score([Query(self.cache, self.tokens, tuple(range(-1, CONTEXT - 1)))])
        self.cache.keep(range(CONTEXT))

    def time(self, rows: int) -> None:
        query = Query(self.cache, self.tokens[:rows], tuple(range(-1, rows - 1)), tuple(range(rows)))
        begun = time.perf_counter()
        scores = self.model.score([query])[0]
        for row in range(rows):
            scores.argmax(row)
        self.seconds.setdefault(rows, []).append(time.perf_counter() - begun)

    def median(self, rows: int) -> float:
        return statistics.median(self.seconds[rows])


@dataclass
class Decoded:
    """Rounds of one arm. first: those that begin a text."""

    steps: list[Step] = field(default_factory=list)
    first: list[Step] = field(default_factory=list)

    def add(self, steps: Sequence[Step]) -> None:
        emitting = [step for step in steps if step.tokens]
        self.first += emitting[:1]
        self.steps += emitting[1:]

    @property
    def per_token(self) -> float:
        return _seconds(self.steps) / _tokens(self.steps)

    @property
    def per_token_with_prompt(self) -> float:
        every = [*self.first, *self.steps]
        return _seconds(every) / _tokens(every)


def acceptance(steps: Sequence[Step]) -> float:
    """The share of judged drafts that was accepted: those up to the first rejection of their round."""
    accepted = sum(step.accepted for step in steps)
    return accepted / max(1, accepted + sum(step.accepted < step.drafted for step in steps))


def formula(a: float, c: float, v: float, g: int) -> float:
    """Theorem 3.8 with verification at its price."""
    tokens = g + 1 if a == 1 else (1 - a ** (g + 1)) / (1 - a)
    return tokens / (g * c + v)


def measured(
    target: Loaded, draft: str, options: argparse.Namespace, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """One drafter, all lengths: texts and bare passes in turn."""
    plain, lengths = LLM(target, "none"), options.lengths
    drafting = LLM(target, f"model:{draft}")
    arms = {g: copy.copy(drafting) for g in lengths}
    for g, llm in arms.items():
        llm.policy = Constant(g)
    target_passes, draft_passes = Passes(target.model), Passes(drafting.drafting.models[0].model)
    decoded = {g: Decoded() for g in (0, *lengths)}
    for prompt in _prompts(options):
        ids = plain.encode_chat([{"role": "user", "content": prompt}])
        params, texts = SamplingParams(max_tokens=options.max_tokens), set()
        for g, llm in ((0, plain), *arms.items()):
            output = llm.generate(ids, params).outputs[0]
            decoded[g].add(output.steps)
            texts.add(output.token_ids)
            for _ in range(options.passes):
                draft_passes.time(1)
                for rows in (1, *(length + 1 for length in lengths)):
                    target_passes.time(rows)
        assert len(texts) == 1, "drafting changed a text"
    drafting.drafting.close()
    return [_row(draft, g, decoded, target_passes, draft_passes, say) for g in lengths]


def _row(
    draft: str, g: int, decoded: dict[int, Decoded], target: Passes, second: Passes, say: Callable[[str], None]
) -> dict[str, Any]:
    a, one = acceptance(decoded[g].steps), target.median(1)
    c, v = second.median(1) / one, target.median(g + 1) / one
    gained = decoded[0].per_token / decoded[g].per_token
    row = {
        "draft": draft,
        "g": g,
        "acceptance": a,
        "c": c,
        "v": v,
        "draft_pass_ms": 1e3 * second.median(1),
        "target_pass_ms": 1e3 * one,
        "mean_acceptance_length": _tokens(decoded[g].steps) / len(decoded[g].steps),
        "formula": formula(a, c, v, g),
        "measured": gained,
        "measured_by_formula": gained / formula(a, c, v, g),
        "with_prompt": decoded[0].per_token_with_prompt / decoded[g].per_token_with_prompt,
        "rounds": len(decoded[g].steps),
    }
    say(
        f"{Path(draft).name} g={g}: acceptance {a:.3f}, c {c:.3f}, v {v:.3f}: formula {row['formula']:.2f}, "
        f"measured {gained:.2f} ({row['measured_by_formula']:.2f} of it), with prompt {row['with_prompt']:.2f}"
    )
    return row


def table(rows: Sequence[dict[str, Any]], times: Sequence[float] = ()) -> str:
    """A line a draft: measured speed-ups by g, the formula's in brackets."""
    lengths = sorted({row["g"] for row in rows})
    slower = [f"{factor:g} times" for factor in times]
    check = {g: statistics.median(row["v"] for row in rows if row["g"] == g) for g in lengths}
    heads = ["draft", "acceptance", "c", "needs", *(f"g = {g}" for g in lengths), *slower]
    lines = ["| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|"]
    for draft in dict.fromkeys(row["draft"] for row in rows):
        own = {row["g"]: row for row in rows if row["draft"] == draft}
        first = own[lengths[0]]
        needs = f"{first['c'] + check[1] - 1:.2f}" if lengths[0] == 1 else "–"
        said = {g: formula(row["acceptance"], row["c"], check[g], g) for g, row in own.items()}
        gains = [f"{own[g]['measured']:.2f} ({said[g]:.2f})" for g in lengths]
        dear = [
            f"{max(formula(row['acceptance'], row['c'] / factor, check[g], g) for g, row in own.items()):.2f}"
            for factor in times
        ]
        cells = [f"`{_short(draft)}`", f"{first['acceptance']:.2f}", f"{first['c']:.2f}", needs, *gains, *dear]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _short(draft: str) -> str:
    """The folder of a student's file, a model's name; with its options."""
    path, _, options = draft.partition(",")
    name = Path(path).parent.name if Path(path).name == "model.gguf" else Path(path).name
    return f"{name},{options}" if options else name


def _seconds(steps: Sequence[Step]) -> float:
    return sum(step.wall for step in steps)


def _tokens(steps: Sequence[Step]) -> int:
    return sum(len(step.tokens) for step in steps)


def _prompts(options: argparse.Namespace) -> list[str]:
    chosen: dict[str, list[str]] = {}
    for prompt in load_suite(options.suite):
        chosen.setdefault(prompt.task, []).append(prompt.turns[0])
    return [text for texts in chosen.values() for text in texts[: options.per_task]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-1.5b")
    parser.add_argument(
        "--draft", nargs="+", default=["qwen2.5-coder-0.5b", "qwen2.5-coder-0.5b,quantize=int4,head=16384"]
    )
    parser.add_argument("--lengths", type=lambda text: [int(one) for one in text.split(",")], default=[1, 2, 3, 4])
    parser.add_argument("--suite", default="builtin")
    parser.add_argument("--per-task", type=int, default=1)
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--out")
    parser.add_argument("--show", type=Path, help="only prints what was written")
    parser.add_argument("--times", type=lambda text: [float(one) for one in text.split(",")], default=[])
    options = parser.parse_args()
    if options.show:
        print(table(json.loads(options.show.read_text(encoding="utf-8"))["rows"], options.times))
        return
    target = load_model(options.model)
    rows = [row for draft in options.draft for row in measured(target, draft, options, print)]
    line = json.dumps(
        {
            "rows": rows,
            "options": {name: value for name, value in vars(options).items() if name not in ("out", "show", "times")},
            "machine": machine(),
            "version": foredraft.__version__,
        }
    )
    if options.out:
        Path(options.out).write_text(line + "\n", encoding="utf-8")
    print(line)


if __name__ == "__main__":
    main()
