"""A sweep over an option of drafters: what each value brings, beside what theory says of draft lengths.

Theory is Leviathan et al. (2211.17192, theorem 3.8): a chain of g drafts, each accepted with chance a when those before
it were, emits E(g) = (1 - a^(g+1)) / (1 - a) tokens a round. With c for drafting a token and v(n) for a pass of n rows,
both in plain passes, decoding is S(g) = E(g) / (g c + v(g + 1)) times as fast; the paper has v = 1 throughout.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import median

from foredraft.bench.entrants import NONE, PLAIN, Variant, with_option
from foredraft.bench.record import Case, Json
from foredraft.bench.report import Figures
from foredraft.bench.statistics import interval, speedup
from foredraft.core.errors import UsageError
from foredraft.core.events import Step
from foredraft.core.protocols import Costs
from foredraft.core.tree import ROOT
from foredraft.draft import line_up
from foredraft.draft.family import LENGTH, option_fields
from foredraft.policy.cost import pass_seconds

MOST = 64  # values
FEWEST = 3  # passes of a count of rows, to say what it costs
ADVICE = (3, 4, 5)  # what the literature and the defaults of other engines recommend
NEAR = 0.03  # what counts as good as the best
NUMBER = re.compile(r"-?\d{1,9}(\.\d{1,9})?", re.ASCII)
FORM = "NAME=A..B, NAME=A..B..STEP or NAME=a,b,c, as in num_speculative_tokens=0..12"


@dataclass(frozen=True)
class Sweep:
    """An option and the values to try, as the command line writes them."""

    option: str
    values: tuple[str, ...]

    @property
    def of_lengths(self) -> bool:
        """Whether it is about how many tokens are drafted a round, which every drafter takes."""
        return self.option == LENGTH[0]


def parse_sweep(text: str) -> Sweep:
    """The sweep of `NAME=A..B`, `NAME=A..B..STEP` or `NAME=a,b,c`. Raises UsageError."""
    option, equals, given = (part.strip() for part in text.partition("="))
    option = LENGTH[0] if option in LENGTH else option.replace("-", "_")
    values = _range(given.split("..")) if ".." in given else [value.strip() for value in given.split(",")]
    if not equals or not option.isidentifier() or not all(values):
        raise UsageError(f"--sweep {text!r} is no sweep: write {FORM}")
    if len(values) > MOST:
        raise UsageError(f"--sweep {text!r} has more than {MOST} values: take a larger step")
    if len(set(values)) < len(values):
        raise UsageError(f"--sweep {text!r} names a value twice: name it once")
    if option == LENGTH[0] and not all(value.isdecimal() for value in values):
        raise UsageError(f"{option} must be whole numbers from 0, not {given}")
    return Sweep(option, tuple(values))


def _range(parts: Sequence[str]) -> list[str]:
    """A … B by STEP, B included where a step meets it, but no more than are needed to be too many. One empty text for
    what is no range.
    """
    if len(parts) not in (2, 3) or not all(NUMBER.fullmatch(part.strip()) for part in parts):
        return [""]
    first, last, step = (*map(Decimal, parts), Decimal(1))[:3]
    if first > last or step <= 0:
        return [""]
    return [f"{(first + step * place).normalize():f}" for place in range(min(MOST, int((last - first) / step)) + 1)]


def expand(drafter: str, sweep: Sweep) -> dict[str, Variant]:
    """value -> who is to take part for it. No drafts at all are plain decoding. Raises UsageError for a drafter that
    lacks the option or says it itself, and for a value that it refuses.
    """
    lineup = line_up(drafter)
    if sweep.of_lengths:
        if lineup.fixed is not None:
            raise UsageError(f"drafter {drafter!r} says itself how much it drafts: leave that to the sweep")
        sizes = {value: int(value) for value in sweep.values}
        return {value: Variant.of(drafter, size) if size else Variant(NONE, NONE) for value, size in sizes.items()}
    able = [sweep.option in (name for name, *_ in option_fields(spec.family)) for spec in lineup.specs]
    if not any(able):
        raise UsageError(f"drafter {drafter!r} has no option {sweep.option!r}: `foredraft drafters` lists those it has")
    found = {}
    for value in sweep.values:
        texts = [
            with_option(spec.text, sweep.option, value) if takes else spec.text
            for spec, takes in zip(lineup.specs, able, strict=True)
        ]
        text = "+".join(texts)
        line_up(text)  # a value may be wrong
        found[value] = Variant(text, text)
    return found


def expand_all(
    drafters: Iterable[str], sweep: Sweep, *, strict: bool = True
) -> tuple[dict[str, dict[str, Variant]], dict[str, str]]:
    """drafter -> value -> who takes part; and, unless `strict`, which drafters cannot be swept and why. `none`, plain
    decoding beside itself, has nothing to sweep.
    """
    swept: dict[str, dict[str, Variant]] = {}
    unable: dict[str, str] = {}
    for drafter in drafters:
        if drafter == NONE:
            continue
        try:
            swept[drafter] = expand(drafter, sweep)
        except UsageError as error:
            if strict:
                raise
            unable[drafter] = str(error)
    if not swept:
        raise UsageError("there is no drafter to sweep over: name one with --drafters")
    return swept, unable


# --- theory ---------------------------------------------------------------------------------------------------------


def expected_tokens(acceptance: float, length: int) -> float:
    """Tokens a round of a chain of `length` drafts: E(g)."""
    return math.fsum(acceptance**depth for depth in range(length + 1))


@dataclass(frozen=True)
class Theory:
    """What S(g) is computed from, all measured: see the head of this file.

    share: of rounds that draft at all; `rows[n]` is v(n), linear between counts that were met and on beyond them.
    """

    acceptance: float
    cost: float
    share: float
    rows: tuple[float, ...]

    def speedup(self, length: int) -> float:
        """S(g): as if every round drafted."""
        return expected_tokens(self.acceptance, length) / (length * self.cost + self.rows[length + 1])

    def with_gaps(self, length: int) -> float:
        """The same where only a share of the rounds drafts, and the others emit one token at the cost of one."""
        tokens = self.share * expected_tokens(self.acceptance, length) + 1 - self.share
        return tokens / (self.share * (length * self.cost + self.rows[length + 1]) + 1 - self.share)


def theory_of(plain: Sequence[Step], drafting: Sequence[Step], longest: int) -> Theory | None:
    """What rounds without drafts and rounds of all lengths from 1 show together, for lengths up to `longest`.

    None where nothing was drafted, or something that is no chain: of trees the formula says nothing.
    """
    drafted = [step for step in drafting if step.drafted]
    if not drafted or any(step.tree.parents != tuple(range(-1, len(step.tree) - 1)) for step in drafted):
        return None
    accepted = sum(len(step.path) for step in drafted)
    misses = sum(missed(step) for step in drafted)
    one = median(step.seconds.verify for step in plain)
    cost = math.fsum(step.seconds.draft for step in drafting) / sum(step.drafted for step in drafted)
    return Theory(
        accepted / (accepted + misses) if accepted else 0.0,
        cost / one,
        len(drafted) / len(drafting),
        _rows(plain, drafting, longest + 1),
    )


def missed(step: Step) -> bool:
    """Whether the round ended because a draft was wrong, and not because there was none left."""
    return bool(step.tree.children(step.path[-1] if step.path else ROOT))


def _rows(plain: Sequence[Step], drafting: Sequence[Step], most: int) -> tuple[float, ...]:
    """v(0) … v(most), from the median pass of each count of rows; those that took in some prompt say nothing."""
    by_rows = {1: [step.seconds.verify for step in plain]}
    for step in drafting:
        if step.drafted and step.rows == 1 + len(step.tree):
            by_rows.setdefault(step.rows, []).append(step.seconds.verify)
    counts = sorted(rows for rows, seconds in by_rows.items() if rows == 1 or len(seconds) >= FEWEST)
    curve = pass_seconds(Costs(tuple(counts), tuple(median(by_rows[rows]) for rows in counts)), most)
    return tuple(seconds / curve[1] for seconds in curve)


# --- the result -----------------------------------------------------------------------------------------------------


def sweep_json(sweep: Sweep, swept: Mapping[str, Mapping[str, Variant]], cases: Sequence[Case]) -> Json:
    """The sweep's part of the result. swept: drafter -> value -> who took part for it. `cases`: at least one."""
    return {
        "option": sweep.option,
        "drafters": [_drafter_json(sweep, drafter, variants, cases) for drafter, variants in swept.items()],
    }


