"""Grammars that no finite text matches: recursion without a way out, which llguidance takes and a model never ends.

Both checks are the least fixed point of "has a finite text" over names (Hopcroft, Motwani and Ullman, section 7.1.2:
generating symbols). What they do not understand counts as having one: they refuse nothing that could end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

Ends = Callable[[frozenset[str]], bool]
"""Whether there is a finite text, given the names that are known to have one."""


def endless_schema(text: str) -> bool:
    """Whether every value that a JSON schema allows would contain another one, for ever."""
    schema = json.loads(text)
    names = {name: _target(schema, name) for name in _references(schema)}
    ends: dict[str, Ends] = {name: lambda known, at=at: _value_ends(at, known) for name, at in names.items()}  # type: ignore[misc]
    return not _value_ends(schema, _ending(ends))


def endless_lark(text: str) -> bool:
    """Whether the rule `start` of a Lark grammar calls itself, directly or not, in each of its alternatives."""
    try:
        rules = _Reader(text).rules()
    except _NotUnderstoodError:
        return False
    return "start" in rules and "start" not in _ending(rules)


def _ending(ends: Mapping[str, Ends]) -> frozenset[str]:
    """The names that have a finite text."""
    known = frozenset[str]()
    while more := {name for name, holds in ends.items() if name not in known and holds(known)}:
        known |= more
    return known


# --- JSON schemas ---------------------------------------------------------------------------------------------------


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for part in schema.values():
            yield from _references(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _references(part)


def _target(schema: Any, name: str) -> Any:
    """What a reference into the same document points at (RFC 6901); `True`, which allows anything, for any other."""
    if not name.startswith("#"):
        return True
    for step in name[1:].split("/")[1:] if name != "#" else ():
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(schema, list) and step.isdecimal() and int(step) < len(schema):
            schema = schema[int(step)]
        elif isinstance(schema, Mapping) and step in schema:
            schema = schema[step]
        else:
            return True
    return schema


def _value_ends(schema: Any, known: frozenset[str]) -> bool:
    if not isinstance(schema, Mapping) or "const" in schema or "enum" in schema:
        return True
    if isinstance(schema.get("$ref"), str) and schema["$ref"] not in known:
        return False
    parts = {key: schema[key] for key in ("allOf", "anyOf", "oneOf") if isinstance(schema.get(key), list)}
    found = {key: [_value_ends(part, known) for part in several] for key, several in parts.items()}
    if not (all(found.get("allOf", ())) and any(found.get("anyOf", (True,))) and any(found.get("oneOf", (True,)))):
        return False
    kinds = schema.get("type")
    if kinds in ("object", ["object"]):
        return all(_value_ends(part, known) for part in _required(schema))
    if kinds in ("array", ["array"]):
        return all(_value_ends(part, known) for part in _items(schema))
    return True


def _required(schema: Mapping[str, Any]) -> Iterable[Any]:
    named, names = schema.get("properties"), schema.get("required")
    if not isinstance(names, list) or not isinstance(named, Mapping | None):
        return ()
    return [(named or {}).get(name, schema.get("additionalProperties", True)) for name in names]


def _items(schema: Mapping[str, Any]) -> Iterable[Any]:
    least, first = schema.get("minItems", 0), schema.get("prefixItems", [])
    if not isinstance(least, int) or not isinstance(first, list):
        return ()
    return [*first[:least], *([schema.get("items", True)] if least > len(first) else [])]


# --- Lark grammars --------------------------------------------------------------------------------------------------


class _NotUnderstoodError(Exception):
    """The grammar uses something that is not read here."""


TOKEN = re.compile(
    r"""(?P<skip>[ \t\r]+ | (?://|\#)[^\n]* | %(?:ignore|import)\b[^\n]*)
    | (?P<line>\n\s*)
    | (?P<text>"(?:[^"\\\n]|\\.)*"i? | /(?:[^/\\\n]|\\.)+/[a-z]* | <[^>\n]*>)
    | (?P<name>[A-Za-z_][\w-]*)
    | (?P<count>[?*+] | ~\s*\d+(?:\s*\.\.\s*\d+)? | \{\s*\d*\s*,?\s*\d*\s*\})
    | (?P<mark>[:|()\[\]])""",
    re.VERBOSE,
)
NONE_AT_LEAST = re.compile(r"[?*] | ~\s*0\b.* | \{\s*0*\s*[,}].*", re.VERBOSE | re.DOTALL)


class _Reader:
    """Reads the rules of a Lark grammar: alternatives, groups, repetitions; literals are as good as empty."""

    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        at = depth = 0
        while at < len(text):
            found = TOKEN.match(text, at)
            if found is None:  # directives, options of rules, templates, aliases
                raise _NotUnderstoodError
            kind, at = str(found.lastgroup), found.end()
            depth += (found[0] in ("(", "[")) - (found[0] in (")", "]"))
            if kind != "skip" and not (kind == "line" and depth):
                if found[0] == "|" and self.tokens and self.tokens[-1][0] == "line":
                    self.tokens.pop()  # a line that begins with | goes on with the rule before it
                self.tokens.append((kind, found[0]))
        self.at = 0
        self.found: dict[str, Ends] = {}

    def rules(self) -> dict[str, Ends]:
        """The rules by name."""
        while self.at < len(self.tokens):
            kind, name = self._take()
            if kind == "line":
                continue
            if kind != "name" or name in self.found or self._take()[1] != ":":
                raise _NotUnderstoodError
            self.found[name] = self._choice()
            if self._peek()[0] not in ("line", "end"):
                raise _NotUnderstoodError
        return self.found

    def _peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def _take(self) -> tuple[str, str]:
        token = self._peek()
        self.at += 1
        return token

    def _choice(self) -> Ends:
        several = [self._sequence()]
        while self._peek()[1] == "|":
            self.at += 1
            several.append(self._sequence())
        return lambda known: any(ends(known) for ends in several)

    def _sequence(self) -> Ends:
        parts: list[Ends] = []
        while self._peek()[0] not in ("line", "end") and self._peek()[1] not in ("|", ")", "]"):
            part = self._part()
            while self._peek()[0] == "count":
                part = _always if NONE_AT_LEAST.fullmatch(self._take()[1]) else part
            parts.append(part)
        return lambda known: all(ends(known) for ends in parts)

    def _part(self) -> Ends:
        kind, text = self._take()
        if kind == "text":
            return _always
        if kind == "name":  # one that is defined nowhere here comes from elsewhere
            return lambda known: text in known or text not in self.found
        if text not in ("(", "["):
            raise _NotUnderstoodError
        inside = self._choice()
        if self._take()[1] != {"(": ")", "[": "]"}[text]:
            raise _NotUnderstoodError
        return inside if text == "(" else _always


def _always(known: frozenset[str]) -> bool:
    return True
