"""From steps to what a page is made of: plain numbers, lists and texts, ready for JSON.

Strings come many times (a token is drafted again and again), so they stand once in `texts` and everything else points
there. Times are seconds from the scored prompt on, to the microsecond; probabilities have four digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from foredraft.core.events import Step
from foredraft.core.tree import ROOT
from foredraft.engine.compare import Arm, Comparison
from foredraft.engine.stats import Stats
from foredraft.models.text import BROKEN, Decode, TextState
from foredraft.trace.again import Judged, Seen

FORMAT = 1
SIGNS, JOINERS = "\n\r\t", "\u200c\u200d"  # the page has signs for the first; the others show by what they join
TARGET = -1  # in place of a node: the token is the target's own
Json = dict[str, Any]
Label = Callable[[int], str]
"""token id -> how it is shown in a tree, control tokens and parts of characters too."""


@dataclass
class Texts:
    """Strings, each once."""

    place: dict[str, int] = field(default_factory=dict)

    def __call__(self, text: str) -> int:
        return self.place.setdefault(text, len(self.place))


def record(
    found: Comparison,
    seen: Sequence[Seen],
    decode: Decode,
    label: Label,
    prompt: str,
    facts: Mapping[str, str],
    *,
    promised: bool,
) -> Json:
    """A generation beside plain decoding. seen: one entry a step of the speculative arm. facts: shown as they stand.

    promised: whether the two must say the same.
    """
    ours = found.speculative
    emitting = [(step, own) for step, own in zip(ours.completion.steps, seen, strict=True) if step.tokens]
    texts, sources = Texts(), Texts()
    for names in (names for step, _ in emitting for names in step.tree.sources):
        for name in names.split("+"):  # before those that only spent time: the first letters are theirs
            sources(name)
    begins = accumulate((step.wall for step, _ in emitting), initial=ours.opening)
    rounds = [_round(step, own, begin, texts, sources, label) for (step, own), begin in zip(emitting, begins)]
    said = pieces(decode, ours.completion.token_ids, ours.completion.text)
    tokens = _tokens(emitting, said, texts, label)
    return {
        "format": FORMAT,
        "facts": dict(facts),
        "prompt": prompt,
        "text": ours.completion.text,
        "finish": ours.completion.finish_reason,
        "stats": _stats(ours.completion.stats),
        "opening": _time(ours.opening),
        "seconds": _time(ours.seconds),
        "rounds": rounds,
        "tokens": tokens,
        "plain": _plain(found.plain, decode, found.identical, texts),
        "promised": promised,
        "first_difference": found.first_difference(),
        "texts": list(texts.place),
        "sources": list(sources.place),
    }


def pieces(decode: Decode, tokens: Sequence[int], text: str) -> list[str]:
    """What each token adds to `text`: half a character comes with its last token, what a stop string cut off is none.

    Joined, they are `text`.
    """
    state, found = TextState.of(decode), list[str]()
    for token in tokens:
        state, piece = state.push(token)
        found.append(piece)
    if found:
        found[-1] += state.flush()
    left = len(text)
    for at, piece in enumerate(found):
        found[at] = piece[:left]
        left -= len(found[at])
    if "".join(found) != text:
        raise ValueError("these tokens do not spell the text: give the decoder it was made with")
    return found


def labels(decode: Decode, spelt: Callable[[int], bytes | None]) -> Label:
    """How tokens are shown: their text where it can be seen, else the bytes they spell as in «E2 80», else their
    number.
    """

    def label(token: int) -> str:
        raw = spelt(token)
        if raw is None:
            return decode((token,)) or f"#{token}"
        text = raw.decode(errors="replace")
        return text if text and BROKEN not in text and _visible(text) else f"«{raw.hex(' ').upper()}»"

    return label


def _visible(text: str) -> bool:
    """Whether all of it can be seen: what cannot might also turn the words beside it around."""
    shown = "".join(letter for letter in text if letter not in SIGNS + JOINERS)
    return shown.isprintable() and bool(text.strip(JOINERS))


def _round(step: Step, seen: Seen, begin: float, texts: Texts, sources: Texts, label: Label) -> Json:
    seconds = step.seconds
    times = (seconds.draft, seconds.verify, seconds.sample, seconds.other)
    found: Json = {
        "first": step.position,
        "count": len(step.tokens),
        "accepted": step.accepted,
        "rows": step.rows,
        "begin": _time(begin),
        "times": [_time(one) for one in times],
        "spent": [[sources(source), _time(one)] for source, one in step.spent if one > 0],
    }
    if step.expected is not None:
        found["expected"] = [round(step.expected[0], 2), _time(step.expected[1])]
    if step.fault is not None:
        found["fault"] = step.fault
    if len(step.tree):
        found["tree"] = _tree(step, seen, texts, sources, label)
    return found


def _tree(step: Step, seen: Seen, texts: Texts, sources: Texts, label: Label) -> Json:
    """claim: what the drafters held of a node's token once its parent is accepted."""
    tree = step.tree
    above = [0.0 if parent == ROOT else tree.score[parent] for parent in tree.parents]
    found: Json = {
        "tokens": [texts(label(token)) for token in tree.tokens],
        "parents": list(tree.parents),
        "p": [_prob(one) for one in seen.drafts],
        "claim": [_prob(_claim(score, parent)) for score, parent in zip(tree.score, above)],
        "sources": [sorted(map(sources, names.split("+"))) for names in tree.sources],
        "path": list(step.path[: step.accepted]),
    }
    if any(tree.probes):
        found["probes"] = [node for node, probe in enumerate(tree.probes) if probe]
    return found


