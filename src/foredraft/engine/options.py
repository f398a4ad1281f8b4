"""How to draft, as users of other systems say it: their names become a drafter, a length and a policy of ours.

Every name is translated, or refused by name with what to do instead; none is passed over. What says two things at once
is refused too.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from foredraft.core.errors import UsageError
from foredraft.draft import AUTO, family, line_up, names
from foredraft.engine.foreign import (
    BY_NAME,
    LENGTH,
    METHOD,
    METHODS,
    MODEL,
    PAIR,
    SCHEDULE,
    UNSUPPORTED_METHODS,
    Foreign,
)
from foredraft.policy import ADAPTIVE

CONFIG = "speculative_config"
FORM = '{"method": "ngram"}'
KINDS = {int: "a whole number from 0", float: "a number", str: "a text", bool: "true or false"}
SCHEDULES = ("constant", "heuristic", "heuristic_transient")


@dataclass(frozen=True)
class Speculation:
    """How to draft. drafter: as the command line writes it. num_speculative_tokens: None leaves it to the policy."""

    drafter: str
    num_speculative_tokens: int | None = None
    policy: str = ADAPTIVE


def speculation(
    drafter: str = AUTO,
    *,
    config: Mapping[str, Any] | None = None,
    num_speculative_tokens: int | None = None,
    draft_model: str | None = None,
    policy: str = ADAPTIVE,
) -> Speculation:
    """What all that was said about drafting comes to, names and options checked.

    config: under the names of other systems (`engine/foreign.py`), in place of `drafter`. draft_model: a second model
    that drafts beside what `drafter` names. Raises UsageError or UnknownName.
    """
    found = Speculation(drafter, policy=policy)
    if config is not None:
        if drafter != AUTO:
            raise UsageError(f"drafter {drafter!r} and {CONFIG} each say how to draft: give one of them")
        found = _merged(translate(config), policy)
    if draft_model is not None:
        found = dataclasses.replace(found, drafter=_beside(found.drafter, draft_model))
    lineup = line_up(found.drafter)
    if num_speculative_tokens is None:
        return found
    if num_speculative_tokens < 0:
        raise UsageError(f"{LENGTH} must be 0 or more, not {num_speculative_tokens}")
    if lineup.fixed is not None or found.num_speculative_tokens is not None:
        said = f"drafter {drafter!r}" if config is None else CONFIG
        raise UsageError(f"{said} says itself how many tokens to draft: leave {LENGTH} out")
    return dataclasses.replace(found, num_speculative_tokens=num_speculative_tokens)


def parse_config(text: str | None) -> dict[str, Any] | None:
    """The object of `--speculative-config JSON`. Raises UsageError for what is none, and for a name given twice."""
    if text is None:
        return None
    try:
        found = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"--speculative-config is not JSON: write it as {FORM}") from None
    if not isinstance(found, dict):
        raise UsageError(f"--speculative-config is not an object: write it as {FORM}")
    return found


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, _ in pairs if [other for other, _ in pairs].count(name) > 1)
        raise UsageError(f"{CONFIG} has {twice!r} twice: give it once")
    return found


def _merged(found: Speculation, policy: str) -> Speculation:
    if ADAPTIVE in (found.policy, policy):
        return dataclasses.replace(found, policy=policy if found.policy == ADAPTIVE else found.policy)
    raise UsageError(f"{CONFIG} and policy {policy!r} each say how much to draft: give one of them")


def _beside(drafter: str, model: str) -> str:
    """A draft model beside what a drafter's text names."""
    drafting = [spec.family.name for spec in line_up(drafter).specs]
    if drafting == ["none"]:
        raise UsageError("drafter 'none' drafts nothing: leave it out, or the draft model")
    if any(MODEL in _fields(name) for name in drafting):
        raise UsageError(f"drafter {drafter!r} has a model of its own: give it there, or as draft model, not both")
    return _written([(drafter, {}), ("model", {MODEL: model})])


# --- the names of others --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Given:
    """An option as it was given: under which name, and its value."""

    name: str
    value: Any


