"""How far a trained head goes alone, by task: mean acceptance lengths of trees of a fixed size.

    head_alone.py [-m MODEL] [--head FILE] --suite FILE.jsonl [--limit-per-task 5] [--nodes 5] [--max-tokens 64]
                  [--window 0]

First turns only, temperature 0. One line of JSON: task -> tokens a pass, and `all`.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter

from foredraft import SamplingParams, load
from foredraft.bench.suites import load_suite


def main() -> None:
    parser = argparse.ArgumentParser(description="Mean acceptance lengths of a trained head alone, by task.")
    parser.add_argument("-m", "--model", default="smollm2")
    parser.add_argument("--head", default="", help="the file of a head; by default the one that comes with the model")
    parser.add_argument("--suite", default="builtin")
    parser.add_argument("--limit-per-task", type=int, default=5)
    parser.add_argument("--nodes", type=int, default=5)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--window", type=int, default=0, help="tokens of a longer prompt that it reads; 0 for all")
    options = parser.parse_args()
    prompts, tokens, passes = Counter[str](), Counter[str](), Counter[str]()
    drafter = f"block:head={options.head},window={options.window}"
    with load(options.model, drafter, num_speculative_tokens=options.nodes) as llm:
        for prompt in load_suite(options.suite):
            if prompts[prompt.task] >= options.limit_per_task:
                continue
            prompts[prompt.task] += 1
            params = SamplingParams(temperature=0, max_tokens=options.max_tokens)
            output = llm.chat([{"role": "user", "content": prompt.turns[0]}], params).outputs[0]
            for name in (prompt.task, "all"):
                tokens[name] += len(output.token_ids)
                passes[name] += sum(bool(step.tokens) for step in output.steps)
    print(json.dumps({name: round(tokens[name] / passes[name], 2) for name in tokens}))


if __name__ == "__main__":
    main()
