"""A recorded text drafted otherwise: the rounds that a smaller budget, other sources or a shorter draft would have had.

The default verifier says the target's own token at every position whatever is drafted, so the text stays the same and
is known: which nodes of a recorded tree would have been accepted below any of its nodes can be read off it. Cutting a
tree is therefore exact. A shorter draft lets the next round begin elsewhere, where perhaps none was recorded:

- *recorded*: a round began there, and what it drafted is enough. Exact for a drafter that looks at the text alone and
  whose small drafts are the best part of its large ones.
- *moved*: no round began there. It drafts what is left of the enclosing round's tree below the tokens said since. The
  drafter itself would have looked again, knowing more.
- *stretched*: the recorded draft was as long as it might be, and more is asked for. Where all of it was right the
  drafter is taken to have guessed the next token too, and then what the next round drafted; where it was not, the rest
  is taken to be wrong.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from foredraft.core.events import Step
from foredraft.core.tree import EMPTY, ROOT, DraftTree

Kind = Literal["recorded", "moved", "stretched"]
KINDS: tuple[Kind, ...] = ("recorded", "moved", "stretched")
UNKNOWN = -1  # a drafted token that was not recorded: no text says it


@dataclass(frozen=True)
class Setting:
    """What is drafted instead. rows: nodes a round at most, None for as many as were recorded. depth: of a draft at
    most, None for any. sources: who may draft, those before filling the rows first; empty for all of them, likeliest
    nodes first.
    """

    rows: int | None = None
    depth: int | None = None
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recording:
    """One text and what was drafted for it. starts: the positions at which rounds began, ascending; trees: theirs.

    full: nodes that a round was allowed; None where a policy decided, and a short draft may be all it wanted.
    cap: tokens that the text was allowed.
    """

    tokens: tuple[int, ...]
    starts: tuple[int, ...]
    trees: tuple[DraftTree, ...]
    cap: int
    full: int | None = None

    @staticmethod
    def of(steps: Sequence[Step], cap: int, full: int | None = None) -> Recording:
        """What the steps of one text say; steps that emit nothing say nothing."""
        emitting = [step for step in steps if step.tokens]
        tokens = tuple(token for step in emitting for token in step.tokens)
        return Recording(tokens, tuple(step.position for step in emitting), _trees(emitting), cap, full)

    def draft(self, position: int, rows: int | None) -> tuple[DraftTree, Kind]:
        """What would be drafted at a position with `rows` nodes allowed, None for as was recorded; how it is known.

        A draft that was as long as it might be is taken to have gone on: rightly where all of it was right, wrongly
        (tokens UNKNOWN, which cost a row and say nothing) where it was not.
        """
        place = bisect_right(self.starts, position) - 1
        start, tree = self.starts[place], self.trees[place]
        found = below(tree, self.tokens[start:position])
        kind: Kind = "recorded" if start == position else "moved"
        if rows is None or len(found) >= rows or not self._ended(tree):
            return found, kind
        longer = self._stretched(found, position, place, rows) if self._all_right(place) else found
        if len(longer) > len(found) or start == position:
            kind = "stretched"
        return _padded(longer, rows), kind

    def _ended(self, tree: DraftTree) -> bool:
        """Whether a draft is no longer because it might not be."""
        return self.full is not None and tree.drafted >= self.full

    def _all_right(self, place: int) -> bool:
        """Whether the text left the round's tree at a leaf, so that nothing shows where it goes wrong."""
        end = self.starts[place + 1] - 1 if place + 1 < len(self.starts) else len(self.tokens)
        found = find(self.trees[place], self.tokens[self.starts[place] : end])
        return found is not None and not self.trees[place].children(found)

    def _stretched(self, tree: DraftTree, position: int, place: int, rows: int) -> DraftTree:
        """`tree` with the token after it and the drafts of the rounds that follow, until there are enough nodes."""
        while len(tree) < rows and place + 1 < len(self.starts):
            if not (self._ended(self.trees[place]) and self._all_right(place)):
                break
            place += 1
            bonus = self.starts[place] - 1  # the token that the round before emitted beyond its drafts
            leaf = find(tree, self.tokens[position:bonus])
            if leaf is None or tree.children(leaf):
                break
            one = DraftTree.chain(self.tokens[bonus : bonus + 1], _source(tree, self.trees[place]))
            tree = graft(tree, leaf, graft(one, 0, self.trees[place]))
        return tree


