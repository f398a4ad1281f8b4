"""Which grammars have no finite text: by hand, and against counting the words of random ones."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from foredraft.grammar.endless import endless_lark, endless_schema

NODE = {"type": "array", "items": {"$ref": "#/$defs/n"}, "minItems": 1}


@pytest.mark.parametrize(
    ("grammar", "endless"),
    [
        ('start: "a" start', True),
        ('start: x\nx: "a" y\ny: "b" x', True),
        ('start: x\nx: "a" y | "c"\ny: "b" x', False),
        ('start: "a" start?', False),
        ('start: ("a" start)*', False),
        ('start: ("a" start)+', True),
        ('start: "a" [start]', False),
        ('start: "a"\n  | "b" start', False),
        ('start: "b" start\n  | "a" start', True),
        ('start: (\n"a" start\n)', True),
        ("start: A start{0,2}\nA: /a/", False),
        ("start: A start{1,2}\nA: /a/", True),
        ("start: A start{,2}\nA: /a/", False),
        ("start: A start{2}\nA: /a/", True),
        ('start: start~0..3 "a"', False),
        ('start: start~1..3 "a"', True),
        ("%ignore / /\nstart: FOO", False),
        ('start: "\\"" start // x', True),
        ('# start: "a"\nstart: /[^\\/]+/ start', True),
        ("start: foo\nfoo[lazy]: foo", False),  # not read: options of rules
        ("start: <|tool|> start", True),
    ],
)
def test_lark(grammar: str, endless: bool) -> None:
    assert endless_lark(grammar) == endless


@pytest.mark.parametrize(
    ("schema", "endless"),
    [
        ({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, True),
        ({"type": "object", "properties": {"a": {"$ref": "#"}}}, False),
        ({"type": "object", "additionalProperties": {"$ref": "#"}, "required": ["a"]}, True),
        ({"$ref": "#/$defs/n", "$defs": {"n": NODE}}, True),
        ({"$ref": "#/$defs/n", "$defs": {"n": {"anyOf": [{"type": "null"}, NODE]}}}, False),
        ({"$ref": "#/$defs/n", "$defs": {"n": NODE | {"minItems": 0}}}, False),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"allOf": [{}, {"$ref": "#/$defs/a~1b"}]}}}, True),
        ({"properties": {"a": {"$ref": "#"}}, "required": ["a"]}, False),  # a number will do
        ({"type": "array", "prefixItems": [{"$ref": "#"}], "minItems": 1}, True),
        ({"type": "array", "prefixItems": [{"$ref": "#"}]}, False),
        ({"type": "string"}, False),
        ({"$ref": "#/$defs/n", "$defs": {"n": {"anyOf": []}}}, True),
        # Not read: anchors, and properties by their pattern.
        (
            {
                "type": "object",
                "properties": {"a": {"$ref": "#n"}},
                "required": ["a"],
                "$defs": {"n": {"$anchor": "n"}},
            },
            False,
        ),
        (
            {
                "type": "object",
                "patternProperties": {"^x": {"type": "null"}},
                "additionalProperties": {"$ref": "#"},
                "required": ["x1"],
            },
            False,
        ),
        ({"$ref": "https://elsewhere/x"}, False),
    ],
)
def test_schemas(schema: dict[str, Any], endless: bool) -> None:
    assert endless_schema(json.dumps(schema)) == endless


def shortest(rules: dict[str, list[list[str]]]) -> dict[str, bool]:
    """Which rules derive a word within as many steps of nesting as there are rules, by trying."""

    def derives(name: str, depth: int) -> bool:
        return depth > 0 and any(
            all(part.isupper() or derives(part, depth - 1) for part in parts) for parts in rules[name]
        )

    return {name: derives(name, len(rules)) for name in rules}


def test_random_grammars() -> None:
    generator = np.random.default_rng(1)
    found = {True: 0, False: 0}
    for _ in range(400):
        names = ["start", "x", "y", "z"]
        rules = {
            name: [
                [str(generator.choice([*names, "A"], p=[0.2] * 5)) for _ in range(int(generator.integers(1, 4)))]
                for _ in range(int(generator.integers(1, 3)))
            ]
            for name in names
        }
        text = "\n".join(
            f"{name}: {' | '.join(' '.join(parts) for parts in several)}" for name, several in rules.items()
        )
        endless = endless_lark(text + "\nA: /a/")
        assert endless == (not shortest(rules)["start"]), text
        found[endless] += 1
    assert min(found.values()) > 50
