"""What a block head takes to read a text that nobody drafts behind, beside what its target takes for it.

    head_reading.py [-m MODEL] [--head FILE] [--rows 64,512]

One line of JSON a count of tokens: milliseconds of the head alone, of the head with a block behind them, and of the
target's own pass, each the best of eight.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import numpy as np

from foredraft import load
from foredraft.core.heads import Feed
from foredraft.core.protocols import Model, Query
from foredraft.engine.heads import load_head

TIMES = 8


def best(run: Callable[[], None]) -> float:
    """Milliseconds."""
    found = []
    for _ in range(TIMES):
        begun = time.perf_counter()
        run()
        found.append(time.perf_counter() - begun)
    return round(1000 * min(found), 3)


def measured(model: Model, head: Any, rows: int) -> dict[str, float]:
    chance = np.random.default_rng(0)
    tokens = tuple(chance.integers(10, 1000, rows).tolist())
    taps = chance.standard_normal((rows, len(head.taps) * model.about.width)).astype(np.float32)

    def reads(block: int) -> None:
        with closing(head.open()) as cache:
            head.score([Feed(cache, tokens, taps, block)])

    def passes() -> None:
        with closing(model.open()) as cache:
            model.score([Query(cache, tokens, tuple(range(-1, rows - 1)), taps=tuple(head.taps))])

    return {"rows": rows, "head": best(lambda: reads(0)), "drafting": best(lambda: reads(6)), "target": best(passes)}


def main() -> None:
    parser = argparse.ArgumentParser(description="What a block head takes to read a text.")
    parser.add_argument("-m", "--model", default="smollm2")
    parser.add_argument("--head", default="", help="the file of a head; by default the one that comes with the model")
    parser.add_argument("--rows", default="1,8,64,512", help="tokens of the text, joined by commas")
    options = parser.parse_args()
    with load(options.model, "none") as llm:
        model = llm.loaded.model
        head = load_head(options.head, model)
        for rows in map(int, options.rows.split(",")):
            print(json.dumps({"model": options.model, **measured(model, head, rows)}), flush=True)


if __name__ == "__main__":
    main()
