"""Two tables of docs/measured.md: what was asked for and what was reached, and what drafting takes beside a plain pass.

Every figure is made from the raw steps of a run that is kept, or from the raw figures of a comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cells import head, line, short
from deciding import depth_of, parts, ratios, step
from peers.table import Record, by_arm, compared

from foredraft.bench.entrants import PLAIN
from foredraft.bench.events import Events
from foredraft.bench.report import Figures
from foredraft.bench.statistics import speedup

LENGTH, SPEED, DRAFTING, STEP = "tokens a round", "speed-up", "drafting / t(1)", "a pass of the head / t(1)"
SOURCE = "block"
HEAD = "block:benchmarks/drafters/qwen2.5-coder-1.5b.safetensors"
QWEN, XEON, HEADS = "qwen2.5-coder-1.5b-auto", "qwen2.5-coder-1.5b-auto-xeon", "qwen2.5-coder-1.5b-heads"
SMOL, SMOL_XEON, ALL = "smollm2-free", "smollm2-xeon", "forced+prediction+recycling+suffix"


@dataclass(frozen=True)
class Asked:
    """One demand and an arm of a run that may meet it. figure: which of its figures; least: is more better?"""

    what: str
    wanted: float
    run: str
    arm: str
    figure: str

    @property
    def least(self) -> bool:
        return self.figure in (LENGTH, SPEED)


ASKED = (
    Asked("SmolLM2, head alone", 2.2, SMOL, "block", LENGTH),
    Asked("SmolLM2, head alone, five tokens every round", 2.2, SMOL_XEON, "block:k=5", LENGTH),
    Asked("SmolLM2, `auto`", 2.6, SMOL, "auto", LENGTH),
    Asked("SmolLM2, `auto`", 2.6, SMOL_XEON, "auto", LENGTH),
    Asked("SmolLM2, its sources, five tokens every round", 2.6, SMOL, f"{ALL}+block:k=5", LENGTH),
    Asked("SmolLM2, `auto`", 1.8, SMOL, "auto", SPEED),
    Asked("SmolLM2, `auto`", 1.8, SMOL_XEON, "auto", SPEED),
    Asked("SmolLM2, `auto`", 0.15, SMOL, "auto", DRAFTING),
    Asked("SmolLM2, `auto`", 0.15, SMOL_XEON, "auto", DRAFTING),
    Asked("1.5B, head alone", 2.4, HEADS, HEAD, LENGTH),
    Asked("1.5B, head in `auto`", 3.0, QWEN, f"auto+{HEAD}", LENGTH),
    Asked("1.5B, head in `auto`", 3.0, XEON, f"auto+{HEAD}", LENGTH),
    Asked("1.5B, head in `auto`", 2.2, QWEN, f"auto+{HEAD}", SPEED),
    Asked("1.5B, head in `auto`", 2.2, XEON, f"auto+{HEAD}", SPEED),
    Asked("1.5B, head in `auto`", 0.15, QWEN, f"auto+{HEAD}", DRAFTING),
    Asked("1.5B, head in `auto`", 0.15, XEON, f"auto+{HEAD}", DRAFTING),
    Asked("1.5B, head in `auto`", 0.04, QWEN, f"auto+{HEAD}", STEP),
    Asked("1.5B, head in `auto`", 0.04, XEON, f"auto+{HEAD}", STEP),
)
# Beside the best that llama.cpp does: the comparison, the arm of ours, how many times as fast.
BESIDE = (
    ("1.5B", "qwen2.5-coder-1.5b", f"foredraft auto+{HEAD}", 2.5),
    ("1.5B", "qwen2.5-coder-1.5b-xeon", f"foredraft auto+{HEAD}", 2.5),
    ("SmolLM2", "smollm2-llama.cpp", "foredraft auto", 1.8),
)
TIMED = (
    (QWEN, f"auto+{HEAD}"),
    (QWEN, "auto"),
    (XEON, f"auto+{HEAD}"),
    (XEON, "auto"),
    (SMOL, "auto"),
    (SMOL, f"{ALL}+block:k=5"),
    (SMOL, "block"),
    (SMOL, "block:k=3"),
    (SMOL, "recycling:k=4"),
    (SMOL_XEON, "auto"),
    (SMOL_XEON, ALL),
    (SMOL_XEON, "block:k=5"),
)


def tables(runs: Mapping[str, Events], peers: Mapping[str, Sequence[Record]]) -> dict[str, str]:
    """The tables by their names on the page; none where a run that they are made of is not there."""
    used = {asked.run for asked in ASKED} | {run for run, _ in TIMED}
    if not used <= runs.keys() or not {name for _, name, _, _ in BESIDE} <= peers.keys():
        return {}
    return {"reached": reached(runs, peers), "drafting": drafting(runs)}


def reached(runs: Mapping[str, Events], peers: Mapping[str, Sequence[Record]]) -> str:
    """A row a demand and arm: what was asked for, what came, and of what."""
    lines = head(["", "of", "asked for", "reached", "", "arm", "from", "prompts a task"])
    for asked in ASKED:
        run = runs[asked.run]
        found = figure(run, asked)
        met = found >= asked.wanted if asked.least else found <= asked.wanted
        lines.append(
            line(
                [
                    asked.what,
                    asked.figure,
                    f"{'≥' if asked.least else '≤'} {asked.wanted:g}",
                    f"{found:.2f}" if asked.least else f"{found:.3f}",
                    "met" if met else "**missed**",
                    f"`{short(asked.arm)}`",
                    f"`{asked.run}`",
                    str(_prompts(run)),
                ]
            )
        )
    return "\n".join([*lines, *(_beside(peers[name], *rest) for name, rest in _comparisons())]) + "\n"


def figure(run: Events, asked: Asked) -> float:
    figures = Figures(run.cases, asked.arm)
    if asked.figure == LENGTH:
        return figures.stats.mean_acceptance_length
    if asked.figure == SPEED:
        return speedup(figures.pairs)
    plain = parts(Figures(run.cases, PLAIN).trials)
    if asked.figure == DRAFTING:
        return ratios(parts(figures.trials), plain)["drafting / t(1)"]
    return step(figures.trials, SOURCE, plain)["look / t(1)"]


def drafting(runs: Mapping[str, Events]) -> str:
    """A row an arm: what drafting takes a round, and what a look of the head does, by a plain pass."""
    heads = ["run", "", "t(1)", "sources", "drafting", "with prompt and beside", "head drafted", "a pass of it"]
    lines = head([*heads, "its depth", "a level"])
    for name, arm in TIMED:
        run = runs[name]
        trials, plain = Figures(run.cases, arm).trials, parts(Figures(run.cases, PLAIN).trials)
        taken = ratios(parts(trials), plain)
        cells = [f"`{name}`", f"`{short(arm)}`", f"{plain['passes'] / 1e3:.2f} ms"]
        cells += [f"{share:.3f}" for share in taken.values()]
        if any(depth_of(one, SOURCE) for trial in trials for one in trial.steps):
            look = step(trials, SOURCE, plain)
            cells += [f"{look['drafted']:.0%}", f"{look['look / t(1)']:.3f}", f"{look['depth']:.1f}"]
            cells.append(f"{look['level / t(1)']:.3f}")
        else:
            cells += ["–"] * 4
        lines.append(line(cells))
    return "\n".join(lines) + "\n"


def _comparisons() -> list[tuple[str, tuple[str, str, str, float]]]:
    return [(name, (model, name, ours, wanted)) for model, name, ours, wanted in BESIDE]


def _beside(records: Sequence[Record], model: str, name: str, ours: str, wanted: float) -> str:
    """The same row of a comparison: by the fastest that llama.cpp came to on the same prompts."""
    arms = by_arm(records)
    theirs = [arm for arm in arms if arm.startswith("llama.cpp ")]
    found, best = min((speedup(compared(arms, ours, arm)), arm) for arm in theirs)
    tasks = [one["task"] for one in arms[ours].values()]
    return line(
        [
            f"{model}, beside {best}",
            "how many times as fast",
            f"≥ {wanted:g}",
            f"{found:.2f}",
            "met" if found >= wanted else "**missed**",
            f"`{short(ours.removeprefix('foredraft '))}`",
            f"`peers-{name}`",
            str(len(tasks) // len(set(tasks))),
        ]
    )


def _prompts(run: Events) -> int:
    """Prompts a task, of tasks that all have as many."""
    prompts = {case.prompt: case.task for case in run.cases}
    return len(prompts) // len(set(prompts.values()))
