"""What commands print about a generation: the status line, the explanation, the JSON of its statistics."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from foredraft.engine.llm import LLM
from foredraft.engine.outputs import Completion
from foredraft.engine.stats import Stats, by_source_json, forecast_json
from foredraft.policy.adaptive import Adaptive
from foredraft.policy.why import reasons

LOSSY = "LOSSY: the verifier may have changed what the model says"


def status_line(completion: Completion, drafter: str) -> str:
    """One line: how much, how fast, how much of it was drafted."""
    stats = completion.stats
    parts = [f"{stats.tokens} tokens", f"{completion.tok_s:.1f} tok/s", drafter]
    if stats.drafted:
        parts.append(f"mean acceptance length {stats.mean_acceptance_length:.2f}")
        parts.append(f"{stats.accepted} of {stats.drafted} drafts accepted")
    if not stats.lossless:
        parts.append(LOSSY)
    parts.append(f"seed {completion.seed}")
    if stats.faults:
        parts.append(f"the drafter failed {len(stats.faults)} times ({stats.faults[0]})")
    return ", ".join(parts)


def explanation(completion: Completion) -> str:
    """Where tokens came from and where time went; what the policy expected, what came, and where the difference is."""
    stats = completion.stats
    total = stats.seconds.total or 1.0
    lines = [
        f"passes: {stats.passes} for {stats.tokens} tokens (mean acceptance length {stats.mean_acceptance_length:.2f})",
        f"drafts: {stats.accepted} of {stats.drafted} accepted ({stats.draft_acceptance_rate:.0%})",
    ]
    if stats.by_depth:
        rates = ", ".join(f"{rate:.2f}" for rate in stats.acceptance_by_position)
        lines.append(f"accepted at depth 1, 2, …: {rates}")
    for source, found in by_source_json(stats).items():
        accepted = f"{found['accepted']} of {found['drafted']} accepted"
        lines.append(f"from {source}: {accepted}, {found['seconds'] / total:.1%} of the time")
    spent = {part: getattr(stats.seconds, part) for part in ("draft", "verify", "sample", "other")}
    lines.append("time: " + ", ".join(f"{part} {seconds / total:.1%}" for part, seconds in spent.items()))
    lines += outlook(forecast_json(stats.forecast))
    return "\n".join(lines)


def outlook(forecast: Mapping[str, float] | None) -> list[str]:
    """What was expected of a round, what came, and where the difference went; nothing where nothing was expected."""
    if forecast is None:
        return []
    tokens = forecast["tokens"] - forecast["expected_tokens"]
    beyond = forecast["beyond_seconds"] * 1e3
    slower = (forecast["seconds"] - forecast["expected_seconds"]) * 1e3 - beyond
    return [
        f"expected of a round: {_round(forecast, 'expected_')}",
        f"came of a round: {_round(forecast, '')} (of {forecast['rounds']} rounds)",
        f"difference: {tokens:+.2f} tokens, {slower:+.2f} ms drafting and the pass, {beyond:+.2f} ms sampling etc.",
    ]


def judged(llm: LLM, completion: Completion) -> list[str]:
    """Why each source was asked, or was not; nothing of a policy that asks without judging."""
    if not isinstance(llm.policy, Adaptive):
        return []
    return [f"{source} {why}" for source, why in reasons(llm.policy, llm.tenant, completion.tok_s).items()]


def _round(forecast: Mapping[str, float], prefix: str) -> str:
    tokens, seconds, rate = (forecast[f"{prefix}{name}"] for name in ("tokens", "seconds", "tok_s"))
    return f"{tokens:.2f} tokens in {seconds * 1e3:.2f} ms, {rate:.1f} tok/s"


def stats_json(completion: Completion, drafter: str) -> dict[str, Any]:
    """Statistics under the names vLLM gave them."""
    stats: Stats = completion.stats
    return {
        "drafter": drafter,
        "lossless": stats.lossless,
        "tok_s": completion.tok_s,
        "num_tokens": stats.tokens,
        "num_passes": stats.passes,
        "num_drafts": stats.drafts,
        "num_draft_tokens": stats.drafted,
        "num_accepted_tokens": stats.accepted,
        "mean_acceptance_length": stats.mean_acceptance_length,
        "draft_acceptance_rate": stats.draft_acceptance_rate,
        "acceptance_by_position": list(stats.acceptance_by_position),
        "by_source": by_source_json(stats),
        "forecast": forecast_json(stats.forecast),
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