def _drafter_json(sweep: Sweep, drafter: str, variants: Mapping[str, Variant], cases: Sequence[Case]) -> Json:
    theory = _theory(sweep, variants, cases)
    points = [_point_json(value, variant, cases, theory) for value, variant in variants.items()]
    found: Json = {"drafter": drafter, "points": points, "best": _best(points, "speedup")}
    if sweep.of_lengths:
        found |= {
            "acceptance": theory.acceptance if theory else None,
            "cost": theory.cost if theory else None,
            "share": theory.share if theory else None,
            "rows": list(theory.rows) if theory else None,
            "best_by_formula": _best(points, "formula") if theory else None,
            "best_with_gaps": _best(points, "formula_with_gaps") if theory else None,
        }
    return found | {"by_task": _by_task(sweep, variants, cases)}


def _theory(sweep: Sweep, variants: Mapping[str, Variant], cases: Sequence[Case]) -> Theory | None:
    if not sweep.of_lengths:
        return None
    names = [variant.name for variant in variants.values() if variant.length]
    drafting = [step for name in names for step in _steps(cases, name)]
    return theory_of(_steps(cases, PLAIN), drafting, max(map(int, variants)))


def _steps(cases: Iterable[Case], name: str) -> list[Step]:
    return [step for case in cases for step in case.trials[name].steps]


