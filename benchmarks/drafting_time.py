"""What drafters without a model take: to read a prompt, to draft, and to take in what was committed.

    python benchmarks/drafting_time.py PROMPTS.jsonl --drafters suffix lookup --tokens 4000

No model runs. A text is made of the words of the prompts, one id a word; its second half is said in rounds, as if the
target agreed with what really follows. FOREDRAFT_NATIVE=0 measures the Python twins.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np

from foredraft.core.protocols import Ask, Budget, News, Request
from foredraft.core.rules import Rules
from foredraft.core.stream import KeyedStream
from foredraft.core.tree import EMPTY, ROOT, DraftTree
from foredraft.draft import specify
from foredraft.draft.family import Provided

WORDS = re.compile(r"\w+|\s+|[^\w\s]")


def texts(path: Path, tokens: int, count: int) -> list[list[int]]:
    """`count` texts of so many tokens each."""
    ids: dict[str, int] = {}
    with path.open(encoding="utf-8") as file:
        said = "\n".join(turn for line in file for turn in json.loads(line)["turns"])
    words = [ids.setdefault(word, len(ids)) for word in WORDS.findall(said)]
    found = [words[begin : begin + tokens] for begin in range(0, len(words) - tokens, tokens)]
    return found[:count]


def measure(name: str, found: list[list[int]], rows: int) -> dict[str, Any]:
    """Microseconds, and the mean acceptance length on these texts."""
    spec = specify(name)
    drafter = spec.family.build(spec.options, Provided())
    spent: dict[str, list[float]] = {"open": [], "propose": [], "update": [], "close": []}
    emitted = 0
    nothing: Any = None

    def timed(part: str, call: Any, *given: Any) -> Any:
        begin = time.perf_counter()
        result = call(*given)
        spent[part].append((time.perf_counter() - begin) * 1e6)
        return result

    for text in found:
        at = len(text) // 2
        state = timed("open", drafter.open, Request(tuple(text[:at]), 0))
        while at < len(text) - 1:
            budget = Budget(rows, min(rows, len(text) - at - 1))
            one = Ask(state, text[:at], Rules(), budget, "coupled", KeyedStream(0), 1 << 30)
            (tree,) = timed("propose", drafter.propose, [one])
            step = accepted(tree, text[at:-1]) + 1
            at, emitted = at + step, emitted + step
            timed("update", drafter.update, [News(state, text[:at], (), 0, (), nothing, EMPTY, None, None, 1)])
        timed("close", drafter.close, state)
    figures = {part: [round(float(one), 1) for one in np.percentile(all_, [50, 99])] for part, all_ in spent.items()}
    return {"drafter": name, "microseconds": figures, "mean_acceptance_length": emitted / len(spent["propose"])}


def accepted(tree: DraftTree, follows: list[int]) -> int:
    node, count = ROOT, 0
    while count < len(follows) and (child := tree.child(node, follows[count])) is not None:
        node, count = child, count + 1
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts", type=Path)
    parser.add_argument("--drafters", nargs="+", default=["suffix", "lookup"])
    parser.add_argument("--tokens", type=int, default=4000, help="of a text, half of it prompt")
    parser.add_argument("--texts", type=int, default=5)
    parser.add_argument("--rows", type=int, default=16)
    options = parser.parse_args()
    found = texts(options.prompts, options.tokens, options.texts)
    for name in options.drafters:
        print(json.dumps(measure(name, found, options.rows)))


if __name__ == "__main__":
    main()
