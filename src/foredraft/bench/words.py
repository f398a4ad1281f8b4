"""A result in words: what a drafter gains, where it loses, and what these prompts cannot tell."""

from __future__ import annotations

from collections.abc import Sequence

from foredraft.bench.entrants import NONE
from foredraft.bench.record import Json
from foredraft.bench.report import PRECISE
from foredraft.bench.sweep import ADVICE, NEAR
from foredraft.draft.family import LENGTH

COUNTED = 10_000  # more prompts than that are not told one by one
SPARSE = 0.95  # a drafter with drafts in fewer of its rounds is not what the formula has in mind


def summary(result: Json) -> list[str]:
    """A paragraph for each drafter, then what concerns all of them."""
    swept = {point["drafter"] for one in result.get("sweep", {}).get("drafters", ()) for point in one["points"]}
    lines = [
        _noise(run) if run["drafter"] == NONE else _run(run, _why(result))
        for run in result["runs"]
        if run["drafter"] not in swept or run["faults"] or not run["identical"] or run["drafter"] == NONE
    ]
    if "sweep" in result:
        lines += [line for one in result["sweep"]["drafters"] for line in _sweep(one, result["sweep"]["option"])]
    return lines + _more(result)


def _more(result: Json) -> list[str]:
    """Whose interval is too wide, and how many more prompts would make it narrow enough."""
    wide = [run for run in result["runs"] if run["more_prompts"] != 0]
    if not wide:
        return []
    counts = {run["drafter"]: run["more_prompts"] for run in wide if run["more_prompts"] is not None}
    wanted = [f"{drafter} {_many(count)}" for drafter, count in counts.items()] or ["at least one"]
    return [
        f"More prompts are needed for intervals within {PRECISE:.0%}: beside these {result['prompts']}, {_and(wanted)}."
    ]


def _many(count: int) -> str:
    """So few prompts say nothing of a number that nobody would measure."""
    return f"about {count}" if count <= COUNTED else f"more than {COUNTED}"


def promises_identity(result: Json) -> bool:
    """Whether tokens may not differ: rows do not depend on their company, and the verifier says the target's own."""
    return bool(result["row_invariant"]) and ("verifier" not in result or result["temperature"] == 0)


def _why(result: Json) -> str:
    """What tokens that differ mean."""
    if promises_identity(result):
        return "which is a bug"
    if result["row_invariant"]:
        return f"verifier {result['verifier']} promises the law of the text, not its tokens"
    return "this engine rounds a row differently in another company"


def _run(run: Json, why: str) -> str:
    clauses = [f"{run['drafter']} is {run['speedup']:.2f}x as fast as plain decoding ({_interval(run)})"]
    clauses += _looping(run)
    clauses.append(_tasks(run))
    sentences = ["; ".join(clauses) + ".", _identity(run, why)]
    if not run["lossless"]:
        sentences.append("Its verifier is LOSSY: it may have changed what the model says.")
    if run["faults"]:
        times = "once" if run["faults"] == 1 else f"{run['faults']} times"
        sentences.append(f"It failed {times} ({run['first_fault']}): this result does not count.")
    return " ".join(sentences)


def _noise(run: Json) -> str:
    return f"Plain decoding against itself: {run['speedup']:.2f}x ({_interval(run)}), which is this run's noise."


def _sweep(found: Json, option: str) -> list[str]:
    """What a swept option brings one drafter, and how near theory comes."""
    best = found["best"]
    lines = [f"{found['drafter']} is fastest at {option}={best['value']} as measured ({best['speedup']:.2f}x)."]
    if option != LENGTH[0]:
        return lines
    if found["acceptance"] is None:
        lines[0] += " The formula says nothing here: it is of chains."
    else:
        formula, gaps = found["best_by_formula"], found["best_with_gaps"]
        lines[0] += (
            f" By formula it is at {formula['value']} ({formula['speedup']:.2f}x), for drafts accepted with chance "
            f"{found['acceptance']:.2f} at {found['cost']:.3f} plain passes a token"
        )
        sparse = found["share"] < SPARSE
        lines[0] += (
            f", if it drafted in every round; as it drafts in {found['share']:.0%} of them, at {gaps['value']} "
            f"({gaps['speedup']:.2f}x)."
            if sparse
            else "."
        )
    return [*lines, *_advice(found["by_task"])]


def _advice(by_task: Json) -> list[str]:
    """Where the usual advice of a few drafts holds, and where something else is better."""
    judged = {task: found for task, found in by_task.items() if found["advised"] is not None}
    near = [
        task for task, found in judged.items() if found["advised"]["speedup"] >= (1 - NEAR) * found["best"]["speedup"]
    ]
    far = [
        f"{task} ({found['best']['value']}: {found['best']['speedup']:.2f}x against {found['advised']['speedup']:.2f}x)"
        for task, found in judged.items()
        if task not in near
    ]
    advice = f"The usual advice of {ADVICE[0]} to {ADVICE[-1]} drafts"
    lines = [f"{advice} is within {NEAR:.0%} of the best on {_and(near)}."] if near else []
    return lines + ([f"{advice if not near else 'It'} is not best on {_and(far)}."] if far else [])


def _interval(run: Json) -> str:
    if run["speedup_ci"] is None:
        return "one prompt, so no interval"
    low, high = run["speedup_ci"]
    unsure = ", which may be no difference at all" if run["drafter"] != NONE and low <= 1 <= high else ""
    return f"95% interval {low:.2f} – {high:.2f}{unsure}"


def _looping(run: Json) -> list[str]:
    share, without = run["looping_share"], run["without_looping"]
    if not share:
        return []
    if without is None:
        return ["every output loops, which flatters drafters that look things up"]
    return [f"{without['speedup']:.2f}x without the {share:.0%} of outputs that loop"]


def _tasks(run: Json) -> str:
    """The losing tasks by name, worst first."""
    by_task = sorted(run["by_task"].items(), key=lambda item: item[1]["speedup"])
    losing = [f"{task} ({found['speedup']:.2f}x)" for task, found in by_task if found["speedup"] < 1]
    if losing:
        return f"it loses on {_and(losing)}"
    worst, found = by_task[0]
    return f"it loses on no task, {worst} gains least ({found['speedup']:.2f}x)"


def _identity(run: Json, why: str) -> str:
    if run["identical"]:
        cases = run["identity_cases"]
        strength = (
            "no prompt had drafts both accepted and rejected" if not cases else f"{cases} of them put it to the test"
        )
        return f"The tokens are identical on all prompts ({strength})."
    where = f"token {run['first_difference']} of prompt {run['first_different_prompt']!r}"
    return f"The tokens differ on {run['different_prompts']} prompts, first at {where}: {why}."


def _and(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
