"""The table of methods in docs/measured.md: every trained head's acceptance, length, cost and speed-up, in one place.

All of it is of the raw steps of one run, in which every method drafts the same number of tokens every round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cells import head, line
from deciding import parts, ratios

from foredraft.bench.entrants import PLAIN
from foredraft.bench.events import Events
from foredraft.bench.record import Case, Json
from foredraft.bench.report import run_json
from foredraft.engine.stats import stats

RUN = "smollm2-heads-5"
HEADS = (
    "",
    "speed-up (95%)",
    "tokens a round",
    "accepted at position 1, 2, …",
    "of all that drafted",
    "depth",
    "rows a round",
    "sources / t(1)",
    "drafting / t(1)",
    "identical",
)


def tables(runs: Mapping[str, Events]) -> dict[str, str]:
    """The table by its name on the page; none where its run is not there."""
    return {"methods": table(runs[RUN].cases, runs[RUN].drafters)} if RUN in runs else {}


def table(cases: Sequence[Case], drafters: Sequence[str]) -> str:
    """A row a method, the fastest first."""
    figures = {drafter: run_json(cases, drafter) for drafter in drafters}
    plain = parts([case.trials[PLAIN] for case in cases])
    rows = [
        _row(cases, figures[drafter], plain) for drafter in sorted(drafters, key=lambda one: -figures[one]["speedup"])
    ]
    return (
        "\n".join([*head(HEADS), *rows, "", f"t(1), a pass of plain decoding: {plain['passes'] / 1e3:.2f} ms."]) + "\n"
    )


def _row(cases: Sequence[Case], run: Json, plain: Json) -> str:
    trials = [case.trials[run["drafter"]] for case in cases]
    found = parts(trials)
    taken = ratios(found, plain)
    by_depth = stats(step for trial in trials for step in trial.steps).by_depth
    rounds = by_depth[0][0]  # whose drafts reach the first position: all that drafted anything
    return line(
        [
            f"`{run['drafter']}`",
            f"**{run['speedup']:.2f}**"
            + (" ({:.2f} – {:.2f})".format(*run["speedup_ci"]) if run["speedup_ci"] else ""),
            f"{run['mean_acceptance_length']:.2f}",
            ", ".join(f"{share:.2f}" for share in run["acceptance_by_position"]),
            ", ".join(f"{accepted / rounds:.2f}" for _, accepted in by_depth),
            f"{sum(drafted for drafted, _ in by_depth) / rounds:.1f}",
            f"{found['rows']:.2f}",
            f"{taken['sources / t(1)']:.2f}",
            f"{taken['drafting / t(1)']:.2f}",
            "yes" if run["identical"] else f"no, {run['different_prompts']} differ",
        ]
    )
