"""Policies by name. `adaptive` is what runs when nothing is said; the others are there to study it beside.

Written as `name` or `name:value`, the value being the one setting that its paper varies.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from foredraft.core.errors import UnknownName, UsageError
from foredraft.core.protocols import AnyPolicy, Costs
from foredraft.policy.adaptive import Adaptive
from foredraft.policy.bandit import Bandit
from foredraft.policy.constant import Constant
from foredraft.policy.heuristic import Heuristic
from foredraft.policy.stopping import AdaEDL, Confidence, Cumulative, Stopping

ADAPTIVE = "adaptive"

STUDIED: dict[str, tuple[str, Callable[[float | None], AnyPolicy]]] = {
    "constant": ("tokens a round, always (4)", lambda value: Constant(_whole("constant", value, 4))),
    "heuristic": ("tokens of the first round (5)", lambda value: Heuristic(_whole("heuristic", value, 5))),
    "confidence": (
        "least chance of a token (0.4)",
        lambda value: Stopping(Confidence(_share("confidence", value, 0.4))),
    ),
    "cumulative": (
        "least chance of a path (0.3)",
        lambda value: Stopping(Cumulative(_share("cumulative", value, 0.3))),
    ),
    "adaedl": ("share of drafts to accept (0.9)", lambda value: AdaEDL(target=_share("adaedl", value, 0.9))),
    "bandit": ("curiosity (0.3)", lambda value: Bandit(curiosity=0.3 if value is None else value)),
}
"""name -> what its value is, and its default; how to make it."""


def names() -> list[str]:
    return [ADAPTIVE, *STUDIED]


def make_policy(text: str, costs: Callable[[], Costs]) -> AnyPolicy:
    """The policy written as `text`. costs: measured when asked for. Raises UsageError."""
    name, _, given = text.partition(":")
    if name == ADAPTIVE and not given:
        return Adaptive(costs())
    if name == ADAPTIVE:
        raise UsageError(f"policy {ADAPTIVE!r} takes no value: leave out {given!r}")
    if name not in STUDIED:
        raise UnknownName("policy", name, names())
    return STUDIED[name][1](_number(name, given) if given else None)


def check_policy(text: str) -> None:
    """Raises UsageError for what `make_policy` would refuse."""
    make_policy(text, lambda: Costs((1,), (1.0,)))


def _number(name: str, given: str) -> float:
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"the value of policy {name!r} must be a number, not {given!r}")
    return value


def _whole(name: str, value: float | None, default: int) -> int:
    if value is not None and (value != int(value) or value < 0):
        raise UsageError(f"the value of policy {name!r} must be a whole number, not {value:g}")
    return default if value is None else int(value)


def _share(name: str, value: float | None, default: float) -> float:
    if value is not None and not 0 <= value <= 1:
        raise UsageError(f"the value of policy {name!r} must be from 0 to 1, not {value:g}")
    return default if value is None else value
