"""Grammars that no finite text matches: recursion without a way out, which llguidance takes and a model never ends.

What is not understood counts as having a finite text: nothing is refused that could end.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from foredraft.grammar.ends import ALWAYS, Ends, ending
from foredraft.grammar.lark import Reader


def endless_schema(text: str) -> bool:
    """Whether every value that a JSON schema allows would contain another one, for ever."""
    schema = json.loads(text)
    names = {name: target(schema, name) for name in ("#", *references(schema))}
    return "#" not in ending({name: _value(at) for name, at in names.items()})


def endless_lark(text: str) -> bool:
    """Whether the rule `start` of a Lark grammar calls itself, directly or not, in each of its alternatives."""
    reader = Reader.of(text)
    rules = reader.found if reader is not None else {}
    return "start" in rules and "start" not in ending(rules)


def references(schema: Any) -> Iterator[str]:
    """Every reference in a schema, as it is written."""
    if isinstance(schema, Mapping):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for part in schema.values():
            yield from references(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from references(part)


def target(schema: Any, name: str) -> Any:
    """What a reference into the same document points at (RFC 6901); `True`, which allows anything, for any other."""
    if name != "#" and not name.startswith("#/"):
        return True
    for step in name.split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(schema, list) and step.isdecimal() and int(step) < len(schema):
            schema = schema[int(step)]
        elif isinstance(schema, Mapping) and step in schema:
            schema = schema[step]
        else:
            return True
    return schema


def _value(schema: Any) -> Ends:
    """What a value that the schema allows cannot be without."""
    if not isinstance(schema, Mapping) or "const" in schema or "enum" in schema:
        return ALWAYS
    parts: list[Ends | str] = [schema["$ref"]] if isinstance(schema.get("$ref"), str) else []
    for key in ("allOf", "anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            parts.append(Ends(tuple(map(_value, schema[key])), every=key == "allOf"))
    kinds = schema.get("type")
    if kinds in ("object", ["object"]):
        parts += map(_value, _required(schema))
    if kinds in ("array", ["array"]):
        parts += map(_value, _items(schema))
    return Ends(tuple(parts))


def _required(schema: Mapping[str, Any]) -> Iterable[Any]:
    named, names = schema.get("properties"), schema.get("required")
    if not isinstance(names, list) or not isinstance(named, Mapping | None) or "patternProperties" in schema:
        return ()
    return [(named or {}).get(name, schema.get("additionalProperties", True)) for name in names]


def _items(schema: Mapping[str, Any]) -> Iterable[Any]:
    least, first = schema.get("minItems", 0), schema.get("prefixItems", [])
    if not isinstance(least, int) or not isinstance(first, list):
        return ()
    return [*first[:least], *([schema.get("items", True)] if least > len(first) else [])]
