"""From a server's answers to figures: totals, never means of rates; what failed is counted and has no share in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foredraft.bench.record import Json
from foredraft.bench.statistics import loops
from foredraft.bench.url_counters import Counters, total
from foredraft.bench.url_record import KINDS, Answer, Counted, Failure

BURST = 0.001  # seconds: pieces that come closer together are seen at once


@dataclass(frozen=True)
class Figures:
    """Answers at one concurrency, failed ones among them."""

    answers: tuple[Answer, ...]

    @property
    def good(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.failure is None]

    @property
    def failures(self) -> list[Failure]:
        """Those of earlier sessions too."""
        return [
            failure for answer in self.answers for failure in (*answer.earlier, answer.failure) if failure is not None
        ]

    def speeds(self) -> Json:
        """tok_s: of all users together; user_tok_s: of one; both over whole answers, the prompts' work included."""
        good = self.good
        tokens = sum(answer.count for answer in good)
        later = [answer for answer in good if answer.count > 1 and answer.arrivals]
        decoding = math.fsum(answer.arrivals[-1] - answer.arrivals[0] for answer in later)
        return {
            "tokens": tokens,
            "seconds": busy(good),
            "tok_s": _rate(tokens, busy(good)),
            "user_tok_s": _rate(tokens, math.fsum(answer.seconds for answer in good)),
            "token_ms": _milliseconds(_rate(decoding, sum(answer.count - 1 for answer in later))),
        }


def busy(answers: Sequence[Answer]) -> float:
    """Seconds during which at least one of the answers was under way."""
    spans = sorted((answer.session, answer.begun, answer.begun + answer.seconds) for answer in answers)
    spent, until, session = 0.0, -math.inf, None
    for own, begin, end in spans:
        until = until if own == session else -math.inf
        session = own
        spent += max(0.0, end - max(begin, until))
        until = max(until, end)
    return spent


def bursts(answer: Answer) -> list[float]:
    """When text came that can be seen to come: pieces that follow within a millisecond belong to the one before."""
    found: list[float] = []
    last = -math.inf
    for at in answer.arrivals:
        if at - last > BURST:
            found.append(at)
        last = at
    return found


def report(setup: Json, lines: Sequence[Answer | Counted], prompts: int, cases: int) -> Json:
    """The result as JSON, in the shape of a local benchmark's as far as it applies. prompts, cases: to be asked, with
    each of the concurrencies of `setup`; a prompt has a case for each of its turns."""
    concurrencies: Sequence[int] = setup["concurrency"]
    answers = [line for line in lines if isinstance(line, Answer)]
    levels = {level: Figures(tuple(one for one in answers if one.concurrency == level)) for level in concurrencies}
    first = levels[concurrencies[0]]
    runs = []
    for level, figures in levels.items():
        counted = [line for line in lines if isinstance(line, Counted) and line.concurrency == level]
        runs.append(run_json(level, figures, counted, cases, first))
    return {
        "model": setup["model"],
        "engine": setup["engine"],
        "suite": setup["suite"],
        "prompts": prompts,
        "runs": runs,
        "machine": setup["machine"],
        "version": setup["version"],
        "cases": cases,
        **setup,
    }


def run_json(level: int, figures: Figures, counted: Sequence[Counted], cases: int, first: Figures) -> Json:
    """One concurrency's part of the result. cases: how many requests there are to make; first: the first level's."""
    good, failures = figures.good, figures.failures
    looping = [answer for answer in good if loops(_words(answer.text))]
    fresh = Figures(tuple(answer for answer in good if answer not in looping))
    expected = {answer.case: answer.text for answer in first.good}
    different = [answer.case for answer in good if expected.get(answer.case, answer.text) != answer.text]
    counters, source = speculation(good, counted)
    return {
        "concurrency": level,
        "requests": len(figures.answers),
        "completed": len(good),
        "not_asked": cases - len(figures.answers),
        "failures": {kind: count for kind in KINDS if (count := sum(one.kind == kind for one in failures))},
        "first_failure": f"{failures[0].kind}: {failures[0].message}" if failures else None,
        **figures.speeds(),
        **times(good),
        "tokens_counted_by": "usage" if all(answer.tokens is not None for answer in good) else "pieces",
        "mean_acceptance_length": counters.length if counters else None,
        "draft_acceptance_rate": counters.rate if counters else None,
        "acceptance_by_position": counters.by_position if counters else [],
        "drafted": counters.drafted if counters else None,
        "accepted": counters.accepted if counters else None,
        "speculation_from": source,
        "looping_share": len(looping) / len(good) if good else None,
        "without_looping": fresh.speeds() if looping and fresh.good else None,
        "identical": None if figures is first else not different,
        "different_prompts": None if figures is first else len(different),
        "by_task": _by_task(good),
    }


def times(answers: Sequence[Answer]) -> Json:
    """What somebody who watches the text come sees, in milliseconds."""
    firsts = [answer.first for answer in answers if answer.first is not None]
    seen = [bursts(answer) for answer in answers]
    gaps = [later - earlier for own in seen for earlier, later in zip(own, own[1:])]
    return {
        "first_ms": _quantiles(firsts),
        "gap_ms": _quantiles(gaps),
        "tokens_per_burst": _rate(sum(answer.count for answer in answers if answer.arrivals), sum(map(len, seen))),
    }


def speculation(answers: Sequence[Answer], counted: Sequence[Counted]) -> tuple[Counters | None, str | None]:
    """The server's own figures and where they are from: with the answers, else its counters over all requests."""
    with_answers = [answer.counters for answer in answers if answer.counters is not None]
    if with_answers:
        return total(with_answers), "answers"
    if counted:
        return total(line.counters for line in counted), "metrics"
    return None, None


def _by_task(answers: Sequence[Answer]) -> Json:
    found: Json = {}
    for task in dict.fromkeys(answer.task for answer in answers):
        own = Figures(tuple(answer for answer in answers if answer.task == task))
        counters, _ = speculation(own.good, ())
        found[task] = {
            "requests": len(own.good),
            **own.speeds(),
            "first_ms": times(own.good)["first_ms"],
            "mean_acceptance_length": counters.length if counters else None,
        }
    return found


def _words(text: str) -> list[int]:
    """Words as numbers: a server does not show its tokens."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(word, len(numbers)) for word in text.split()]


def _quantiles(seconds: Sequence[float]) -> Json | None:
    if not seconds:
        return None
    middle, high = np.quantile(np.array(seconds) * 1e3, (0.5, 0.95))
    return {"median": float(middle), "p95": float(high)}


def _rate(amount: float, of: float) -> float | None:
    return amount / of if of else None


def _milliseconds(seconds: float | None) -> float | None:
    return seconds * 1e3 if seconds is not None else None
