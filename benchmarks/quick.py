"""Speed of drafters against plain decoding on a few prompts, interleaved: every prompt runs all arms in turn.

    quick.py [--model smollm2] [--drafters lookup lookup:branches=2] [--prompts FILE.jsonl] [--limit N] [--max-tokens N]
             [--temperature T] [--out FILE.json]

Prompt files are JSON lines {"id", "task", "turns": [text, …]}; without one, the prompts below run (two of them copy,
two do not). Speed counts from the scored prompt to the last token, the drafter's own work included. An output loops
when an 8-gram occurs three times in 64 tokens; such prompts are counted apart. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import foredraft
from foredraft.core.params import SamplingParams
from foredraft.engine.compare import Arm, timed
from foredraft.engine.llm import LLM, load

SENTENCE = "The square root of 7 is 2.6457513110645906, which cannot be written as a fraction."
CODE = (
    "def area(radius):\n    return 3.14159 * radius * radius\n\n\ndef around(radius):\n    return 2 * 3.14159 * radius"
)
PROMPTS = [
    ("copy", f"Repeat this sentence word for word: {SENTENCE}"),
    ("edit", f"Rename radius to r in this code and print all of it:\n\n{CODE}"),
    ("explain", "Explain in a short paragraph why the sky is blue."),
    ("story", "Write the beginning of a story about a lighthouse keeper who finds a letter."),
]


def main() -> None:
    options = _options()
    prompts = _prompts(options)
    plain = LLM((target := load(options.model, "none")).loaded, "none")
    arms = {"none": plain} | {name: LLM(target.loaded, name) for name in options.drafters}
    rows = []
    for index, (task, text) in enumerate(prompts):
        ids = plain.encode_chat([{"role": "user", "content": text}])
        params = SamplingParams(max_tokens=options.max_tokens, temperature=options.temperature, seed=index)
        order = list(arms)
        random.Random(index).shuffle(order)
        timed(plain, ids, SamplingParams(max_tokens=4))  # the first passes of a prompt's length pay for its memory
        rows.append((task, {name: timed(arms[name], ids, params) for name in order}))
        print(f"{index + 1}/{len(prompts)} {task}", file=sys.stderr, flush=True)
    report = _report(options, rows, list(arms))
    _print(report)
    line = json.dumps(report)
    if options.out:
        Path(options.out).write_text(line + "\n", encoding="utf-8")
    print(line)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--drafters", nargs="+", default=["lookup"])
    parser.add_argument("--prompts")
    parser.add_argument("--limit", type=int, default=0, help="prompts a task; 0 for all")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--out")
    return parser.parse_args()


def _prompts(options: argparse.Namespace) -> list[tuple[str, str]]:
    if options.prompts is None:
        return PROMPTS
    taken: Counter[str] = Counter()
    found = []
    for line in Path(options.prompts).read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if not options.limit or taken[entry["task"]] < options.limit:
            taken[entry["task"]] += 1
            found.append((entry["task"], entry["turns"][0]))
    return found


def _report(options: argparse.Namespace, rows: list[tuple[str, dict[str, Arm]]], names: list[str]) -> dict[str, Any]:
    looping = [loops(arms["none"].completion.token_ids) for _, arms in rows]
    runs = []
    for name in names[1:]:
        fresh = [row for row, loop in zip(rows, looping, strict=True) if not loop]
        runs.append(
            {
                "drafter": name,
                "all": _figures(rows, name),
                "without_looping": _figures(fresh, name) if fresh else None,
                "by_task": {
                    task: _figures([row for row in rows if row[0] == task], name)
                    for task in dict.fromkeys(t for t, _ in rows)
                },
            }
        )
    return {
        "model": options.model,
        "prompts": len(rows),
        "looping_share": sum(looping) / len(rows),
        "max_tokens": options.max_tokens,
        "temperature": options.temperature,
        "baseline_tok_s": _speed(rows, "none"),
        "runs": runs,
        "machine": {"processor": _processor(), "system": platform.platform(), "python": platform.python_version()},
        "version": foredraft.__version__,
        "commit": subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip(),
        "arguments": sys.argv[1:],
    }


def _figures(rows: list[tuple[str, dict[str, Arm]]], name: str) -> dict[str, Any]:
    """Totals over prompts; the speed-up of a task is plain / own seconds in total, the mean over tasks geometric."""
    by_task: dict[str, list[float]] = {}
    for task, arms in rows:
        spent = by_task.setdefault(task, [0.0, 0.0])
        spent[0] += arms["none"].seconds
        spent[1] += arms[name].seconds
    speedups = [plain / own for plain, own in by_task.values()]
    stats = [arms[name].completion.stats for _, arms in rows]
    same = [arms[name].completion.token_ids == arms["none"].completion.token_ids for _, arms in rows]
    tokens, passes = sum(one.tokens for one in stats), sum(one.passes for one in stats)
    drafted, accepted = sum(one.drafted for one in stats), sum(one.accepted for one in stats)
    return {
        "prompts": len(rows),
        "tok_s": _speed(rows, name),
        "speedup": math.exp(sum(map(math.log, speedups)) / len(speedups)),
        "mean_acceptance_length": tokens / passes,
        "draft_acceptance_rate": accepted / drafted if drafted else 0.0,
        "identical": sum(same),
        "faults": sum(len(one.faults) for one in stats),
        "time": {
            part: sum(getattr(one.seconds, part) for one in stats) for part in ("draft", "verify", "sample", "other")
        },
    }


def _speed(rows: list[tuple[str, dict[str, Arm]]], name: str) -> float:
    arms = [arms[name] for _, arms in rows]
    return sum(len(arm.completion.token_ids) for arm in arms) / sum(arm.seconds for arm in arms)


def loops(tokens: tuple[int, ...], size: int = 8, times: int = 3, window: int = 64) -> bool:
    """True when some `size`-gram occurs `times` times within `window` tokens."""
    places: dict[tuple[int, ...], list[int]] = {}
    for start in range(len(tokens) - size + 1):
        found = places.setdefault(tokens[start : start + size], [])
        found.append(start)
        if len(found) >= times and start + size - found[-times] <= window:
            return True
    return False


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _print(report: dict[str, Any]) -> None:
    share = report["looping_share"]
    print(f"{report['model']}: plain {report['baseline_tok_s']:.1f} tok/s, {share:.0%} of outputs loop")
    for run in report["runs"]:
        for scope in ("all", "without_looping"):
            figures = run[scope]
            if figures is not None:
                print(
                    f"{run['drafter']:24} {scope:16} {figures['speedup']:.2f}x  {figures['tok_s']:.1f} tok/s  "
                    f"mean acceptance length {figures['mean_acceptance_length']:.2f}  "
                    f"identical {figures['identical']}/{figures['prompts']}"
                )


if __name__ == "__main__":
    main()
