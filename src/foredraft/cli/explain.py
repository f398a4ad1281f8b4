"""`foredraft cost --explain`: why speculation is as fast as it is here, for somebody who asks why it is not faster."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from foredraft.bench.entrants import admit
from foredraft.bench.limits import ACCEPTANCE, DRAFTING, GROWTH, REST, Limits, limits_of
from foredraft.bench.prompts import Prompt
from foredraft.bench.record import Case, Json
from foredraft.bench.report import run_json
from foredraft.bench.roofline import LONGEST, RATES, Best, Roofline, best_length, factors
from foredraft.bench.run import prepare, run_cases
from foredraft.bench.suites import in_turn, load_suite
from foredraft.bench.sweep import missed
from foredraft.cli.progress import counting
from foredraft.core.errors import UsageError
from foredraft.core.params import SamplingParams
from foredraft.engine.backends import Loaded
from foredraft.engine.measure import Cost, measure
from foredraft.models.facts import facts

WIDE, WIDE_PASSES = 128, 3  # rows, and passes of them, that show what a row's arithmetic takes
SEED = 0
MEANS = {
    DRAFTING: "drafting took no time",
    GROWTH: "passes of several rows took what a pass of one does",
    ACCEPTANCE: "every draft were right, to the end of the longest branch,",
    REST: "sampling and the rest took what they do in plain rounds",
}
ADVICE = {
    DRAFTING: (
        "Drafting limits most. A drafter that needs no second model (suffix, lookup) drafts for next to nothing; a "
        "draft model costs less with quantize=int4,head=16384."
    ),
    GROWTH: "Wider passes limit most: this machine computes too slowly for so many drafts. Draft fewer, or none.",
    ACCEPTANCE: (
        "Wrong drafts limit most. Another drafter may know this text better (docs/decision_guide.md says which is for "
        "what); where nothing can be guessed, none can."
    ),
    REST: "Sampling and the rest limit most, which is this program's own time: please report it with this page.",
}


@dataclass(frozen=True)
class Trying:
    """The short run that shows what limits: a drafter, and the first prompts of a suite, its tasks in turn."""

    drafter: str
    suite: str
    prompts: int
    max_tokens: int

    def chosen(self) -> tuple[Prompt, ...]:
        """Raises UsageError for numbers below 1 and for a suite that cannot be read."""
        if self.prompts < 1 or self.max_tokens < 1:
            raise UsageError(f"--prompts and --max-tokens must be 1 or more, not {self.prompts} and {self.max_tokens}")
        return tuple(in_turn(load_suite(self.suite))[: self.prompts])


@dataclass(frozen=True)
class Explanation:
    """All that the page says. c: drafting a token, in plain passes. acceptance: of drafts that were judged."""

    roofline: Roofline
    trying: Trying
    limits: Limits
    run: Json
    plain_tok_s: float
    c: float
    acceptance: float

    @property
    def passes(self) -> tuple[float, ...]:
        """v(0), v(1), … in plain passes, for drafts that are no longer than the widest pass that was measured."""
        cost = self.roofline.cost
        return factors(cost, min(LONGEST, cost.curve.rows[-1] - 1))

    @property
    def theory(self) -> list[tuple[Best, Best]]:
        """For every rate the best length at this curve and this drafter's price, and with passes that are flat."""
        curve = self.passes
        flat = (0.0, *[1.0] * (len(curve) - 1))
        return [(best_length(rate, self.c, curve), best_length(rate, self.c, flat)) for rate in RATES]

    @property
    def here(self) -> Best:
        """The best length at the acceptance that was measured."""
        return best_length(self.acceptance, self.c, self.passes)


def explain(loaded: Loaded, cost: Cost, trying: Trying) -> Explanation:
    """Measures what a row's arithmetic takes, and runs the drafter beside plain decoding."""
    roofline = _roofline(loaded, cost)
    cases = _tried(loaded, trying)
    limits, arm = limits_of(cases, trying.drafter), trying.drafter
    steps = [step for case in cases for step in case.trials[arm].steps]
    accepted, misses = sum(len(step.path) for step in steps), sum(map(missed, steps))
    plain = [case.trials["plain"] for case in cases]
    return Explanation(
        roofline,
        trying,
        limits,
        run_json(cases, arm),
        sum(len(trial.tokens) for trial in plain) / math.fsum(trial.seconds for trial in plain),
        limits.draft / limits.plain_verify / limits.drafted if limits.drafted else 0.0,
        accepted / (accepted + misses) if accepted else 0.0,
    )


def _roofline(loaded: Loaded, cost: Cost) -> Roofline:
    room = loaded.model.about.context - cost.curve.context
    wide = min(WIDE, room)
    curve = measure(loaded.model, [wide], context=cost.curve.context, passes=WIDE_PASSES, shapes=("chain",))
    return Roofline(cost, curve.seconds(wide) / wide, wide, facts(loaded.source).weights_per_token)


def _tried(loaded: Loaded, trying: Trying) -> Sequence[Case]:
    entrants, _ = admit(loaded, [trying.drafter])
    try:
        tasks = prepare(entrants[0].llm, trying.chosen(), SEED, False, trying.max_tokens)
        with counting("prompts x arms") as each:
            return run_cases(entrants, tasks, SamplingParams(max_tokens=trying.max_tokens), each=each)
    finally:
        for entrant in entrants:
            entrant.close()


# --- as JSON --------------------------------------------------------------------------------------------------------


