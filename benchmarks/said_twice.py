"""How fast texts are said when they were never asked for, and how fast the second time: what a drafter remembers.

    said_twice.py [-m smollm2] --suite FILE.jsonl [--limit-per-task 4] [--max-tokens 128]
                  [--drafters suffix recycling auto] [--out FILE.jsonl]

First turns at temperature 0, in an order drawn from a fixed seed, all of one tenant; then all of them again. At every
prompt plain decoding and all drafters take turns, in an order drawn anew, and say the same tokens. Rounds after the
first count, which ends the prompt. Prints a JSON line for each drafter: its speed beside plain decoding, as a geometric
mean over prompts, and tokens a round, of the first time and of the second.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
from collections import defaultdict
from pathlib import Path

from records import machine, tell

from foredraft import SamplingParams, load
from foredraft.bench.suites import limited, load_suite
from foredraft.core.events import Step
from foredraft.engine.llm import LLM

PLAIN, TENANT = "none", "one"
TIMES = ("first", "again")


def rounds(llm: LLM, text: str, most: int) -> tuple[list[int], list[Step]]:
    """What is said, and the rounds after the first token."""
    ids = llm.encode_chat([{"role": "user", "content": text}])
    (found,) = llm.for_tenant(TENANT).generate(ids, SamplingParams(temperature=0, max_tokens=most)).outputs
    return list(found.token_ids), [step for step in found.steps if step.tokens][1:]


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast texts are said the first time and the second.")
    parser.add_argument("-m", "--model", default="smollm2")
    parser.add_argument("--suite", default="builtin")
    parser.add_argument("--limit-per-task", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--drafters", nargs="+", default=["suffix", "recycling", "auto"])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    draw = random.Random(0)
    prompts = [prompt.turns[0] for prompt in limited(load_suite(options.suite), options.limit_per_task)]
    draw.shuffle(prompts)
    arms = {name: load(options.model, name) for name in (PLAIN, *options.drafters)}
    gains, counts = defaultdict[str, list[float]](list), defaultdict[str, list[int]](lambda: [0, 0])
    for time in TIMES:
        for text in prompts:
            seconds, said = dict[str, float](), set[tuple[int, ...]]()
            for name in draw.sample(list(arms), len(arms)):
                tokens, steps = rounds(arms[name], text, options.max_tokens)
                said.add(tuple(tokens))
                count = sum(len(step.tokens) for step in steps)  # without what came with the prompt
                seconds[name] = sum(step.wall for step in steps) / max(1, count)
                counts[name + time][0] += count
                counts[name + time][1] += len(steps)
            if len(said) > 1:
                raise SystemExit(f"drafters disagree about {text!r}")
            for name in options.drafters if all(seconds.values()) else ():  # one token has no round after it
                gains[name + time].append(math.log(seconds[PLAIN] / seconds[name]))
    for name in options.drafters:
        speeds = {time: round(math.exp(statistics.fmean(gains[name + time])), 2) for time in TIMES}
        lengths = {time: round(counts[name + time][0] / counts[name + time][1], 2) for time in TIMES}
        told = {"model": options.model, "drafter": name, "prompts": len(prompts), "max_tokens": options.max_tokens}
        tell({**told, "speed_up": speeds, "tokens_a_round": lengths, **machine()}, options.out)


if __name__ == "__main__":
    main()
