"""What a server itself says of its speculation: counters over all requests (`/metrics`), or with every answer.

vLLM's names, with any engine's prefix: `vllm:spec_decode_num_draft_tokens_total{…} 12`; llama.cpp's `timings` with
`draft_n`; vLLM's `metrics.speculative_decoding` with an answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_COUNTER = re.compile(
    r"^\w+:spec_decode_num_(?P<what>drafts|draft_tokens|accepted_tokens|accepted_tokens_per_pos)(?:_total)?"
    r"(?:\{(?P<labels>.*)\})?\s+(?P<value>\S+)(?:\s+\d+)?$"
)
_POSITION = re.compile(r'position="(\d+)"')


@dataclass(frozen=True)
class Counters:
    """Speculation over some time. passes: of the target, and `emitted` the tokens they gave; 0 where nobody says.

    positions: how many drafts were accepted at position 0, 1, …; drafts: how often something was drafted.
    """

    drafts: int = 0
    drafted: int = 0
    accepted: int = 0
    passes: int = 0
    emitted: int = 0
    positions: tuple[int, ...] = ()

    def __add__(self, other: Counters) -> Counters:
        return self._with(other, 1)

    def __sub__(self, other: Counters) -> Counters:
        """What was counted since `other`."""
        return self._with(other, -1)

    def _with(self, other: Counters, sign: int) -> Counters:
        size = max(len(self.positions), len(other.positions))
        ours, theirs = ((*one.positions, *(0,) * (size - len(one.positions))) for one in (self, other))
        return Counters(
            self.drafts + sign * other.drafts,
            self.drafted + sign * other.drafted,
            self.accepted + sign * other.accepted,
            self.passes + sign * other.passes,
            self.emitted + sign * other.emitted,
            tuple(a + sign * b for a, b in zip(ours, theirs, strict=True)),
        )

    @property
    def rate(self) -> float | None:
        """Accepted / drafted; None where nothing was drafted."""
        return self.accepted / self.drafted if self.drafted else None

    @property
    def length(self) -> float | None:
        """Tokens a pass of the target, bonus included: over all passes where they are known, else over those with
        drafts (as vLLM counts); None where neither is.
        """
        if self.passes:
            return self.emitted / self.passes
        return 1 + self.accepted / self.drafts if self.drafts else None

    @property
    def by_position(self) -> list[float]:
        return [count / self.drafts for count in self.positions] if self.drafts else []


def total(counters: Iterable[Counters]) -> Counters:
    return sum(counters, Counters())


def of_metrics(page: str) -> Counters | None:
    """The counters on a Prometheus page, all models and engines together; None where it has none."""
    sums: dict[str, float] = {}
    positions: dict[int, float] = {}
    for line in page.splitlines():
        match = _COUNTER.match(line.strip())
        if match is None:
            continue
        value, place = _number(match["value"]), _POSITION.search(match["labels"] or "")
        if match["what"] != "accepted_tokens_per_pos":
            sums[match["what"]] = sums.get(match["what"], 0) + value
        elif place is not None:
            positions[int(place[1])] = positions.get(int(place[1]), 0) + value
    if not sums:
        return None
    by_place = tuple(int(positions.get(place, 0)) for place in range(max(positions, default=-1) + 1))
    drafts, drafted, accepted = (int(sums.get(what, 0)) for what in ("drafts", "draft_tokens", "accepted_tokens"))
    return Counters(drafts, drafted, accepted, positions=by_place)


def of_answer(chunk: Mapping[str, Any]) -> Counters | None:
    """The counters that came with an answer, in one of the pieces of its stream; None where it has none."""
    metrics, timings = chunk.get("metrics"), chunk.get("timings")
    inner = metrics.get("speculative_decoding") if isinstance(metrics, dict) else None
    if isinstance(inner, dict):
        steps = _count(inner, "num_spec_steps")
        return Counters(steps, _count(inner, "num_draft_tokens"), _count(inner, "num_accepted_draft_tokens"))
    if isinstance(timings, dict) and "draft_n" in timings:
        drafted, accepted = _count(timings, "draft_n"), _count(timings, "draft_n_accepted")
        emitted = _count(timings, "predicted_n")
        return Counters(0, drafted, accepted, max(0, emitted - accepted), emitted)
    return None


def _count(found: Mapping[str, Any], name: str) -> int:
    value = found.get(name, 0)
    return value if isinstance(value, int) else 0


def _number(text: str) -> float:
    """A counter's value; one that is no number, or none that can be counted with, counts as nothing."""
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0 <= value < 2**63 else 0.0
