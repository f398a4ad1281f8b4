"""What drafters claimed of the tokens that were scored, and what came true, in a folder of `foredraft bench --out`.

    claims.py FOLDER --arm DRAFTERS

A trial is a node that was scored and whose parent was committed. Prints a line of JSON for every sort of trials, of
which there are a hundred: who drafted the node (together); who drafted other tokens at the same place, but not this
one; whether it follows the root or stands deeper; trials; the mean chance that is claimed of it, given its parent, and
the share that came true; and the power of the claim that fits best, by the likelihood of what came.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from foredraft.bench.events import read
from foredraft.core.events import Step
from foredraft.core.tree import ROOT

FEWEST = 100  # trials of a sort that tell something
POWERS = tuple(power / 20 for power in range(2, 80))
Sort = tuple[str, str, bool]
"""(sources of the node, sources of its siblings that are not its own, whether it stands below the first level)."""
Trials = list[tuple[float, bool]]
"""What was claimed, and whether it came."""


def trials_of(step: Step) -> Iterator[tuple[Sort, float, bool]]:
    tree = step.tree
    for parent, came in zip((ROOT, *step.path), step.tokens, strict=False):
        drafted = [node for node in tree.children(parent) if not tree.probes[node]]
        here = {source for node in drafted for source in tree.sources[node].split("+")}
        above = 0.0 if parent == ROOT else tree.score[parent]
        for node in drafted:
            others = "+".join(sorted(here.difference(tree.sources[node].split("+"))))
            claimed = math.exp(max(-60.0, min(-0.001, tree.score[node] - above)))
            yield (tree.sources[node], others, parent != ROOT), claimed, tree.tokens[node] == came


def doubt(trials: Trials, power: float) -> float:
    """Minus the log likelihood of what came, were each claim worth that power of it."""
    return -math.fsum(power * math.log(claim) if hit else math.log1p(-(claim**power)) for claim, hit in trials)


def told(sort: Sort, trials: Trials) -> dict[str, Any]:
    size = len(trials)
    return {
        "drafted by": sort[0],
        "not by": sort[1],
        "deeper": sort[2],
        "trials": size,
        "claimed": round(math.fsum(claim for claim, _ in trials) / size, 3),
        "came": round(sum(hit for _, hit in trials) / size, 3),
        "power": min(POWERS, key=lambda power: doubt(trials, power)),
    }


def by_sort(steps: Sequence[Step]) -> list[dict[str, Any]]:
    found = defaultdict[Sort, Trials](list)
    for step in steps:
        for sort, claimed, hit in trials_of(step):
            found[sort].append((claimed, hit))
    return [told(sort, trials) for sort, trials in sorted(found.items()) if len(trials) >= FEWEST]


def main() -> None:
    parser = argparse.ArgumentParser(description="What drafters claimed, and what came true.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--arm", required=True)
    options = parser.parse_args()
    for line in by_sort([step for case in read(options.folder).cases for step in case.trials[options.arm].steps]):
        print(json.dumps(line))


if __name__ == "__main__":
    main()