def translate(config: Mapping[str, Any]) -> Speculation:
    """A configuration of another system as ours. None stands for what is not given. Raises UsageError."""
    if not isinstance(config, Mapping) or not all(isinstance(name, str) for name in config):
        raise UsageError(f"{CONFIG} is a mapping from names to values: write it as {FORM}")
    given, own = _sorted(config)
    drafters = _drafters(given, own)
    options: dict[str, dict[str, Any]] = {name: {} for name in drafters}
    length = given.get(LENGTH)
    for ours, one in given.items():
        drafter, _, option = ours.partition(":")
        if option == LENGTH:
            length = one
        elif option:
            options[drafter][option] = _value(one, ours)
        elif ours == MODEL:
            options[_with_model(one, drafters)][MODEL] = one.value
    for name, one in own.items():
        options[_owner(one, name, drafters)][name] = one.value
    if "lookup" in options:
        _widen(options["lookup"])
    text = _written(list(options.items()))
    return _scheduled(text, given.get(SCHEDULE), length)


def _sorted(config: Mapping[str, Any]) -> tuple[dict[str, Given], dict[str, Given]]:
    """By what they are here, and those that the table does not know, by their own name."""
    given: dict[str, Given] = {}
    own: dict[str, Given] = {}
    for said, value in config.items():
        name = said.lstrip("-").replace("-", "_")
        if value is None:
            continue
        known = BY_NAME.get(name)
        if known is None:
            place, key = own, name
        elif not known.ours:
            if not any(value == one and type(value) is type(one) for one in known.neutral):
                raise UsageError(f"{said} of {known.system} is not supported: {known.note}")
            continue
        else:
            _check_kind(said, value, known)
            place, key = given, known.ours
        other = place.get(key) or (_other_length(given, key) if place is given else None)
        if other is not None:
            raise UsageError(f"{other.name} and {said} are two names of one option: give one of them")
        place[key] = Given(said, value)
    return given, own


def _other_length(given: Mapping[str, Given], key: str) -> Given | None:
    """How many tokens to draft may be said once, whoever's name says it."""
    if key.rpartition(":")[2] != LENGTH:
        return None
    return next((one for ours, one in given.items() if ours.rpartition(":")[2] == LENGTH), None)


def _check_kind(said: str, value: Any, known: Foreign) -> None:
    fits = {
        int: type(value) is int and value >= 0,
        float: type(value) in (int, float),
        str: isinstance(value, str) and bool(value.strip()),
        bool: isinstance(value, bool),
    }
    if not fits[known.kind]:
        raise UsageError(f"{said} must be {KINDS[known.kind]}, not {value!r}")


def _drafters(given: dict[str, Given], own: Mapping[str, Given]) -> list[str]:
    """The drafters that are meant: by the method, else by whose options are given; `auto` where nothing tells."""
    owners = {ours.partition(":")[0]: one for ours, one in given.items() if ":" in ours}
    model = given.get(MODEL)
    if model is not None and METHOD not in given and model.value in ("ngram", "[ngram]"):  # vLLM's own shorthand
        given[METHOD] = given.pop(MODEL)
        model = None
    if METHOD in given:
        drafters = _by_method(given[METHOD])
        for drafter, one in owners.items():
            if drafter not in drafters:
                raise UsageError(
                    f"{one.name} belongs to drafter {drafter!r}, which {given[METHOD].name} {given[METHOD].value!r} "
                    "does not name: leave one of them out"
                )
    else:
        if model is not None:
            owners.setdefault("model", model)
        if len(owners) > 1:
            (first, one), (second, other) = list(owners.items())[:2]
            raise UsageError(
                f"{one.name} means drafter {first!r} and {other.name} drafter {second!r}: leave one of them out, "
                f"or join the drafters by a plus in drafter"
            )
        drafters = list(owners) or [AUTO]
    pair = given.get(PAIR)
    if pair is not None and pair.value:
        if "model" not in drafters:
            raise UsageError(f"{pair.name} is about a draft model, and none is given: give model, or leave it out")
        drafters = [PAIR if drafter == "model" else drafter for drafter in drafters]
        _move(given, "model", PAIR)
    return drafters


def _move(given: dict[str, Given], old: str, new: str) -> None:
    """What was said of one drafter is said of another."""
    for ours in [ours for ours in given if ours.startswith(f"{old}:")]:
        one = given.pop(ours)
        option = ours.partition(":")[2]
        if option not in _fields(new):
            raise UsageError(f"{one.name} does not go with drafter {new!r}: leave it out")
        given[f"{new}:{option}"] = one


