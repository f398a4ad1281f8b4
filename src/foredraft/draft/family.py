"""What the table of drafters holds: options as a dataclass, needs as data, and how to build one.

The engine reads `needs(options)`, finds what is asked for (a second model, the target's ends, a view of it), and calls
`build(options, provided)`; no drafter loads anything by itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_type_hints

from foredraft.core.errors import UnknownName, UsageError
from foredraft.core.heads import Head
from foredraft.core.law import Ids
from foredraft.core.protocols import AnyDrafter, Model, Needs
from foredraft.core.tokens import Tokens


@dataclass(frozen=True)
class Provided:
    """What the engine found for a drafter's needs.

    model: the second model. ends: the target, for its ends. view: a view of the target. tokenizer: the target's
    vocabulary. second_tokenizer: that of the second model. says: the tokens, ascending, that a second
    model with a draft head can say; None for all. head: the target's trained head.
    """

    model: Model | None = None
    head: Head | None = None
    ends: Model | None = None
    view: Model | None = None
    tokenizer: Tokens | None = None
    second_tokenizer: Tokens | None = None
    says: Ids | None = None


@dataclass(frozen=True)
class Family:
    """One way of guessing. options: a frozen dataclass whose fields are the options, with `help` in their metadata.

    needs is the one statement of what a drafter needs: `build` hands the same to the drafter it makes.
    positional: the option that may stand without its name. requires: the needs in words, for people who choose. nodes:
    tokens a round drafts where the options say so; None leaves it to the policy.
    """

    name: str
    summary: str
    options: type[Any]
    needs: Callable[[Any], Needs]
    build: Callable[[Any, Provided], AnyDrafter]
    positional: str | None = None
    requires: str = "nothing"
    nodes: Callable[[Any], int | None] = lambda options: None


@dataclass(frozen=True)
class Spec:
    """A drafter as asked for: its family and its options. num_speculative_tokens: a round, where somebody said so."""

    text: str
    family: Family
    options: Any
    num_speculative_tokens: int | None

    @property
    def needs(self) -> Needs:
        return self.family.needs(self.options)


# Accepted for every drafter: how many tokens a round may draft, under vLLM's name and its usual short form.
LENGTH = ("num_speculative_tokens", "k")


def parse(text: str, family: Callable[[str], Family]) -> Spec:
    """`name[:item,item…]`, an item `option=value` or the value of the family's positional option."""
    name, _, rest = text.partition(":")
    found = family(name.strip())
    values: dict[str, str] = {}
    for item in filter(None, (item.strip() for item in rest.split(","))):
        option, equals, value = item.partition("=")
        if not equals or (found.positional is not None and not option.isidentifier()):
            if found.positional is None:
                raise UsageError(f"drafter {name!r} takes options as option=value, not {item!r}")
            option, value = found.positional, item
        if option in values:
            raise UsageError(f"drafter {name!r} was given {option!r} twice: give it once")
        values[option] = value
    given = [alias for alias in LENGTH if alias in values]
    if len(given) > 1:
        raise UsageError(f"drafter {name!r} was given {' and '.join(given)}, two names of one option: give one")
    wanted = _count(name, given[0], values.pop(given[0])) if given else None
    options = _options(found, values)
    return Spec(text, found, options, wanted if wanted is not None else found.nodes(options))


def option_fields(family: Family) -> list[tuple[str, str, Any, str]]:
    """(name, type, default or dataclasses.MISSING, help) of every option."""
    kinds = get_type_hints(family.options)
    return [
        (field.name, kinds[field.name].__name__, field.default, field.metadata.get("help", ""))
        for field in dataclasses.fields(family.options)
    ]


def _options(family: Family, values: dict[str, str]) -> Any:
    fields = {field.name: field for field in dataclasses.fields(family.options)}
    kinds = get_type_hints(family.options)
    converted: dict[str, Any] = {}
    for option, value in values.items():
        if option not in fields:
            raise UnknownName(f"option of drafter {family.name!r}:", option, [*fields, LENGTH[0]])
        converted[option] = _convert(family.name, option, kinds[option], value)
    missing = [name for name, field in fields.items() if name not in converted and field.default is dataclasses.MISSING]
    if missing:
        raise UsageError(f"drafter {family.name!r} needs {missing[0]}: write {family.name}:{missing[0]}=…")
    return family.options(**converted)


def _convert(name: str, option: str, kind: type, value: str) -> Any:
    if kind is int:
        return _count(name, option, value)
    if kind is float:
        try:
            return float(value)
        except ValueError:
            raise UsageError(f"{option} of drafter {name!r} must be a number, not {value!r}") from None
    if kind is bool:
        if value.lower() not in ("true", "false", "1", "0", "yes", "no"):
            raise UsageError(f"{option} of drafter {name!r} must be true or false, not {value!r}")
        return value.lower() in ("true", "1", "yes")
    return value


def _count(name: str, option: str, value: str) -> int:
    if not value.isdecimal():
        raise UsageError(f"{option} of drafter {name!r} must be a whole number, not {value!r}")
    return int(value)
