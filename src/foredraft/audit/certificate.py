"""The certificate: what an audit found, as JSON, and as a page for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from foredraft.audit.exact import NO_LESS_THAN, Exact
from foredraft.audit.identical import Compared, Identical, Run
from foredraft.audit.mutants import Caught
from foredraft.audit.parity import Parity
from foredraft.audit.sampled import Counted, Sampled

Json = dict[str, Any]
SHOWN = 5  # of what went wrong


@dataclass(frozen=True)
class Audit:
    """Everything that was found. setup: the model, the machine, and how much was done."""

    setup: Json
    exact: Exact
    mutants: tuple[Caught, ...]
    sampled: Sampled
    identical: Identical
    parity: tuple[Parity, ...] = ()

    @property
    def passed(self) -> bool:
        return self.lossless and all(head.passed for head in self.parity)

    @property
    def lossless(self) -> bool:
        caught = all(mutant.caught for mutant in self.mutants)
        return self.exact.passed and caught and self.sampled.passed and self.identical.passed


def as_json(audit: Audit) -> Json:
    """The certificate as one object, `lossless` last."""
    return {
        **audit.setup,
        "exact": _exact(audit.exact),
        "mutants": {
            "caught": sum(mutant.caught for mutant in audit.mutants),
            "total": len(audit.mutants),
            "missed": [mutant.name for mutant in audit.mutants if not mutant.caught],
        },
        "sampled": _sampled(audit.sampled),
        "identical": _identical(audit.identical),
        "parity": [{**asdict(head), "passed": head.passed} for head in audit.parity],
        "passed": audit.passed,
        "lossless": audit.lossless,
    }


def _exact(exact: Exact) -> Json:
    verifiers = {
        name: {"cases": own.cases, "max_tv": own.worst, "at": own.at, "least_gain": own.least_gain}
        for name, own in exact.verifiers.items()
    }
    return {
        "cases": exact.cases,
        "max_tv": exact.max_tv,
        "seed": exact.seed,
        "passed": exact.passed,
        "verifiers": verifiers,
    }


def _sampled(sampled: Sampled) -> Json:
    def counted(one: Counted) -> Json:
        return {
            "texts": one.texts,
            "chance": one.chance,
            "tv": one.distance,
            "tv_limit": one.limit,
        }

    return {
        "false_alarm": sampled.false_alarm,
        "passed": sampled.passed,
        "verifiers": {
            right.verifier: {
                **counted(right),
                "rejected": right.rejected,
                "known_bad_twin": {**counted(wrong), "rejected": wrong.caught},
            }
            for right, wrong in zip(sampled.right, sampled.wrong, strict=True)
        },
    }


def _identical(identical: Identical) -> Json:
    by_drafter = {}
    for drafter in identical.drafters:
        own = [run for _, run in identical.runs if run.drafter == drafter]
        by_drafter[drafter] = {
            "texts": len(own),
            "counted": identical.counted(drafter),
            "tokens": sum(run.tokens for run in own),
            "drafted": sum(run.drafted for run in own),
            "accepted": sum(run.accepted for run in own),
            "mismatches": sum(run.mismatch for run in own),
            "near_ties": sum(run.difference is not None and not run.mismatch for run in own),
        }
    return {
        "prompts": identical.prompts,
        "drafters": identical.drafters,
        "temperatures": identical.temperatures,
        "mismatches": len(identical.mismatches),
        "texts": len(identical.runs),
        "counted": identical.counted(),
        "idle": identical.idle,
        "passed": identical.passed,
        "by_drafter": by_drafter,
        "differences": [_difference(*found) for found in identical.mismatches],
        "near_ties": [_difference(*found) for found in identical.near_ties],
        "faults": [_place(*found) | {"fault": found[1].faults[0]} for found in identical.failed],
    }


def _place(case: Compared, run: Run) -> Json:
    return {"prompt": case.prompt, "drafter": run.drafter, "temperature": case.temperature, "seed": case.seed}


def _difference(case: Compared, run: Run) -> Json:
    """Where the first token differs; for near ties both scores and the noise as well."""
    return _place(case, run) | {
        "position": run.difference,
        "tokens": list(run.here),
        "plain_tokens": list(run.there),
        "noise": run.noise,
        "ties": [asdict(tie) for tie in run.ties],
    }


# --- the page -------------------------------------------------------------------------------------------------------


def page(found: Mapping[str, Any]) -> list[str]:
    """The certificate in lines, from its JSON."""
    machine = found["machine"]
    threads = f"{found['threads']} thread{'s' if found['threads'] > 1 else ''}"
    invariant = "rows do not depend on their company" if found["row_invariant"] else "rows depend on their company"
    return [
        f"foredraft {found['version']}: audit of {found['model']}",
        f"  weights   sha256 {found['model_sha256']}",
        f"  engine    {found['engine']} ({found['isa']}), {threads}; {invariant}",
        f"  machine   {machine['processor']}, {machine['system']}, Python {machine['python']}",
        f"  size      {_size(found['size'])}",
        "",
        *_exact_lines(found["exact"]),
        *_mutant_lines(found["mutants"]),
        *_sampled_lines(found["sampled"]),
        *_identical_lines(found["identical"]),
        *_parity_lines(found["parity"]),
        *(f"         left out: {name}: {reason}" for name, reason in found["left_out"].items()),
        "",
        _verdict(found),
    ]


def _size(size: Mapping[str, Any]) -> str:
    worlds = "every small world" if size["step"] == 1 else f"one small world in {size['step']}"
    prompts = f"up to {size['prompts']} prompts for auto and {size['few']} for others"
    return f"{worlds}, {size['texts']} counted texts; {prompts}, {size['max_tokens']} tokens each"


def _mark(passed: bool) -> str:
    return "pass" if passed else "FAIL"


def _exact_lines(exact: Mapping[str, Any]) -> list[str]:
    own = exact["verifiers"]
    lines = [
        f"[{_mark(exact['passed'])}] exact: {exact['cases']} small worlds enumerated, {len(own)} verifiers, "
        f"seed {exact['seed']}; largest total variation {exact['max_tv']:.1e}"
    ]
    gains = [f"{name} from {own[name]['least_gain']:+.1e} tokens over {other}" for name, other in NO_LESS_THAN.items()]
    return [*lines, f"         expected tokens, world by world: {', '.join(gains)}"]


def _mutant_lines(mutants: Mapping[str, Any]) -> list[str]:
    passed = mutants["caught"] == mutants["total"]
    missed = f"; missed: {', '.join(mutants['missed'])}" if mutants["missed"] else ""
    return [f"[{_mark(passed)}] mutants: {mutants['caught']} of {mutants['total']} known bugs caught{missed}"]


def _sampled_lines(sampled: Mapping[str, Any]) -> list[str]:
    own = sampled["verifiers"]
    texts = next(iter(own.values()))["texts"]
    twins = sum(one["known_bad_twin"]["rejected"] for one in own.values())
    lines = [
        f"[{_mark(sampled['passed'])}] sampled: {texts} texts a verifier on this model cut to a few tokens; "
        f"{sum(not one['rejected'] for one in own.values())} of {len(own)} pass, {twins} of {len(own)} known-bad twins "
        f"rejected by both tests (false alarms: {sampled['false_alarm']:g})"
    ]
    wrong = [name for name, one in own.items() if one["rejected"] or not one["known_bad_twin"]["rejected"]]
    return lines + ([f"         look at: {', '.join(wrong)}"] if wrong else [])


def _identical_lines(identical: Mapping[str, Any]) -> list[str]:
    temperatures = ", ".join(f"{one:g}" for one in identical["temperatures"])
    lines = [
        f"[{_mark(identical['passed'])}] identical: {identical['prompts']} prompts, {len(identical['drafters'])} "
        f"drafters, temperatures {temperatures}: {identical['mismatches']} of {identical['texts']} texts differ from "
        "plain decoding",
        f"         {identical['counted']} of them count: some drafts were accepted and some rejected",
    ]
    width = max(map(len, identical["by_drafter"]), default=0)
    for drafter, own in identical["by_drafter"].items():
        ties = f", {own['near_ties']} near ties" if own["near_ties"] else ""
        lines.append(
            f"         {drafter:{width}}  {own['texts']} texts, {own['counted']} count, {own['tokens']} tokens, "
            f"{own['accepted']} of {own['drafted']} drafts accepted, {own['mismatches']} differ{ties}"
        )
    if identical["idle"]:
        lines.append(f"         nothing is shown of {', '.join(identical['idle'])}: no text of theirs counts")
    for one in _first(identical["differences"]):
        lines.append(f"         differs: {_where(one)}, from token {one['position']} on")
    for one in _first(identical["near_ties"]):
        tie = one["ties"][0]
        lines.append(
            f"         near tie: {_where(one)}, token {tie['position']}: {tie['own']:.5f} beside {tie['best']:.5f}, "
            f"noise {one['noise']:.1e}"
        )
    for one in _first(identical["faults"]):
        lines.append(f"         failed: {_where(one)}: {one['fault']}")
    return lines


def _parity_lines(heads: Sequence[Json]) -> list[str]:
    def floats(one: Json) -> str:
        return f"{one['floats']:.1e} in float32, " if one["floats"] is not None else ""

    return [
        f"[{_mark(one['passed'])}] parity: {one['head']}, {one['laws']} laws: {floats(one)}mean divergence "
        f"{one['divergence']:.1e}; mean acceptance length {one['engine']:.3f}, by definition {one['defined']:.3f}"
        for one in heads
    ]


def _first(found: Sequence[Json]) -> Sequence[Json]:
    return found[:SHOWN]


def _where(one: Mapping[str, Any]) -> str:
    return f"{one['drafter']} on {one['prompt']} at temperature {one['temperature']:g}, seed {one['seed']}"


def _verdict(found: Mapping[str, Any]) -> str:
    if found["lossless"] and not found["passed"]:
        return "LOSSLESS, but a trained head does not draft as it was trained: see above, and train it again."
    if found["lossless"]:
        return "LOSSLESS: speculation changes nothing that this model says."
    return "NOT PROVEN: see what failed above; please report it with the output of --json."
