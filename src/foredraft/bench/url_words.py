"""What a server's figures say, in words and as rows of a table: for the terminal and for the page."""

from __future__ import annotations

from foredraft.bench.record import Json
from foredraft.bench.url_record import KINDS

COLUMNS = (
    "at a time",
    "tok/s",
    "each",
    "first ms",
    "p95",
    "gap ms",
    "p95",
    "at once",
    "length",
    "accepted",
    "failed",
)


def words(result: Json, *, messages: bool = True) -> list[str]:
    """What the table does not say. messages: with the server's own, which may name what is nobody's business."""
    found = []
    runs = result["runs"]
    if any(run["tokens_counted_by"] == "pieces" and run["completed"] for run in runs):
        found.append("The server does not count its tokens: every piece of text is taken for one.")
    sources = {run["speculation_from"] for run in runs}
    if sources == {None}:
        found.append("The server says nothing of speculation.")
    elif "metrics" in sources:
        found.append("Length and acceptance are from the server's counters, which count other users' requests too.")
    for run in runs:
        level = f"With {run['concurrency']} at a time"
        if run["failures"]:
            kinds = ", ".join(f"{count} {KINDS[kind]}" for kind, count in run["failures"].items())
            first = f" The first: {run['first_failure']}." if messages else ""
            found.append(f"{level} {sum(run['failures'].values())} failed: {kinds}.{first}")
        if "stalled" in run["failures"]:
            above = f"--timeout above {result['timeout']:g} s" if "timeout" in result else "a longer --timeout"
            found.append(f"With {above} they are waited for longer.")
        if run["not_asked"]:
            after = ", after failures" if run["failures"] else ""
            found.append(f"{level} {run['not_asked']} were not asked{after}: the same command goes on.")
        if run["different_prompts"] and result["temperature"] == 0:
            first = runs[0]["concurrency"]
            found.append(f"{level} {run['different_prompts']} answers differ from those with {first}.")
        if run["looping_share"]:
            found.append(f"{level} {run['looping_share']:.0%} of the answers loop; without them {_fresh(run)}.")
    return found


def _fresh(run: Json) -> str:
    without = run["without_looping"]
    return f"{without['user_tok_s']:.1f} tok/s each" if without else "there are none"


def row(run: Json) -> list[str]:
    """A concurrency's figures, in the order of COLUMNS."""
    rate, failed = run["draft_acceptance_rate"], sum(run["failures"].values())
    return [
        str(run["concurrency"]),
        number(run["tok_s"]),
        number(run["user_tok_s"]),
        *(number(run["first_ms"] and run["first_ms"][which]) for which in ("median", "p95")),
        *(number(run["gap_ms"] and run["gap_ms"][which]) for which in ("median", "p95")),
        number(run["tokens_per_burst"], 2),
        number(run["mean_acceptance_length"], 2),
        f"{rate:.0%}" if rate is not None else "–",
        f"{failed} of {run['completed'] + failed}" if failed else "–",
    ]


def number(value: float | None, digits: int = 1) -> str:
    """A figure, or a dash where there is none."""
    return f"{value:.{digits}f}" if value is not None else "–"