def _point_json(value: str, variant: Variant, cases: Sequence[Case], theory: Theory | None) -> Json:
    figures = Figures(tuple(cases), variant.name)
    stats, found = figures.stats, interval(figures.pairs)
    point: Json = {
        "value": value,
        "drafter": variant.name,
        "speedup": speedup(figures.pairs),
        "speedup_ci": list(found) if found is not None else None,
        "mean_acceptance_length": stats.mean_acceptance_length,
        "draft_acceptance_rate": stats.draft_acceptance_rate,
        "drafting_share": stats.drafts / stats.passes if stats.passes else 0.0,
    }
    if theory is not None:
        point |= {"formula": theory.speedup(int(value)), "formula_with_gaps": theory.with_gaps(int(value))}
    return point


def _best(points: Sequence[Json], key: str) -> Json:
    """The value with the largest figure; the first of equals."""
    best = max(points, key=lambda point: float(point[key]))
    return {"value": best["value"], "speedup": best[key]}


def _by_task(sweep: Sweep, variants: Mapping[str, Variant], cases: Sequence[Case]) -> Json:
    """task -> the best value there, measured and by formula, and the best of those that are usually advised."""
    found: Json = {}
    for task in dict.fromkeys(case.task for case in cases):
        own = [case for case in cases if case.task == task]
        theory = _theory(sweep, variants, own)
        points = [_point_json(value, variant, own, theory) for value, variant in variants.items()]
        advised = [point for point in points if sweep.of_lengths and int(point["value"]) in ADVICE]
        found[task] = {
            "best": _best(points, "speedup"),
            "advised": _best(advised, "speedup") if advised else None,
            "best_by_formula": _best(points, "formula") if theory else None,
            "acceptance": theory.acceptance if theory else None,
        }
    return found