def _claim(score: float, above: float) -> float:
    """exp(score - above); a node below one that is held impossible is impossible too."""
    return math.exp(min(0.0, score - above)) if score != -math.inf else 0.0


def _tokens(emitting: Sequence[tuple[Step, Seen]], said: Sequence[str], texts: Texts, label: Label) -> list[Json]:
    found = list[Json]()
    for number, (step, seen) in enumerate(emitting):
        nodes = (*step.path[: step.accepted], *(TARGET for _ in step.tokens[step.accepted :]))
        for token, node, judged in zip(step.tokens, nodes, seen.tokens, strict=True):
            found.append(_token(token, said[len(found)], number, node, judged, texts, label))
    return found


def _token(token: int, piece: str, number: int, node: int, judged: Judged, texts: Texts, label: Label) -> Json:
    return {
        "piece": texts(piece),
        "label": texts(label(token)),
        "round": number,
        "node": node,
        "p": _prob(judged.prob),
        "bits": round(judged.entropy, 3),
        "top": [[texts(label(other)), _prob(prob)] for other, prob in judged.top],
    }


def _plain(arm: Arm, decode: Decode, identical: bool, texts: Texts) -> Json:
    """The clock of plain decoding: when each of its tokens was there, and what it said where that is something else."""
    steps = [step for step in arm.completion.steps if step.tokens]
    ends = [_time(end) for end in accumulate((step.wall for step in steps), initial=arm.opening)][1:]
    found: Json = {"seconds": _time(arm.seconds), "ends": ends}
    if not identical:
        said = pieces(decode, arm.completion.token_ids, arm.completion.text)
        found["pieces"] = [texts(piece) for piece in said]
    return found


def _stats(stats: Stats) -> Json:
    return {
        "tokens": stats.tokens,
        "passes": stats.passes,
        "drafted": stats.drafted,
        "accepted": stats.accepted,
        "mean_acceptance_length": round(stats.mean_acceptance_length, 3),
        "lossless": stats.lossless,
    }


def _time(seconds: float) -> float:
    return round(seconds, 6)


def _prob(prob: float) -> float:
    return float(f"{prob:.4g}")
