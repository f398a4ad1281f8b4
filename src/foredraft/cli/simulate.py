"""`foredraft simulate`: what another setting would have brought, from a recorded benchmark."""

from __future__ import annotations

import json as jsonlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from foredraft.bench.events import Events, read
from foredraft.bench.record import Json
from foredraft.bench.replay import Setting
from foredraft.bench.simulate import (
    Recorded,
    assumptions,
    prediction_json,
    recorded,
    recorded_json,
    replayable,
    simulate,
    synthetic,
    synthetic_tokens,
)
from foredraft.core.errors import UsageError

LENGTHS = (1, 2, 3, 4, 6, 8, 12, 16)  # tried when none are given, up to what was recorded
NUMBER = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)


@dataclass(frozen=True)
class Job:
    """One call of the command, its options as given."""

    folder: str
    drafter: str | None
    num_speculative_tokens: str | None
    depth: int | None
    sources: str | None
    drafting: float
    acceptance: str | None
    json: bool

    def run(self) -> int:
        """Predicts and prints; returns the exit status."""
        lengths, rates, sources = self._lengths(), self._rates(), self._sources()
        if self.depth is not None and self.depth < 1:
            raise UsageError(f"--depth must be 1 or more, not {self.depth}")
        if not 0 <= self.drafting <= 1000:
            raise UsageError(f"--drafting is a factor from 0 to 1000, such as 0.5, not {self.drafting:g}")
        events = read(self.folder)
        arms, unable = replayable(events.cases, events.setup)
        if self.drafter is not None:
            arms, unable = [self.drafter], {}
        runs = [recorded(events.cases, arm, events.setup, costs=events.costs) for arm in arms]
        if not runs:
            raise UsageError("; ".join(unable.values()) or f"{self.folder} has no drafter beside plain decoding")
        found = [self._predict(run, lengths, rates, sources) for run in runs]
        result = _head(events) | {"drafters": found, **({"left_out": unable} if unable else {})}
        print(jsonlib.dumps(result, ensure_ascii=False) if self.json else "\n".join(_as_text(result)))
        return 0

    def _predict(
        self, run: Recorded, lengths: Sequence[int] | None, rates: Sequence[float], sources: tuple[str, ...]
    ) -> Json:
        tried = lengths if lengths is not None else [k for k in LENGTHS if k <= max(run.most, 1)]
        predictions = [simulate(run, Setting(k, self.depth, sources), self.drafting) for k in tried]
        if lengths is None:
            predictions.append(simulate(run, Setting(None, self.depth, sources), self.drafting))
        return {
            "drafter": run.arm,
            "recorded": recorded_json(run),
            "predictions": [prediction_json(one) for one in predictions],
            "synthetic": [_synthetic(run, rates, k, self.drafting) for k in tried] if rates else None,
            "assumes": assumptions(run, predictions),
        }

    def _lengths(self) -> list[int] | None:
        if self.num_speculative_tokens is None:
            return None
        items = [item.strip() for item in self.num_speculative_tokens.split(",")]
        if not all(item.isascii() and item.isdecimal() and int(item) <= 1024 for item in items):
            raise UsageError(
                f"--num-speculative-tokens takes whole numbers up to 1024 such as 2,4,8, "
                f"not {self.num_speculative_tokens!r}"
            )
        return sorted(set(map(int, items)))

    def _rates(self) -> list[float]:
        if self.acceptance is None:
            return []
        items = [item.strip() for item in self.acceptance.split(",")]
        if not all(NUMBER.fullmatch(item) and float(item) <= 1 for item in items):
            raise UsageError(f"--acceptance takes rates from 0 to 1 by depth such as 0.8,0.7, not {self.acceptance!r}")
        return list(map(float, items))

    def _sources(self) -> tuple[str, ...]:
        if self.sources is None:
            return ()
        names = tuple(name.strip() for name in self.sources.split(","))
        if not all(names) or len(set(names)) < len(names):
            raise UsageError(f"--sources takes names, each once, such as suffix,recycling, not {self.sources!r}")
        return names


def _head(events: Events) -> Json:
    setup = events.setup
    keys = ("model", "engine", "isa", "threads", "suite", "max_tokens", "temperature", "policy")
    prompts = len({case.prompt for case in events.cases})
    return {"folder": str(events.folder), **{key: setup[key] for key in keys if key in setup}, "prompts": prompts}


def _synthetic(run: Recorded, rates: Sequence[float], length: int, drafting: float) -> Json:
    return {
        "num_speculative_tokens": length,
        "acceptance": list(rates),
        "tokens": synthetic_tokens(rates, length),
        "speedup": synthetic(run, rates, length, drafting),
    }


# --- as text --------------------------------------------------------------------------------------------------------


def _as_text(result: Json) -> list[str]:
    many = f"{result['prompts']} prompt{'s' if result['prompts'] > 1 else ''}"
    lines = [f"{result['model']}: {many} of suite {result['suite']}, recorded in {result['folder']}"]
    for one in result["drafters"]:
        lines += ["", *_drafter(one)]
    lines += [f"left out: {reason}" for reason in result.get("left_out", {}).values()]
    return lines


def _drafter(one: Json) -> list[str]:
    was = one["recorded"]
    lines = [
        f"{one['drafter']}: measured {was['speedup']:.2f}x; prices of passes are off by {was['prices_off']:+.1%} on "
        "these rounds, which is taken out",
        "",
        "tokens a round   speed-up   95% interval   length   accepted   exact rounds",
        *map(_row, one["predictions"]),
    ]
    best = max(one["predictions"], key=lambda found: float(found["speedup"]))
    lines += ["", f"Best of these: {_size(best)}, {best['speedup']:.2f}x."]
    if one["synthetic"]:
        rates = ", ".join(f"{rate:g}" for rate in one["synthetic"][0]["acceptance"])
        lines += ["", f"A chain in every round, accepted at depth 1, 2, … with chance {rates}, at these prices:"]
        lines += [
            f"{found['num_speculative_tokens']:14} {found['speedup']:9.2f}x   {found['tokens']:.2f} tokens a round"
            for found in one["synthetic"]
        ]
    return [*lines, "", "This assumes:", *(f"- {sentence}" for sentence in one["assumes"])]


def _row(found: Json) -> str:
    interval = found["speedup_ci"]
    spread = f"{interval[0]:.2f} – {interval[1]:.2f}" if interval is not None else "–"
    rate = f"{found['draft_acceptance_rate']:.0%}" if found["drafted"] else "–"
    return (
        f"{_size(found):>14} {found['speedup']:9.2f}x {spread:>14} {found['mean_acceptance_length']:8.2f} {rate:>10} "
        f"{found['rounds']['recorded']:14.0%}"
    )


def _size(found: Json) -> str:
    size = found["num_speculative_tokens"]
    return "as recorded" if size is None else str(size)
