"""From the figures of a comparison to its table: pure functions of a file's records.

Speed is all tokens over all seconds, the prompt's work included, of the prompts that every engine answered.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from foredraft.bench.statistics import Pair, interval, loops, speedup, speedups

Record = Mapping[str, Any]
PLAIN_OF_OURS, BEST_OF_OURS = "foredraft none", "foredraft auto"


def by_arm(records: Sequence[Record]) -> dict[str, dict[str, Record]]:
    """arm -> prompt -> its answer: of arms that ran to the end, and the prompts that all of those answered."""
    failed = {record["arm"] for record in records if record["key"][0] == "cannot"}
    found: dict[str, dict[str, Record]] = {}
    for record in records:
        if record["key"][0] == "measure" and record["arm"] not in failed:
            found.setdefault(record["arm"], {})[record["prompt"]] = record
    common = set.intersection(*(set(own) for own in found.values())) if found else set()
    return {arm: {prompt: own[prompt] for prompt in own if prompt in common} for arm, own in found.items()}


def tok_s(answers: Sequence[Record]) -> float:
    return sum(len(one["tokens"]) for one in answers) / math.fsum(one["seconds"] for one in answers)


def compared(arms: Mapping[str, Mapping[str, Record]], ours: str, theirs: str) -> list[Pair]:
    """One pair a prompt; how much faster `ours` is than `theirs`."""
    return [
        Pair(
            one["task"],
            arms[theirs][prompt]["seconds"],
            len(arms[theirs][prompt]["tokens"]),
            one["seconds"],
            len(one["tokens"]),
        )
        for prompt, one in arms[ours].items()
    ]


def agreement(own: Mapping[str, Record], plain: Mapping[str, Record]) -> tuple[int, int | None]:
    """How many answers are the plain ones, token by token, and where the others differ first: the median place."""
    places = []
    for prompt, one in own.items():
        pairs = zip(one["tokens"], plain[prompt]["tokens"])
        if one["tokens"] != plain[prompt]["tokens"]:
            places.append(next((at for at, (a, b) in enumerate(pairs) if a != b), len(one["tokens"])))
    return len(own) - len(places), int(statistics.median(places)) if places else None


def table(header: Record, records: Sequence[Record]) -> str:
    """Markdown: one row an engine and way, and what has to be known to read it."""
    arms = by_arm(records)
    plain = arms.get(PLAIN_OF_OURS, {})
    if not plain or BEST_OF_OURS not in arms:
        return "There is no prompt yet that every engine answered: the command that measures goes on where it was.\n"
    tasks = list(dict.fromkeys(one["task"] for one in plain.values()))
    heads = [
        "tok/s",
        *(task.replace("_", " ") for task in tasks),
        "all",
        "median",
        "`auto` is faster (95%)",
        "first token",
        "loop",
        "same text",
    ]
    lines = [_line(heads), _line(["---"] * len(heads))]
    for arm, own in sorted(arms.items(), key=lambda item: -tok_s(list(item[1].values()))):
        by_task = [tok_s([one for one in own.values() if one["task"] == task]) for task in tasks]
        first = [one["first"] for one in own.values() if one["first"] is not None]
        cells = [f"{arm}", *(f"{speed:.1f}" for speed in by_task), f"**{tok_s(list(own.values())):.1f}**"]
        cells.append(f"{statistics.median(tok_s([one]) for one in own.values()):.1f}")
        looping = sum(loops(one["tokens"]) for one in own.values())
        cells += [_faster(arms, arm), f"{statistics.median(first) * 1e3:.0f} ms" if first else "–"]
        cells += [f"{looping} of {len(own)}", _same(own, plain)]
        lines.append(_line(cells))
    for record in records:
        if record["key"][0] == "cannot":
            reason = " ".join(record["reason"].split()).replace("|", "/")
            lines.append(_line([record["arm"], *("–" for _ in heads[2:]), f"cannot run: {reason}"]))
    return "\n".join([*lines, "", *_caption(header, arms)]) + "\n"


def losses(arms: Mapping[str, Mapping[str, Record]]) -> list[str]:
    """Where anything else is faster than `auto`, plain decoding too; worst first."""
    found = []
    for arm in arms:
        if arm == BEST_OF_OURS:
            continue
        for task, factor in speedups(compared(arms, BEST_OF_OURS, arm)).items():
            if factor < 1:
                found.append((factor, f"{task.replace('_', ' ')} against {arm} ({factor:.2f})"))
    return [text for _, text in sorted(found)]


def _faster(arms: Mapping[str, Mapping[str, Record]], arm: str) -> str:
    if arm == BEST_OF_OURS:
        return "1"
    pairs = compared(arms, BEST_OF_OURS, arm)
    between = interval(pairs)
    return f"{speedup(pairs):.2f}" + (f" ({between[0]:.2f} – {between[1]:.2f})" if between else "")


def _same(own: Mapping[str, Record], plain: Mapping[str, Record]) -> str:
    same, place = agreement(own, plain)
    return f"{same} of {len(own)}" + (f", else from token {place}" if place is not None else "")


def _caption(header: Record, arms: Mapping[str, Mapping[str, Record]]) -> list[str]:
    plain = arms[PLAIN_OF_OURS]
    looping = {prompt for prompt, one in plain.items() if loops(one["tokens"])}
    lines = [
        f"{header['file']}, {len(plain)} prompts in turn, {header['max_tokens']} tokens each, greedy, none of them an "
        f"end; {header['threads']} threads of {header['machine']['processor']} "
        f"({', '.join(header['machine']['isa'])})."
    ]
    if looping and len(looping) < len(plain):
        fresh = {arm: [one for prompt, one in own.items() if prompt not in looping] for arm, own in arms.items()}
        speeds = ", ".join(f"{arm} {tok_s(own):.1f}" for arm, own in sorted(fresh.items(), key=lambda i: -tok_s(i[1])))
        lines.append(f"Without the {len(looping)} prompts whose answers loop: {speeds} tok/s.")
    lost = losses(arms)
    lines.append(f"`auto` is slower on {'; '.join(lost)}." if lost else "`auto` is slower on no task than any of them.")
    lines.append("")
    lines += [f"- {name}: {_about(about)}." for name, about in header["peers"].items()]
    chosen = [
        f"{arm}: `{next(iter(own.values()))['variant']}`"
        for arm, own in arms.items()
        if not arm.startswith("foredraft")
    ]
    lines.append(f"- The fastest variants, of those tried before: {'; '.join(chosen)}.")
    return lines


def _about(about: Record) -> str:
    if "cannot" in about:
        return f"cannot run: {about['cannot']}"
    words = [
        f"{build['package']} ({build['commit']}, {' '.join(build['features'])})" for build in about.get("builds", ())
    ]
    words += [f"{key} {about[key]}" for key in ("version", "transformers", "torch") if key in about]
    return f"{', '.join(words)}; {about['precision']}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
