"""Why the adaptive policy asks a source, or leaves it alone: a sentence each, from what it has learnt.

It tells what a tenant's requests have taught (`policy/worth.py`), at the speed of the last text. A request that goes on
has seen more of itself, and decides by that.
"""

from __future__ import annotations

from operator import mul

from foredraft.policy.adaptive import ENOUGH, FREE, Adaptive
from foredraft.policy.worth import PLACES, STRENGTHS, TRIALS, Gains, Worth

EVERY = range(PLACES)


def reasons(policy: Adaptive, tenant: str | None, rate: float) -> dict[str, str]:
    """Source -> why it is asked or not, in the order they were met; nothing where no text had a speed.

    rate: tokens a second of the last text.
    """
    known = policy.tenants.get(tenant)
    worths = known.worths if known is not None and rate > 0 else {}
    return {name: reason(worth, policy.curve(1), rate) for name, worth in worths.items()}


def reason(worth: Worth, plain: float, rate: float) -> str:
    """Of one source. plain: seconds of a pass of one row. rate: tokens that a second brings otherwise."""
    if not worth.rounds:
        return "not measured yet"
    takes = f"it takes {_ms(worth.seconds)} of a round"
    if worth.seconds < FREE * plain:
        return f"always asked: {takes}, less than {FREE:.0%} of a plain pass"
    if worth.burden(FREE * plain, rate):
        return (
            f"let go in a text once it was asked {ENOUGH} times: {_ms(worth.rest)} of every round go into it even "
            "where it is not asked, and it brings less"
        )
    if worth.new:
        asked = worth.gains.asked
        return f"being tried: {takes}, and was asked {asked} of the {TRIALS} times after which it is judged"
    takes += f" and {_balance(worth.gains, rate)}"
    paying = [place for place in EVERY if worth.gains.net(place, rate) > 0]
    if not paying:
        pause = max(1.0, worth.waits[0].pause(worth.gains.net(0, rate)))
        return f"left alone, but for a try every {pause:.0f} rounds: where asked, {takes}"
    if len(paying) == len(EVERY):
        return f"asked for what it adds: {takes}"
    return f"asked only where the drafts of others are expected to bring {_others(paying)} tokens: {takes}"


def _balance(gains: Gains, rate: float) -> str:
    """Tokens that a round with it is thought to have more, and those that its time would bring otherwise."""
    tokens, asked = gains.tokens(len(STRENGTHS), rate), [mean.asked for mean in gains.means]
    added = sum(map(mul, asked, tokens)) / gains.asked
    price = rate * sum(mean.asked * gains.seconds(place) for place, mean in enumerate(gains.means)) / gains.asked
    return f"is thought to add {added:.2f} tokens, where its time and its rows bring {price:.2f} otherwise"


def _others(places: list[int]) -> str:
    """Classes of what others drafted; the weakest ones are one."""
    if places == list(range(len(places))):
        return f"at most {STRENGTHS[places[-1]]:g}"
    return " or ".join(_class(place) for place in places)


def _class(place: int) -> str:
    if place == len(STRENGTHS):
        return f"more than {STRENGTHS[-1]:g}"
    return f"{STRENGTHS[place - 1] if place else 0:g} to {STRENGTHS[place]:g}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"