def _by_method(method: Given) -> list[str]:
    drafters: list[str] = []
    for item in (item.strip() for item in method.value.split(",")):
        ours = METHODS.get(item) or (item if item in names() else None)
        if item in UNSUPPORTED_METHODS:
            raise UsageError(f"{method.name} {item!r} is not supported: {UNSUPPORTED_METHODS[item]}")
        if ours is None:
            known = ", ".join([*METHODS, *(name for name in names() if name not in METHODS)])
            raise UsageError(f"unknown {method.name} {item!r}: choose from {known}")
        if ours in drafters:
            raise UsageError(f"{method.name} {method.value!r} names drafter {ours!r} twice: name it once")
        drafters.append(ours)
    if "none" in drafters[:-1] or "none" in drafters[1:]:
        raise UsageError(f"{method.name} {method.value!r} names drafters and none: leave one of them out")
    return drafters


def _with_model(model: Given, drafters: Sequence[str]) -> str:
    found = next((name for name in drafters if name != AUTO and MODEL in _fields(name)), None)
    if found is None:
        raise UsageError(
            f"{model.name} is a draft model, which drafter {'+'.join(drafters)!r} has no use for: leave it out"
        )
    return found


def _owner(one: Given, name: str, drafters: Sequence[str]) -> str:
    """Whose option it is, by our own name for it."""
    found = next((drafter for drafter in drafters if drafter != AUTO and name in _fields(drafter)), None)
    if found is None:
        known = [*BY_NAME, *(option for drafter in drafters if drafter != AUTO for option in _fields(drafter))]
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}" if close else "docs/options.md lists those that are"
        raise UsageError(f"unknown option {one.name!r} in {CONFIG}: {hint}")
    if not isinstance(one.value, (bool, int, float, str)):
        raise UsageError(f"{one.name} must be a number, a text, true or false, not {one.value!r}")
    return found


def _value(one: Given, ours: str) -> Any:
    if ours == "suffix:shared":
        if one.value:
            raise UsageError(
                f"{one.name} above 0 is not supported: {BY_NAME['suffix_decoding_max_cached_requests'].note}"
            )
        return False
    return one.value


def _widen(options: dict[str, Any]) -> None:
    """A least match beyond the usual longest one moves that, as in vLLM."""
    usual = next(field.default for field in dataclasses.fields(family("lookup").options) if field.name == "n")
    if "n" not in options and options.get("min", 0) > usual:
        options["n"] = options["min"]


def _scheduled(text: str, schedule: Given | None, length: Given | None) -> Speculation:
    count = length.value if length is not None else None
    if text == "none" and length is not None and count:
        raise UsageError(f"{length.name} is {count}, and nothing drafts: leave it out, or choose another method")
    if schedule is None or (schedule.value == "constant" and count is not None):
        return Speculation(text, count)
    if schedule.value == "constant":
        raise UsageError(f"{schedule.name} 'constant' needs a number: give num_assistant_tokens too, or leave it out")
    if schedule.value not in SCHEDULES:
        raise UsageError(f"{schedule.name} must be one of {', '.join(SCHEDULES)}, not {schedule.value!r}")
    return Speculation(text, policy="heuristic" if count is None else f"heuristic:{count}")


def _fields(drafter: str) -> list[str]:
    return [field.name for field in dataclasses.fields(family(drafter).options)]


def _written(items: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """As the command line writes it. Raises UsageError for a text that cannot be written so."""
    text = "+".join(_item(drafter, options) for drafter, options in items)
    specs = {spec.family.name: spec for spec in line_up(text).specs}
    for drafter, options in items:
        for option, value in options.items():
            if isinstance(value, str) and str(getattr(specs[drafter].options, option)) != value:
                raise _unwritable(value)
    return text


def _item(drafter: str, options: Mapping[str, Any]) -> str:
    if not options:
        return drafter
    said = []
    for option, value in options.items():
        spelt = str(value).lower() if isinstance(value, bool) else str(value)
        if "," in spelt or spelt != spelt.strip():
            raise _unwritable(spelt)
        bare = family(drafter).positional == option and "=" not in spelt
        said.append(spelt if bare else f"{option}={spelt}")
    return f"{drafter}:{','.join(said)}"


def _unwritable(value: str) -> UsageError:
    return UsageError(f"{value!r} cannot be written as an option of a drafter: rename it without commas and pluses")
