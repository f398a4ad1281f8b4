"""JSON extraction under a schema: is every answer valid, and what do drafters save under the same grammar?

    grammar.py [--model smollm2] [--drafters forced lookup] [--prompts FILE.jsonl] [--first N] [--last N]
               [--max-tokens N] [--temperature T] [--out FILE.json]

Prompt files are JSON lines {"id", "turns": [text], "schema": {…}}. Every prompt runs all arms in turn from one scoring
of it; speed counts from the scored prompt to the last token, the drafter's own work and the masks included. An answer
is valid when jsonschema says so of the parsed text and the text ended by itself. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path
from typing import Any

import jsonschema

import foredraft
from foredraft import LLM, SamplingParams, StructuredOutputsParams, load
from foredraft.bench.machine import commit, isa_of, machine, weights_hash
from foredraft.bench.statistics import Pair, interval, speedup
from foredraft.engine.compare import Arm, scored, timed

PROMPTS = Path(__file__).parent / "prompts" / "extraction.jsonl"
INSTRUCTION = "Extract the data of the text below as one JSON object of this JSON schema:\n{schema}\n\nText: {text}"


def main() -> None:
    options = _options()
    plain = load(options.model, "none")
    arms = {"none": plain} | {name: LLM(plain.loaded, name) for name in options.drafters}
    for llm in arms.values():
        llm.grammars = plain.grammars  # the vocabulary is read once
    rows = []
    lines = Path(options.prompts).read_text(encoding="utf-8").splitlines()
    for index, entry in enumerate(map(json.loads, lines[slice(options.first, options.last)])):
        rows.append((entry, _run(arms, entry, index, options)))
        print(f"{index + 1} {entry['id']}", file=sys.stderr, flush=True)
    report = _report(options, plain, rows, list(arms))
    _print(report)
    line = json.dumps(report)
    if options.out:
        Path(options.out).write_text(line + "\n", encoding="utf-8")
    print(line)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--drafters", nargs="+", default=["forced", "lookup"])
    parser.add_argument("--prompts", default=str(PROMPTS))
    parser.add_argument("--first", type=int, default=None, help="begin with this line, from 0")
    parser.add_argument("--last", type=int, default=None, help="end before this line")
    parser.add_argument("--max-tokens", type=int, default=320)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--out")
    return parser.parse_args()


def _run(arms: dict[str, LLM], entry: dict[str, Any], index: int, options: argparse.Namespace) -> dict[str, Arm]:
    schema = json.dumps(entry["schema"])
    params = SamplingParams(
        max_tokens=options.max_tokens,
        temperature=options.temperature,
        seed=index,
        structured_outputs=StructuredOutputsParams(json=schema),
    )
    plain = arms["none"]
    text = INSTRUCTION.format(schema=schema, text=entry["turns"][0])
    ids = plain.encode_chat([{"role": "user", "content": text}])
    cache, _ = scored(plain, ids, params)
    order = list(arms)
    random.Random(index).shuffle(order)
    try:
        for name in order[:1] if index else order:  # the first passes of a length pay for its memory
            timed(arms[name], ids, SamplingParams(max_tokens=4), cache=cache.fork())
        return {name: timed(arms[name], ids, params, cache=cache.fork()) for name in order}
    finally:
        cache.close()


def valid(arm: Arm, schema: dict[str, Any]) -> bool:
    """Whether the answer ended by itself and is an instance of the schema."""
    completion = arm.completion
    try:
        jsonschema.validate(json.loads(completion.text), schema)
    except (ValueError, jsonschema.ValidationError):
        return False
    return completion.finish_reason == "stop"


def _report(
    options: argparse.Namespace, llm: LLM, rows: list[tuple[dict[str, Any], dict[str, Arm]]], names: list[str]
) -> dict[str, Any]:
    return {
        "model": llm.loaded.source.name,
        "prompts": len(rows),
        "max_tokens": options.max_tokens,
        "temperature": options.temperature,
        "valid": {name: sum(valid(arms[name], entry["schema"]) for entry, arms in rows) for name in names},
        "runs": {name: _figures(rows, name) for name in names},
        "answers": {entry["id"]: arms["none"].completion.text for entry, arms in rows},
        "machine": machine() | {"isa": isa_of(llm.loaded), "threads": llm.loaded.threads},
        "weights": weights_hash(llm.loaded.source),
        "version": foredraft.__version__,
        "commit": commit(),
        "arguments": sys.argv[1:],
    }


def _figures(rows: list[tuple[dict[str, Any], dict[str, Arm]]], name: str) -> dict[str, Any]:
    pairs = [
        Pair("extraction", plain.seconds, len(plain.completion.token_ids), own.seconds, len(own.completion.token_ids))
        for plain, own in ((arms["none"], arms[name]) for _, arms in rows)
    ]
    stats = [arms[name].completion.stats for _, arms in rows]
    tokens, seconds = sum(pair.tokens for pair in pairs), sum(pair.seconds for pair in pairs)
    same = [arms[name].completion.token_ids == arms["none"].completion.token_ids for _, arms in rows]
    return {
        "tokens": tokens,
        "tok_s": tokens / seconds,
        "speedup": speedup(pairs),
        "speedup_ci": interval(pairs),
        "mean_acceptance_length": tokens / sum(one.passes for one in stats),
        "drafted": sum(one.drafted for one in stats),
        "accepted": sum(one.accepted for one in stats),
        "identical": sum(same),
        "faults": sum(len(one.faults) for one in stats),
        "time": {
            part: sum(getattr(one.seconds, part) for one in stats) for part in ("draft", "verify", "sample", "other")
        },
    }


def _print(report: dict[str, Any]) -> None:
    for name, run in report["runs"].items():
        print(
            f"{name:24} {run['speedup']:.2f}x  {run['tok_s']:.1f} tok/s  mean acceptance length "
            f"{run['mean_acceptance_length']:.2f}  valid {report['valid'][name]}/{report['prompts']}  "
            f"identical {run['identical']}/{report['prompts']}"
        )


if __name__ == "__main__":
    main()
