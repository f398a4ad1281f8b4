"""JSON extraction under a schema: is every answer valid, and what do drafters save under the same grammar?

    grammar.py [--model smollm2] [--drafters forced,lookup,…] [--prompts FILE.jsonl] [--limit N] [--max-tokens N]
               [--temperature T] [--out FILE.jsonl] [--report FILE.jsonl]

Prompt files are JSON lines {"id", "turns": [text], "schema": {…}}. Every prompt runs all arms in turn from one scoring
of it, and each drafter meets it as its first; speed counts from the scored prompt to the last token, the drafter's own
work and the masks included. An answer is valid when the text ended by itself and jsonschema accepts what it parses to.
With --out the file begins with what was measured, then a line a prompt; the same command goes on where it was.
--report prints the figures of such a file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema

import foredraft
from foredraft import SamplingParams, StructuredOutputsParams, load
from foredraft.bench.entrants import PLAIN, Entrant, admit, listed
from foredraft.bench.machine import commit, isa_of, machine, weights_hash
from foredraft.bench.run import order_of
from foredraft.bench.statistics import Pair, interval, speedup
from foredraft.engine.compare import Arm, scored, timed

PROMPTS = Path(__file__).parent / "prompts" / "extraction.jsonl"
INSTRUCTION = "Extract the data of the text below as one JSON object of this JSON schema:\n{schema}\n\nText: {text}"
Json = dict[str, Any]


def main() -> None:
    options = _options()
    if options.report:
        return show([json.loads(line) for line in Path(options.report).read_text(encoding="utf-8").splitlines()])
    plain = load(options.model, "none")
    entrants, _ = admit(plain.loaded, listed(options.drafters))
    for entrant in entrants:
        entrant.llm.grammars = plain.grammars  # the vocabulary is read once
    asked = {key: vars(options)[key] for key in ("model", "drafters", "max_tokens", "temperature")}
    lines = _begun(options.out, asked) or [_head(entrants[0], asked)]
    done = {line["id"] for line in lines[1:]}
    prompts = list(map(json.loads, Path(options.prompts).read_text(encoding="utf-8").splitlines()))[: options.limit]
    for turn, prompt in enumerate(prompts):
        if prompt["id"] not in done:
            lines.append(_run(entrants, prompt, turn, options))
            print(f"{turn + 1} of {len(prompts)}", file=sys.stderr, flush=True)
            if options.out:
                Path(options.out).write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    show(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--drafters", default="forced,lookup,forced+lookup,auto,forced+auto")
    parser.add_argument("--prompts", default=str(PROMPTS))
    parser.add_argument("--limit", type=int, default=None, help="prompts; all when not given")
    parser.add_argument("--max-tokens", type=int, default=320)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--out")
    parser.add_argument("--report")
    return parser.parse_args()


def _begun(out: str | None, asked: Json) -> list[Json]:
    if out is None or not Path(out).exists():
        return []
    lines: list[Json] = [json.loads(line) for line in Path(out).read_text(encoding="utf-8").splitlines()]
    if lines[0]["asked"] != asked:
        sys.exit(f"{out} was made with {lines[0]['asked']}: give the same options, or another file")
    return lines


def _head(plain: Entrant, asked: Json) -> Json:
    loaded = plain.llm.loaded
    return {
        "asked": asked,
        "machine": machine() | {"isa": isa_of(loaded), "threads": loaded.threads},
        "weights": weights_hash(loaded.source),
        "version": foredraft.__version__,
        "commit": commit(),
    }


def _run(entrants: Sequence[Entrant], prompt: Json, turn: int, options: argparse.Namespace) -> Json:
    schema = json.dumps(prompt["schema"])
    wanted = StructuredOutputsParams(json=schema)
    limit, temperature = options.max_tokens, options.temperature
    params = SamplingParams(max_tokens=limit, temperature=temperature, seed=turn, structured_outputs=wanted)
    text = INSTRUCTION.format(schema=schema, text=prompt["turns"][0])
    ids = entrants[0].llm.encode_chat([{"role": "user", "content": text}])
    cache, _ = scored(entrants[0].llm, ids, params)
    trials = {}
    try:
        timed(entrants[0].llm, ids, SamplingParams(max_tokens=4), cache=cache.fork())  # memory of this length
        for entrant in order_of(entrants, turn):
            llm = entrant.fresh(f"bench {prompt['id']}")
            arm = timed(llm, ids, params, cache=cache.fork() if entrant.forks else None)
            trials[entrant.name] = _trial(arm, prompt["schema"])
    finally:
        cache.close()
    return {"id": prompt["id"], "prompt_tokens": len(ids), "trials": trials}


def _trial(arm: Arm, schema: Json) -> Json:
    completion, stats = arm.completion, arm.completion.stats
    return {
        "token_ids": completion.token_ids,
        "text": completion.text,
        "valid": completion.finish_reason == "stop" and valid(completion.text, schema),
        "seconds": arm.seconds,
        "passes": stats.passes,
        "drafted": stats.drafted,
        "accepted": stats.accepted,
        "faults": stats.faults,
        "time": {part: getattr(stats.seconds, part) for part in ("draft", "verify", "sample", "other")},
    }


def valid(text: str, schema: Json) -> bool:
    """Whether `text` is JSON that the schema accepts."""
    try:
        jsonschema.validate(json.loads(text), schema)
    except (ValueError, jsonschema.ValidationError):
        return False
    return True


def show(lines: Sequence[Json]) -> None:
    """One line a drafter, then one JSON object."""
    names = list(lines[1]["trials"])
    found = {
        name: figures([line["trials"] for line in lines[1:]], name) for name in [PLAIN, *sorted({*names} - {PLAIN})]
    }
    for name, run in found.items():
        low, high = run["speedup_ci"] or (run["speedup"],) * 2
        print(
            f"{name:24} {run['speedup']:.2f}x ({low:.2f} to {high:.2f})  {run['tok_s']:.1f} tok/s  mean acceptance "
            f"length {run['mean_acceptance_length']:.2f}  valid {run['valid']}/{run['prompts']}  "
            f"identical {run['identical']}/{run['prompts']}"
        )
    print(json.dumps(lines[0] | {"runs": found}))


def figures(rows: Sequence[Mapping[str, Json]], name: str) -> Json:
    """Totals over prompts."""
    own, plain = [row[name] for row in rows], [row[PLAIN] for row in rows]
    pairs = [
        Pair("extraction", other["seconds"], len(other["token_ids"]), one["seconds"], len(one["token_ids"]))
        for one, other in zip(own, plain, strict=True)
    ]
    tokens, seconds = sum(pair.tokens for pair in pairs), sum(pair.seconds for pair in pairs)
    return {
        "prompts": len(rows),
        "valid": sum(one["valid"] for one in own),
        "identical": sum(one["token_ids"] == other["token_ids"] for one, other in zip(own, plain, strict=True)),
        "faults": sum(len(one["faults"]) for one in own),
        "tokens": tokens,
        "tok_s": tokens / seconds,
        "speedup": speedup(pairs),
        "speedup_ci": interval(pairs),
        "mean_acceptance_length": tokens / sum(one["passes"] for one in own),
        "drafted": sum(one["drafted"] for one in own),
        "accepted": sum(one["accepted"] for one in own),
        "time": {part: sum(one["time"][part] for one in own) for part in ("draft", "verify", "sample", "other")},
    }


if __name__ == "__main__":
    main()
