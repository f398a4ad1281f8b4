"""How deep a grammar goes, rule in rule: bounded, for llguidance follows it by recursion.

Where the stack of its thread ends, after some thousand levels, so does the process, and no error can be caught. What is
computed here is an upper bound of any way down: rules that lead to each other may all stand on it.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from foredraft.grammar.endless import references, target
from foredraft.grammar.lark import Reader

DEEPEST = 1000
"""Levels; of 8 MB of stack, they take less than half."""

MARKS = re.compile(r'"(?:[^"\\\n]|\\.)*"?|//[^\n]*|\#[^\n]*|/(?:[^/\\\n]|\\.)+/?|([:([])')


def depth_of_lark(text: str) -> int | None:
    """Rules and groups on the longest way down; None where the rules cannot be read.

    A grammar with few of them is not read: it cannot go deeper than all of them.
    """
    marks = sum(1 for found in MARKS.finditer(text) if found[1])
    if marks <= DEEPEST:
        return marks
    reader = Reader.of(text)
    return longest(reader.heights, reader.uses) if reader is not None else None


def depth_of_schema(text: str) -> int:
    """Objects and lists of a JSON schema on the longest way down, references followed; at most what it has in all.

    A reference that is not plainly a place in the schema may lead anywhere in it.
    """
    schema = json.loads(text)
    whole = _containers(schema)
    if len(whole) <= DEEPEST:
        return len(whole)
    inner = text.count('"$id"') > ("$id" in schema)  # then places are counted from elsewhere
    heights, uses = dict[str, int](), dict[str, list[str]]()
    for name in {"#", *references(schema)}:
        known = name == "#" or (name.startswith("#/") and "%" not in name and not inner)
        levels = _containers(target(schema, name)) if known else whole
        heights[name] = max(levels, default=0)
        uses[name] = [*references(target(schema, name))] if known else ["#"]
    return longest(heights, uses)


def _containers(value: Any) -> list[int]:
    """At which level each object or list of a JSON value stands."""
    found = list[int]()
    waiting = [(value, 1)]
    while waiting:
        part, level = waiting.pop()
        if isinstance(part, Mapping | list):
            found.append(level)
            waiting += [(below, level + 1) for below in (part.values() if isinstance(part, Mapping) else part)]
    return found


def longest(heights: Mapping[str, int], uses: Mapping[str, Iterable[str]]) -> int:
    """The largest sum of heights along names that lead to each other, each of a ring counted once (Kosaraju)."""
    users = defaultdict[str, list[str]](list)
    for name, used in uses.items():
        for one in used:
            if one in heights:
                users[one].append(name)
    levels = dict[str, int]()
    for first in reversed(_finished(uses)):
        if first in levels:
            continue
        above, ring = 0, [first]
        met = {first}
        for name in ring:  # which grows
            for user in users[name]:
                if user in levels:
                    above = max(above, levels[user])
                elif user not in met:
                    met.add(user)
                    ring.append(user)
        levels |= dict.fromkeys(ring, above + sum(heights[name] for name in ring))
    return max(levels.values(), default=0)


def _finished(uses: Mapping[str, Iterable[str]]) -> Sequence[str]:
    """The names in the order in which a search in depth is done with them."""
    met, done = set[str](), list[str]()
    for first in uses:
        way = [(first, iter(uses[first]))] if first not in met else []
        met.add(first)
        while way:
            name, rest = way[-1]
            following = next((one for one in rest if one in uses and one not in met), None)
            if following is None:
                done.append(name)
                way.pop()
            else:
                met.add(following)
                way.append((following, iter(uses[following])))
    return done
