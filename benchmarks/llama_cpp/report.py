"""From raw figures to the comparison: pure functions of a file's records, and a table for people."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from records import Record

from llama_cpp.bench import best_arms, speeds

OURS = "foredraft"
STREAM = "stream"
PLAIN_OF_OURS = "foredraft none"


def summary(header: Mapping[str, Any], records: Sequence[Record], loops: Callable[[Sequence[int]], bool]) -> Record:
    """Everything that follows from the records; parts that were not measured are left out.

    loops: says of an output whether it repeats itself.
    """
    found: Record = {"header": dict(header)}
    by_phase: dict[str, list[Record]] = {}
    for record in records:
        by_phase.setdefault(record["key"][0], []).append(record)
    if "tune" in by_phase:
        found["tuning"] = speeds(by_phase["tune"])
    if "bench" in by_phase:
        found |= _benched(header, by_phase["bench"])
    if "try" in by_phase:
        found["tried"] = {arm: _totals(own) for arm, own in _by_arm(by_phase["try"]).items()}
    if "serve" in by_phase:
        found["completions"] = completions(by_phase["serve"], loops)
    return found


def _benched(header: Mapping[str, Any], records: Sequence[Record]) -> Record:
    found: Record = {}
    bandwidth = [speed for record in records if record["arm"] == STREAM for speed in record["gb_s"]]
    by_test = speeds(record for record in records if record["arm"] != STREAM)
    best = best_arms(by_test)
    found["tests"] = {
        test: {
            "foredraft": arms.get(OURS),
            "llama_cpp": arms.get(best.get(test, "")),
            "ratio": arms[OURS] / arms[best[test]] if OURS in arms and test in best else None,
            "llama_cpp_arm": best.get(test),
            "by_arm": arms,
        }
        for test, arms in by_test.items()
    }
    if bandwidth:
        found["stream_gb_s"] = statistics.median(bandwidth)
        bound = found["stream_gb_s"] * 1e9 / header["weight_bytes"]
        found["bound_tok_s"] = bound
        plain = found["tests"].get("rows1@256")
        if plain:
            found["of_bound"] = {side: plain[side] / bound for side in ("foredraft", "llama_cpp") if plain[side]}
    return found


# --- completions ----------------------------------------------------------------------------------------------------


def completions(records: Sequence[Record], loops: Callable[[Sequence[int]], bool]) -> Record:
    """Speeds over the same prompts, with and without those whose plain output repeats itself.

    A repeat counts when every arm answered every prompt in it. The speed of a repeat is all tokens over all seconds;
    an arm's speed is the median over repeats.
    """
    arms = _by_arm(records)
    prompts = {record["prompt"] for record in records}
    full = _full_repeats(records, len(arms) * len(prompts))
    plain = PLAIN_OF_OURS if PLAIN_OF_OURS in arms else next(iter(arms))
    looping = {record["prompt"] for record in arms[plain] if loops(record["tokens"])}
    counted = [record for record in records if record["repeat"] in full]
    fresh = [record for record in counted if record["prompt"] not in looping]
    return {
        "prompts": len(prompts),
        "repeats": len(full),
        "looping": len(looping),
        "all": compared(counted),
        "without_looping": compared(fresh) if looping else None,
        "same_tokens_as_foredraft_plain": {arm: _same(own, arms[plain]) for arm, own in arms.items()},
    }


def compared(records: Sequence[Record]) -> Record | None:
    """Each arm's figures, and foredraft's best against llama.cpp's best; None without records."""
    if not records:
        return None
    arms = {arm: _totals(own) for arm, own in _by_arm(records).items()}
    found: Record = {"arms": arms}
    for speed in ("decode_tok_s", "whole_tok_s"):
        sides = {
            side: max((arm for arm in arms if arm.startswith(side)), key=lambda arm: arms[arm][speed], default=None)
            for side in ("foredraft", "llama.cpp")
        }
        ours, theirs = sides["foredraft"], sides["llama.cpp"]
        ratio = arms[ours][speed] / arms[theirs][speed] if ours and theirs else None
        found[f"best_{speed}"] = {**sides, "ratio": ratio}
    return found


def tried(records: Sequence[Record]) -> dict[str, float]:
    """arm -> decoding speed of the servers that were tried."""
    return {arm: float(_totals(own)["decode_tok_s"]) for arm, own in _by_arm(records).items()}


