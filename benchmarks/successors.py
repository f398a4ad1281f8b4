"""What a table of successors to begin with is worth: on recorded answers, drafts of a fixed size with it and without.

    successors.py [-m smollm2] --suite FILE.jsonl [--limit-per-task 4] [--max-tokens 64] [--table FILE] [--nodes 3,7]
                  [--out FILE.json]

The model answers the first turns at temperature 0, and of every row its likeliest tokens are kept. Then the text is
said again in rounds: the best so many nodes of the table are drafted, as many as are right are taken, and the rows that
were committed are learnt, as `recycling` does (rows of rejected drafts, which would teach it too, were never computed).
--table: by default the one that comes with the model. Prints one JSON object: tokens a round by task, of a table that
begins empty and of this one; of tokens offered for the next place, by what their scores claim, the share that came; and
the milliseconds in which the table is loaded.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from records import commit

from foredraft import load
from foredraft.bench.suites import load_suite
from foredraft.core.protocols import Query, Request
from foredraft.core.tree import ROOT
from foredraft.draft.recycling import Options, Recycling
from foredraft.engine.llm import LLM
from foredraft.models.tokens import PlainTokens

EDGES = (0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
DEPTH = 24
OPTIONS = Options()


@dataclass(frozen=True)
class Answer:
    """tops: of the row that gave each token, the likeliest tokens and their probabilities among themselves."""

    task: str
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    tops: tuple[tuple[list[int], list[float]], ...]


def answer(llm: LLM, task: str, text: str, most: int) -> Answer:
    model, prompt = llm.loaded.model, llm.encode_chat([{"role": "user", "content": text}])
    cache, tokens, tops = model.open(), list[int](), []
    feed = prompt
    while len(tokens) < most and not (tokens and tokens[-1] in llm.tokenizer.stop_ids):
        last = len(feed) - 1
        query = Query(cache, feed, tuple(range(-1, last)), (last,), top=OPTIONS.width, argmax_only=True)
        (scores,) = model.score([query])
        ids, logits = scores.top(last)
        weights = [math.exp(logit - logits[0]) for logit in logits.tolist()]
        tops.append((ids.tolist(), [weight / sum(weights) for weight in weights]))
        cache.keep(range(len(feed)))
        tokens.append(int(ids[0]))
        feed = (tokens[-1],)
    cache.close()
    return Answer(task, prompt, tuple(tokens), tuple(tops))


def said_again(start: Any, one: Answer, nodes: int) -> int:
    """Rounds in which the answer is said, `nodes` drafted in each."""
    table, text = start(one), list(one.prompt)
    at = rounds = 0
    while at < len(one.tokens):
        tokens, parents, _ = table.draft(text[-OPTIONS.context :], nodes, DEPTH, -math.inf)
        node, right = ROOT, 0
        while at + right < len(one.tokens) - 1:
            follows = [n for n, token in enumerate(tokens) if parents[n] == node and token == one.tokens[at + right]]
            if not follows:
                break
            node, right = follows[0], right + 1
        for token, top in zip(one.tokens[at : at + right + 1], one.tops[at : at + right + 1], strict=True):
            table.learn(text[-OPTIONS.context :], *top)
            text.append(token)
        at, rounds = at + right + 1, rounds + 1
    return rounds


def offered(start: Any, one: Answer, found: dict[int, list[float]]) -> None:
    """Adds, by class of claim, tokens offered for the next place: how many, their claims, how many came."""
    table, text = start(one), list(one.prompt)
    for token, top in zip(one.tokens, one.tops, strict=True):
        tokens, _, scores = table.draft(text[-OPTIONS.context :], OPTIONS.width, 1, -math.inf)
        for guess, score in zip(tokens, scores, strict=True):
            tally = found[bisect_left(EDGES, math.exp(score))]
            for place, more in enumerate((1, math.exp(score), guess == token)):
                tally[place] += more
        table.learn(text[-OPTIONS.context :], *top)
        text.append(token)


def figures(drafter: Recycling, answers: Sequence[Answer], sizes: Sequence[int]) -> dict[str, Any]:
    def start(one: Answer) -> Any:
        return drafter.open(Request(one.prompt, 0, tenant=None)).table

    lengths = {}
    for nodes in sizes:
        rounds, tokens = Counter[str](), Counter[str]()
        for one in answers:
            for name in (one.task, "all"):
                rounds[name] += said_again(start, one, nodes)
                tokens[name] += len(one.tokens)
        lengths[str(nodes)] = {name: round(tokens[name] / rounds[name], 2) for name in rounds}
    tallies: dict[int, list[float]] = defaultdict(lambda: [0, 0.0, 0])
    for one in answers:
        offered(start, one, tallies)
    came = [
        {"offered": int(count), "claimed": round(claims / count, 3), "came": round(hits / count, 3)}
        for _, (count, claims, hits) in sorted(tallies.items())
    ]
    return {"tokens_a_round": lengths, "claims": came}


def main() -> None:
    parser = argparse.ArgumentParser(description="What a table of successors to begin with is worth.")
    parser.add_argument("-m", "--model", default="smollm2")
    parser.add_argument("--suite", default="builtin")
    parser.add_argument("--limit-per-task", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--table", default="", help="a file; by default the one that comes with the model")
    parser.add_argument("--nodes", default="3,7")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    met, answers = Counter[str](), list[Answer]()
    with load(options.model, "none") as llm:
        vocabulary = PlainTokens(llm.tokenizer)
        for prompt in load_suite(options.suite):
            met[prompt.task] += 1
            if met[prompt.task] <= options.limit_per_task:
                answers.append(answer(llm, prompt.task, prompt.turns[0], options.max_tokens))
    begun = time.perf_counter()
    drafter = Recycling(Options(file=options.table), vocabulary)
    loading = time.perf_counter() - begun
    sizes = [int(size) for size in options.nodes.split(",")]
    found = {
        "model": options.model,
        "suite": Path(options.suite).name,
        "max_tokens": options.max_tokens,
        "answers": len(answers),
        "tokens": sum(len(one.tokens) for one in answers),
        "loading_ms": round(1e3 * loading, 1),
        "empty": figures(Recycling(Options(file="none")), answers, sizes),
        "table": figures(drafter, answers, sizes),
        "commit": commit(),
    }
    text = json.dumps(found)
    print(text)
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
