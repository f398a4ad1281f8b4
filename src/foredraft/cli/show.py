"""What commands print about a generation: the status line, the explanation, the JSON of its statistics."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from foredraft.engine.outputs import Completion
from foredraft.engine.stats import Stats


def status_line(completion: Completion, drafter: str) -> str:
    """One line: how much, how fast, how much of it was drafted."""
    stats = completion.stats
    parts = [f"{stats.tokens} tokens", f"{completion.tok_s:.1f} tok/s", drafter]
    if stats.drafted:
        parts.append(f"mean acceptance length {stats.mean_acceptance_length:.2f}")
        parts.append(f"{stats.accepted} of {stats.drafted} drafts accepted")
    parts.append(f"seed {completion.seed}")
    if stats.faults:
        parts.append(f"the drafter failed {len(stats.faults)} times ({stats.faults[0]})")
    return ", ".join(parts)


def explanation(completion: Completion) -> str:
    """Where tokens came from and where time went."""
    stats = completion.stats
    total = stats.seconds.total or 1.0
    lines = [
        f"passes: {stats.passes} for {stats.tokens} tokens (mean acceptance length {stats.mean_acceptance_length:.2f})",
        f"drafts: {stats.accepted} of {stats.drafted} accepted ({stats.draft_acceptance_rate:.0%})",
    ]
    if stats.by_depth:
        rates = ", ".join(f"{rate:.2f}" for rate in stats.acceptance_by_position)
        lines.append(f"accepted at depth 1, 2, …: {rates}")
    lines += [f"from {source}: {taken} of {drafted} accepted" for source, drafted, taken in stats.by_source]
    spent = {part: getattr(stats.seconds, part) for part in ("draft", "verify", "sample", "other")}
    lines.append("time: " + ", ".join(f"{part} {seconds / total:.1%}" for part, seconds in spent.items()))
    return "\n".join(lines)


def stats_json(completion: Completion, drafter: str) -> dict[str, Any]:
    """Statistics under the names vLLM gave them."""
    stats: Stats = completion.stats
    return {
        "drafter": drafter,
        "tok_s": completion.tok_s,
        "num_tokens": stats.tokens,
        "num_passes": stats.passes,
        "num_drafts": stats.drafts,
        "num_draft_tokens": stats.drafted,
        "num_accepted_tokens": stats.accepted,
        "mean_acceptance_length": stats.mean_acceptance_length,
        "draft_acceptance_rate": stats.draft_acceptance_rate,
        "acceptance_by_position": list(stats.acceptance_by_position),
        "by_source": {source: {"drafted": drafted, "accepted": taken} for source, drafted, taken in stats.by_source},
        "seconds": {part: getattr(stats.seconds, part) for part in ("draft", "verify", "sample", "other")},
        "faults": list(stats.faults),
    }


@contextmanager
def loading(name: str) -> Iterator[Callable[[int, int], None]]:
    """A callback for downloads that shows a bar on a terminal, and nothing where nothing is fetched."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    columns = ("[progress.description]{task.description}", BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(f"fetching {name}", total=None, visible=False)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or None, visible=True)

        yield advance
