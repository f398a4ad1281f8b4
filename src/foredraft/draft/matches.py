"""Where a context stood before and what followed it there: plain functions, the specification of their native twins.

Text is an array of int32 in which a negative number ends one text and begins another. `draft/native.py` chooses which
twin runs; both do the same additions, multiplications and divisions in the same order, so they give the same bits.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Text = Sequence[int] | NDArray[np.int32]
Places = NDArray[np.int32]
"""[places, 2]: where a context was followed by something, and how many of its last tokens stood before that place; the
longest match first, of equals the latest place."""
Source = tuple[Text, bool, Places, float]
"""A text, whether it goes on with itself past its end, places in it, and how much a match there is doubted."""

KEY = 3
"""Tokens of context behind the second chain of places."""


def matches(
    text: Text,
    single: Text,
    triple: Text,
    newest: tuple[int, int],
    context: Text,
    span: tuple[int, int],
    reach: int,
) -> Places:
    """The places in text[first:until] that followed the end of `context`, span = (first, until).

    single[i], triple[i]: the place before i with the same token, the same three last tokens; negative for none. newest:
    where these chains begin. `reach` places of each chain are looked at: the latest ones, so a long match is found
    among the last places of three tokens, however common its last token is.
    """
    third = newest[1] if len(context) >= KEY else -1  # places of less than three tokens are all found by the last one
    found = [(size, end) for end, size in _chain(text, triple, third, context, span, reach)]
    found += [(size, end) for end, size in _chain(text, single, newest[0], context, span, reach) if size < KEY]
    found.sort(reverse=True)
    return np.array([(end, size) for size, end in found], dtype=np.int32).reshape(-1, 2)


def _chain(
    text: Text, before: Text, place: int, context: Text, span: tuple[int, int], reach: int
) -> list[tuple[int, int]]:
    first, until = span
    found: list[tuple[int, int]] = []
    while place >= first and len(found) < reach:
        if place + 1 < until:
            size, most = 1, min(len(context), place - first + 1)
            while size < most and text[place - size] == context[-1 - size]:
                size += 1
            found.append((place + 1, size))
        place = before[place]
    return found


def bounds(text: Text, suffixes: Text, context: Text) -> tuple[int, int]:
    """The run of `suffixes` (places in text, sorted by what stands there) where `context` stands: [low, high)."""
    wanted, size = tuple(context), len(context)

    def search(beyond: bool) -> int:
        low, high = 0, len(suffixes)
        while low < high:
            middle = (low + high) // 2
            here = tuple(text[suffixes[middle] : suffixes[middle] + size])
            if here < wanted or (beyond and here == wanted):
                low = middle + 1
            else:
                high = middle
        return low

    return search(beyond=False), search(beyond=True)


def continuations(
    sources: Sequence[Source], rows: int, depth: int, least: float
) -> tuple[list[int], list[int], list[float]]:
    """The likeliest tree of what followed: tokens, parents (-1 the root), and the chance that each path is right.

    A level is a source and a match length m: it counts the places of that source where at least m tokens matched. After
    a path of d tokens taken by C of them, of which c go on with x, the chance of x is c / (C + doubt / (m + d)): as
    the counts say, less what a short match or few places leave open. The chance of a path is the product; its best
    level counts. At most `rows` nodes no deeper than `depth`, best first; none with a chance below `least`.
    """
    levels = [(source, size) for source, (_, _, places, _) in enumerate(sources) for size in _sizes(places)]
    everywhere = [
        (source, int(place), int(size)) for source, (_, _, places, _) in enumerate(sources) for place, size in places
    ]
    tokens: list[int] = []
    parents: list[int] = []
    chances: list[float] = []
    heap: list[tuple[float, int, int, int, int, list[tuple[int, int, int]], list[float]]] = []
    pushed = 0
    waiting = (-1, 0, everywhere, [1.0] * len(levels))
    while True:
        parent, d, places, chance = waiting
        if d < depth:
            for token, group, own in _children(sources, levels, places, chance, d):
                best = max(own)
                if best >= least:
                    heapq.heappush(heap, (-best, pushed, token, parent, d + 1, group, own))
                    pushed += 1
        if not heap or len(tokens) >= rows:
            return tokens, parents, chances
        negative, _, token, parent, d, group, own = heapq.heappop(heap)
        tokens.append(token)
        parents.append(parent)
        chances.append(-negative)
        waiting = (len(tokens) - 1, d, group, own)


def _sizes(places: Places) -> list[int]:
    """The match lengths that occur, longest first."""
    return sorted({int(size) for size in places[:, 1]}, reverse=True)


def _children(
    sources: Sequence[Source],
    levels: Sequence[tuple[int, int]],
    places: Sequence[tuple[int, int, int]],
    chance: Sequence[float],
    d: int,
) -> list[tuple[int, list[tuple[int, int, int]], list[float]]]:
    """What follows at these places, in the order of the first place: token, its places, its chance on each level."""
    groups: dict[int, list[tuple[int, int, int]]] = {}
    for at in places:
        token = _following(*sources[at[0]][:2], at[1], d)
        if token >= 0:
            groups.setdefault(token, []).append(at)
    total = _counts(levels, [at for group in groups.values() for at in group])
    return [
        (
            token,
            group,
            [
                above * (count / (whole + sources[source][3] / (size + d))) if count else 0.0
                for above, count, whole, (source, size) in zip(
                    chance, _counts(levels, group), total, levels, strict=True
                )
            ],
        )
        for token, group in groups.items()
    ]


def _counts(levels: Sequence[tuple[int, int]], places: Sequence[tuple[int, int, int]]) -> list[int]:
    """How many of the places belong to each level."""
    exact = dict.fromkeys(levels, 0)
    for source, _, size in places:
        exact[source, size] += 1
    found: list[int] = []
    for index, (source, _) in enumerate(levels):  # a level's places are those of the longer ones of its source too
        longer = found[-1] if index and levels[index - 1][0] == source else 0
        found.append(longer + exact[levels[index]])
    return found


def _following(text: Text, wraps: bool, place: int, d: int) -> int:
    """The token d after `place`; past the end it is what this continuation has said itself, or none."""
    if place + d < len(text):
        return int(text[place + d])
    return int(text[place + d % (len(text) - place)]) if wraps and place < len(text) else -1