def replay(recording: Recording, setting: Setting) -> tuple[tuple[Step, ...], tuple[Kind, ...]]:
    """The rounds that the text would have had, without times, and how each is known."""
    steps, kinds = list[Step](), list[Kind]()
    tokens, position = recording.tokens, 0
    while position < len(tokens):
        room = recording.cap - position - 1  # the last token always needs one place
        depth = room if setting.depth is None else min(room, setting.depth)
        tree, kind = recording.draft(position, setting.rows)
        tree = cut(tree, setting, depth)
        path = walk(tree, tokens[position:])
        said = tokens[position : position + len(path) + 1]
        accepted = min(len(path), len(said))
        steps.append(Step(position, said, accepted, tree, path, 1 + len(tree)))
        kinds.append(kind)
        position += len(said)
    return tuple(steps), tuple(kinds)


def cut(tree: DraftTree, setting: Setting, depth: int) -> DraftTree:
    """The likeliest nodes within the setting, parents before children; the sources named first come first."""
    rows = len(tree) if setting.rows is None else setting.rows
    stages: list[frozenset[str] | None] = [None]
    if setting.sources:
        stages = [frozenset(setting.sources[: count + 1]) for count in range(len(setting.sources))]
    kept = set[int]()
    for allowed in stages:
        heap = [(-tree.score[node], node) for node in tree.children(ROOT)]
        heapq.heapify(heap)
        while heap and len(kept) < rows:
            _, node = heapq.heappop(heap)
            if tree.depths[node] > depth or not (allowed is None or _drafted_by(tree, node, allowed)):
                continue
            kept.add(node)
            for child in tree.children(node):
                heapq.heappush(heap, (-tree.score[child], child))
    return tree if len(kept) == len(tree) else tree.select(kept)


def walk(tree: DraftTree, tokens: Sequence[int]) -> tuple[int, ...]:
    """The nodes that say what the text says, from the root on."""
    path, node = list[int](), ROOT
    for token in tokens:
        found = tree.child(node, token)
        if found is None:
            break
        path.append(found)
        node = found
    return tuple(path)


def find(tree: DraftTree, tokens: Sequence[int]) -> int | None:
    """The node at the end of a path, ROOT for the empty one; None where the tree does not have it."""
    path = walk(tree, tokens)
    if len(path) < len(tokens):
        return None
    return path[-1] if path else ROOT


def below(tree: DraftTree, tokens: Sequence[int]) -> DraftTree:
    """What the tree holds below a path of it, as a tree of its own; empty where it does not have the path."""
    top = find(tree, tokens)
    if top is None or top == ROOT:
        return tree if top == ROOT else EMPTY
    inside = {top}
    for node, parent in enumerate(tree.parents):
        if parent in inside:
            inside.add(node)
    nodes = sorted(inside - {top})
    new = {node: index for index, node in enumerate(nodes)} | {top: ROOT}
    return DraftTree(
        tuple(tree.tokens[node] for node in nodes),
        tuple(new[tree.parents[node]] for node in nodes),
        tuple(tree.score[node] - tree.score[top] for node in nodes),
        tuple(tree.sources[node] for node in nodes),
        tuple(tree.laws[node] for node in nodes),
        tuple(tree.probes[node] for node in nodes),
    )


def graft(tree: DraftTree, leaf: int, more: DraftTree) -> DraftTree:
    """`tree` with the nodes of `more` below its node `leaf`, or below its root."""
    size, score = len(tree), 0.0 if leaf == ROOT else tree.score[leaf]
    return DraftTree(
        tree.tokens + more.tokens,
        tree.parents + tuple(leaf if parent == ROOT else size + parent for parent in more.parents),
        tree.score + tuple(score + one for one in more.score),
        tree.sources + more.sources,
        tree.laws + more.laws,
        tree.probes + more.probes,
    )


def _padded(tree: DraftTree, rows: int) -> DraftTree:
    """`tree` with a chain of unknown tokens below its deepest node, up to so many nodes."""
    missing = rows - len(tree)
    if missing <= 0:
        return tree
    deepest = max(range(len(tree)), key=tree.depths.__getitem__, default=ROOT)
    return graft(tree, deepest, DraftTree.chain((UNKNOWN,) * missing, _source(tree)))


def sources_of(steps: Iterable[Step]) -> set[str]:
    """Everyone who drafted a node."""
    return {name for step in steps for names in set(step.tree.sources) for name in names.split("+")}


def _trees(steps: Sequence[Step]) -> tuple[DraftTree, ...]:
    return tuple(replace(step.tree, laws=(None,) * len(step.tree)) for step in steps)


def _source(*trees: DraftTree) -> str:
    """A name for a node that nobody drafted: whoever drafted next to it."""
    return next((tree.sources[0] for tree in trees if len(tree)), "?")


def _drafted_by(tree: DraftTree, node: int, names: frozenset[str]) -> bool:
    return not names.isdisjoint(tree.sources[node].split("+"))
