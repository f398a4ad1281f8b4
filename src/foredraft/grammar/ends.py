"""Which parts of a grammar have a finite text: the least fixed point over names, in time linear in the grammar.

Generating symbols (Hopcroft, Motwani and Ullman, section 7.1.2), found as Dowling and Gallier (1984) find what Horn
clauses imply.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Ends:
    """What has a finite text if all of `parts` have, or with every=False if one has: names, or such parts."""

    parts: tuple[Ends | str, ...] = ()
    every: bool = True


ALWAYS = Ends()


def ending(rules: Mapping[str, Ends]) -> set[str]:
    """The names that have a finite text; one that is defined nowhere here comes from elsewhere and has one.

    missing: of each part, how many below it must still be found. above: what waits for a part, by its number, or name.
    """
    missing = list[int]()
    above = defaultdict[int | str, list[int | str]](list)
    found = list[int | str]()
    entered: list[tuple[Ends | str, int | str]] = [(part, name) for name, part in rules.items()]
    while entered:
        part, over = entered.pop()
        if isinstance(part, str):
            above[part].append(over)
            continue
        number = len(missing)
        missing.append(len(part.parts) if part.every else 1)
        above[number].append(over)
        entered += [(below, number) for below in part.parts]
        if not missing[number]:
            found.append(number)
    found += [name for name in above if isinstance(name, str) and name not in rules]
    known = set[str]()
    while found:
        for over in above[found.pop()]:
            if isinstance(over, int):
                missing[over] -= 1
                if missing[over] == 0:
                    found.append(over)
            elif over not in known:
                known.add(over)
                found.append(over)
    return known