def explanation_json(found: Explanation) -> Json:
    """Everything on the page, under names."""
    roof, limits = found.roofline, found.limits
    return {
        "roofline": {
            "weights": roof.weights,
            "floor_ms": roof.cost.floor * 1e3,
            "row_ms": roof.row * 1e3,
            "wide_rows": roof.wide,
            "gmac_s": roof.gmac_s,
            "knee": roof.knee,
            "measured_knee": roof.measured_knee,
            "predicted": [{"rows": rows, "ms": roof.predicted(rows) * 1e3} for rows in roof.cost.curve.rows],
        },
        "theory": [
            {**_best_json(best), "flat": {"length": flat.length, "speedup": flat.speedup}}
            for best, flat in found.theory
        ],
        "run": {
            "drafter": found.trying.drafter,
            "suite": found.trying.suite,
            "prompts": found.trying.prompts,
            "plain_tok_s": found.plain_tok_s,
            **{key: found.run[key] for key in ("tok_s", "speedup", "mean_acceptance_length", "draft_acceptance_rate")},
            **{key: found.run[key] for key in ("identical", "drafted", "accepted", "time")},
            "acceptance": found.acceptance,
            "drafting_cost": found.c,
            "best_here": _best_json(found.here),
        },
        "limits": {
            "tokens_a_round": limits.tokens,
            "pass": limits.growth,
            "drafting": limits.draft,
            "rest": limits.rest,
            "after_passes": limits.after_passes,
            "after_drafting": limits.after_drafting,
            "speedup": limits.speedup,
            "without": limits.without,
            "main": limits.main,
            "rows_a_token": limits.arithmetic,
        },
    }


def _best_json(best: Best) -> Json:
    return {
        "acceptance": best.acceptance,
        "length": best.length,
        "tokens": best.tokens,
        "speedup": best.speedup,
    }


# --- as text --------------------------------------------------------------------------------------------------------


def explanation_text(found: Explanation) -> list[str]:
    """The page, line by line."""
    return [*_roofline_text(found.roofline), "", *_theory_text(found), "", *_limits_text(found)]


def _roofline_text(roof: Roofline) -> list[str]:
    cost, knee = roof.cost, roof.measured_knee
    bends = f"the measured curve bends at {knee:.1f}" if knee is not None else "the measured curve does not bend yet"
    return [
        "THE BOUND",
        f"Every pass reads {cost.weight_bytes / 1e6:.1f} MB of weights, which takes {cost.floor * 1e3:.2f} ms at "
        f"{cost.read_gb_s:.1f} GB/s. Every row of it multiplies",
        f"{roof.weights / 1e6:.1f} million of them, which takes {roof.row * 1e3:.2f} ms at {roof.gmac_s:.0f} billion "
        f"multiply-adds a second (passes of {roof.wide} rows).",
        f"So arithmetic takes as long as reading at {roof.knee:.1f} rows (the knee); {bends}.",
        "Up to the knee drafts are checked while memory is waited for; beyond it each costs its arithmetic.",
    ]


def _theory_text(found: Explanation) -> list[str]:
    lines = [
        "WHAT THEORY SAYS",
        "A chain of k drafts, each right with chance a, gives (1 - a^(k+1)) / (1 - a) tokens a round. With the passes "
        f"measured here and drafting at {found.c:.3f} plain passes a token:",
        "",
        "  a   best k   tokens a round   speed-up   were passes flat",
    ]
    for best, flat in found.theory:
        lines.append(
            f"{best.acceptance:3.1f} {best.length:8} {best.tokens:16.2f} {best.speedup:9.2f}x   "
            f"{flat.speedup:.2f}x at k = {flat.length}"
        )
    return lines


def slower(speedup: float, interval: tuple[float, float] | None) -> str:
    """What is to be said of a speed-up below 1: no more than noise where the interval of the tasks' mean holds 1."""
    if speedup >= 1:
        return ""
    noise = interval is not None and interval[0] <= 1 <= interval[1]
    return ", which these texts do not tell from plain decoding" if noise else ": SLOWER than plain decoding"


def _limits_text(found: Explanation) -> list[str]:
    limits, trying, run = found.limits, found.trying, found.run
    lost = slower(limits.speedup, run["speedup_ci"])
    many = f"{trying.prompts} prompt{'s' if trying.prompts > 1 else ''} of suite {trying.suite}"
    lines = [
        f"WHAT LIMITS {trying.drafter} HERE",
        f"{many}, at most {trying.max_tokens} tokens each: plain {found.plain_tok_s:.1f} tok/s, with drafts "
        f"{run['tok_s']:.1f} tok/s, {limits.speedup:.2f} times{lost}.",
    ]
    if not limits.drafted:
        return [*lines, "Nothing was drafted: these texts gave it nothing to go by, or the policy held it not to pay."]
    without = limits.without
    return [
        *lines,
        f"A round gives {limits.tokens:.2f} tokens: {limits.tokens:.2f}x, if it cost what a plain one does. But",
        f"- a pass of {limits.rows:.1f} rows takes {limits.growth:.2f} plain ones: {limits.after_passes:.2f}x is left;",
        f"- drafting takes {limits.draft:.1%} of a plain round: {limits.after_drafting:.2f}x is left;",
        f"- the rest takes {limits.rest:.1%}, in plain rounds {1 - limits.plain_verify:.1%}: {limits.speedup:.2f}x.",
        *(f"If {meaning} it would be {without[limit]:.2f}x." for limit, meaning in MEANS.items()),
        ADVICE[limits.main],
        f"Of {limits.drafted:.1f} drafts a round {limits.tokens - 1:.1f} stand. Of those that are judged "
        f"{found.acceptance:.0%} are right: for that the best chain is {found.here.length} long here, "
        f"{found.here.speedup:.2f}x.",
        f"The price in arithmetic: {limits.arithmetic:.2f} rows for each token, where plain decoding has one.",
    ]
