"""How deep grammars go: by hand, and against following every way down random ones."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from foredraft.grammar import depth
from foredraft.grammar.depth import DEEPEST, depth_of_lark, depth_of_schema, longest


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small grammars are looked through too."""
    monkeypatch.setattr(depth, "DEEPEST", 0)


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize(
    ("grammar", "levels"),
    [
        ('start: "a"', 1),
        ('start: x\nx: "a" y | "c"\ny: "b"', 3),
        ('start: x y\nx: ("a" (y | "b")?)?\ny: "b"', 5),
        ('start: "a" start?', 1),
        ('start: x\nx: "a" y?\ny: "b" x | z\nz: "c"', 4),
        ('start: "a" -> x', None),
    ],
)
def test_lark(grammar: str, levels: int | None) -> None:
    assert depth_of_lark(grammar) == levels


NODE = {"type": "array", "items": {"$ref": "#/$defs/n"}}


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize(
    ("schema", "levels"),
    [
        ({"type": "null"}, 1),
        ({"items": {"items": {}}}, 3),
        ({"$ref": "#/$defs/n", "$defs": {"n": {"items": {}}}}, 4 + 2),
        ({"$ref": "#/$defs/n", "$defs": {"n": NODE}}, 4 + 2),  # a ring of one
        ({"$ref": "#/$defs/n", "$defs": {"n": NODE, "o": {"$ref": "#/$defs/n"}}}, 4 + 2),
        ({"items": {"$ref": "#n"}, "$defs": {"n": {"$anchor": "n"}}}, 3 + 3),  # may be anywhere
        ({"items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"$id": "n"}}}, 3 + 3),
    ],
)
def test_schemas(schema: dict[str, Any], levels: int) -> None:
    assert depth_of_schema(json.dumps(schema)) == levels


def test_what_is_small_is_not_looked_through() -> None:
    assert depth_of_lark('start: "a:(" | /[:(]/ // (:\n  | ("b" -> x)') == 2
    assert depth_of_schema('{"anyOf": [{}, {"$ref": "#"}]}') == 4
    assert depth_of_lark("start: a0 -> x\n" + "".join(f"a{at}: b\n" for at in range(DEEPEST))) is None


def test_no_way_down_is_longer_than_found_and_without_rings_one_is_as_long() -> None:
    generator = np.random.default_rng(1)
    rings = 0

    def ways(name: str, met: tuple[str, ...]) -> int:
        below = [ways(one, (*met, name)) for one in uses[name] if one not in (*met, name)]
        return heights[name] + max(below, default=0)

    for turn in range(400):
        names = [f"n{at}" for at in range(int(generator.integers(1, 7)))]
        heights = {name: int(generator.integers(1, 5)) for name in names}
        uses = {
            name: [
                other
                for place, other in enumerate(names)
                if generator.random() < 0.4 and (turn % 2 or place > int(name[1:]))
            ]
            for name in names
        }
        found, true = longest(heights, uses), max(ways(name, ()) for name in names)
        assert true <= found <= sum(heights.values())
        assert turn % 2 or found == true
        rings += found > true
    assert rings > 5
