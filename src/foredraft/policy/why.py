"""Why the adaptive policy asks a source, or leaves it alone: a sentence each, from what it has learnt (`policy/worth.py`)."""

from __future__ import annotations

from foredraft.policy.adaptive import FREE, Adaptive
from foredraft.policy.worth import STRENGTHS, TRIALS, Gains, Worth


def reasons(policy: Adaptive, tenant: str | None, rate: float) -> dict[str, str]:
    """Source -> why it is asked or not, as the requests of a tenant have taught; in the order they were met. rate: tokens
    a second of the last one."""
    known = policy.tenants.get(tenant)
    worths = known.worths if known is not None else {}
    return {name: reason(worth, policy.curve(1), rate) for name, worth in worths.items()}


def reason(worth: Worth, plain: float, rate: float) -> str:
    """Of one source. plain: seconds of a pass of one row. rate: tokens that a second brings otherwise."""
    if not worth.rounds:
        return "not asked, for nothing was seen of it yet"
    takes = f"it takes {_ms(worth.seconds)} of a round"
    if worth.burden(FREE * plain, rate):
        return f"let go: {_ms(worth.rest)} of every round go into it even where it is not asked, and it brings less"
    if worth.seconds < FREE * plain:
        return f"always asked: {takes}, less than {FREE:.0%} of a plain pass"
    if worth.new:
        return f"being tried: {takes}, and has drafted {worth.gains.asked} of the {TRIALS} times after which it is judged"
    takes += f" and {_balance(worth.gains, rate)}"
    seen = [place for place, mean in enumerate(worth.gains.means) if mean.asked]
    paying = [place for place in seen if worth.gains.net(place, rate) > 0]
    if not paying:
        return f"left alone, but for a try every {worth.patience} rounds or more: where asked, {takes}"
    if paying == seen:
        return f"asked for what it adds: {takes}"
    where = " or ".join(map(_others, paying))
    return f"asked only where the drafts of others are expected to bring {where} tokens: {takes}"


def _balance(gains: Gains, rate: float) -> str:
    """Tokens that a round with it has more, and those that its time would bring otherwise."""
    added = sum(mean.asked * mean.expected for mean in gains.means) * gains.truth / gains.asked
    price = rate * sum(mean.asked * mean.seconds for mean in gains.means) / gains.asked
    return f"adds {added:.2f} tokens, where its time and its rows bring {price:.2f} otherwise"


def _others(place: int) -> str:
    if place == len(STRENGTHS):
        return f"more than {STRENGTHS[-1]:g}"
    return f"{STRENGTHS[place - 1]:g} to {STRENGTHS[place]:g}" if place else f"at most {STRENGTHS[0]:g}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"