def _totals(records: Sequence[Record]) -> Record:
    """Medians over repeats of one arm's speeds; counts over all of them."""
    repeats: dict[int, list[Record]] = {}
    for record in records:
        repeats.setdefault(record["repeat"], []).append(record)

    def speed(tokens: str, seconds: str) -> float:
        return statistics.median(
            float(sum(one[tokens] for one in own) / sum(one[seconds] for one in own)) for own in repeats.values()
        )

    drafted, accepted = (sum(record[name] for record in records) for name in ("drafted", "accepted"))
    return {
        "decode_tok_s": speed("decoded", "decode_seconds"),
        "whole_tok_s": speed("generated", "seconds"),
        "draft_acceptance_rate": accepted / drafted if drafted else None,
        "drafted": drafted,
        "accepted": accepted,
        "faults": sum(record.get("faults", 0) for record in records),
    }


def _full_repeats(records: Iterable[Record], count: int) -> set[int]:
    found: dict[int, int] = {}
    for record in records:
        found[record["repeat"]] = found.get(record["repeat"], 0) + 1
    return {repeat for repeat, answers in found.items() if answers == count}


def _same(records: Iterable[Record], plain: Iterable[Record]) -> int:
    """Prompts whose every answer is the plain one."""
    expected = {record["prompt"]: record["tokens"] for record in plain if record["repeat"] == 0}
    differing = {record["prompt"] for record in records if record["tokens"] != expected.get(record["prompt"])}
    return len({record["prompt"] for record in records} - differing)


def _by_arm(records: Iterable[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record["arm"], []).append(record)
    return found


# --- for people -----------------------------------------------------------------------------------------------------


def text(found: Record) -> str:
    """The summary as lines."""
    header = found["header"]
    lines = [f"{header['model']} ({header['file']}), {header['threads']} threads, {header['machine']['processor']}"]
    for build in header["builds"]:
        lines.append(f"llama.cpp {build['name']}: {build['package']} {build['commit']}, {' '.join(build['features'])}")
    if not any("AMX" in feature for build in header["builds"] for feature in build["features"]):
        lines.append("this processor has no AMX: no build of llama.cpp uses it here")
    if "stream_gb_s" in found:
        of_bound = ", ".join(f"{side} {share:.2f} of it" for side, share in found.get("of_bound", {}).items())
        lines.append(
            f"reading memory: {found['stream_gb_s']:.1f} GB/s; {header['weight_bytes'] / 1e6:.1f} MB a plain step "
            f"bound it to {found['bound_tok_s']:.1f} tok/s; {of_bound}"
        )
    for test, arms in found.get("tuning", {}).items():
        ranked = sorted(arms, key=lambda arm: -arms[arm])
        lines += [f"tuning {test}:", *(f"  {arms[arm]:9.1f} tok/s  {arm}" for arm in ranked)]
    for test, figures in found.get("tests", {}).items():
        ratio = f"{figures['ratio']:6.2f}x" if figures["ratio"] else "      -"
        ours, theirs = (f"{figures[s]:9.1f}" if figures[s] else "        -" for s in ("foredraft", "llama_cpp"))
        lines.append(f"{test:12} foredraft {ours}  llama.cpp {theirs} tok/s {ratio}  ({figures['llama_cpp_arm']})")
    for arm, figures in found.get("tried", {}).items():
        lines.append(f"tried: {_arm_line(arm, figures)}")
    if "completions" in found:
        lines += _completion_lines(found["completions"])
    return "\n".join(lines)


def _completion_lines(found: Record) -> list[str]:
    lines = [f"completions: {found['prompts']} prompts ({found['looping']} loop), {found['repeats']} full repeats"]
    for scope in ("all", "without_looping"):
        if found[scope] is None:
            continue
        lines.append(f"  {scope}:")
        lines += [f"    {_arm_line(arm, figures)}" for arm, figures in found[scope]["arms"].items()]
        for speed in ("decode_tok_s", "whole_tok_s"):
            best = found[scope][f"best_{speed}"]
            if best["ratio"] is not None:
                lines.append(f"    {speed}: {best['ratio']:.2f}x ({best['foredraft']} against {best['llama.cpp']})")
    same = ", ".join(f"{arm} {count}" for arm, count in found["same_tokens_as_foredraft_plain"].items())
    return [*lines, f"  prompts answered with foredraft's plain tokens: {same}"]


def _arm_line(arm: str, figures: Record) -> str:
    rate = figures["draft_acceptance_rate"]
    accepted = f", {rate:.0%} of {figures['drafted']} drafts accepted" if rate is not None else ""
    return f"decode {figures['decode_tok_s']:7.1f}, whole {figures['whole_tok_s']:7.1f} tok/s  {arm}{accepted}"
