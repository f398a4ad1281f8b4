"""Parity: a trained head drafts in the engine what it would by its definition, so that training tells the truth.

The definition is the head in numpy, on the hidden states of the engine's own pass; the tests hold the torch module that
is trained to the same. On the same texts are compared: the laws, with floats (nothing but rounding) and as the engine
computes them (int8); and the mean acceptance length, of trees walked by the definition along the texts, and of the
engine at work.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from foredraft.bench.prompts import Prompt
from foredraft.core.heads import Feed
from foredraft.core.params import SamplingParams
from foredraft.core.protocols import Ask, Budget, Cache, Model, Query
from foredraft.core.rules import Rules
from foredraft.core.sampling import log_softmax
from foredraft.core.stream import KeyedStream
from foredraft.core.tree import ROOT
from foredraft.draft import family, line_up
from foredraft.draft.family import Provided
from foredraft.draft.head_drafter import HeadDrafter
from foredraft.draft.head_state import HeadState
from foredraft.engine.heads import load_head, native_head, plain_head
from foredraft.engine.llm import LLM
from foredraft.engine.shipped import shipped_head
from foredraft.heads.files import read_head
from foredraft.models.native import NativeModel

ROWS = 5  # nodes of a tree
DIVERGENCE = 0.01  # nats
FLOATS = 1e-4  # of a log probability
LENGTH = 0.02  # share of the mean acceptance length
ROUND = 1.0  # more or fewer: of fewer than fifty rounds no other number is within that share
LIKELY = np.log(1e-4)


@dataclass(frozen=True)
class Parity:
    """One head. laws: compared. divergence: mean KL of the engine's laws from those of the definition, in nats. floats:
    the largest difference of a log probability above LIKELY where the engine computes in float32, None where it cannot.
    defined, engine: mean acceptance lengths."""

    head: str
    laws: int
    tokens: int
    divergence: float
    floats: float | None
    defined: float
    engine: float

    @property
    def passed(self) -> bool:
        engine, defined = self.tokens / self.engine, self.tokens / self.defined  # rounds
        near = abs(engine - defined) <= max(ROUND + 1e-6, LENGTH * engine)
        return near and self.divergence <= DIVERGENCE and (self.floats is None or self.floats <= FLOATS)


def heads_of(drafter: str, target: Model) -> list[Path]:
    """The files of the trained heads that a drafter, as written, drafts with."""
    lineup, shipped = line_up(drafter), shipped_head(target)
    if shipped is not None:
        lineup = lineup.with_trained()
    named = [spec.needs.head for spec in lineup.specs if spec.needs.head is not None]
    found = [Path(name).expanduser() if name else shipped for name in named]
    return [path for path in found if path is not None]


def parity(llm: LLM, path: Path, prompts: Sequence[Prompt], max_tokens: int, *, raw: bool = False) -> Parity:
    """llm: any of the target. Its own texts at temperature 0 are drafted again, by the head at `path`."""
    target, threads = llm.loaded.model, llm.loaded.threads
    config, tensors = read_head(path)
    method = family(config.method)
    heads = [plain_head(target, config, tensors), load_head(str(path), target, method=method.name, threads=threads)]
    if isinstance(target, NativeModel):
        heads.append(native_head(target, config, tensors, threads=threads, quantize=None, activations="f32"))
    drafters = [cast(HeadDrafter[Any], method.build(method.options(), Provided(head=head))) for head in heads]
    sums, worst = np.zeros(6), 0.0  # laws, KL, tokens and rounds by definition, and in the engine
    engine = LLM(llm.loaded, drafters[1], num_speculative_tokens=ROWS)  # not closed: the target is llm's
    for prompt in prompts:
        said = prompt.turns[0]
        ids = engine.encode(said) if raw else engine.encode_chat([{"role": "user", "content": said}])
        output = engine.generate(ids, SamplingParams(temperature=0, max_tokens=max_tokens))
        walked, off = _walk(target, drafters, (*ids, *output.token_ids), len(ids))
        sums += (*walked, len(output.token_ids), sum(bool(step.tokens) for step in output.outputs[0].steps))
        worst = float(np.maximum(worst, off))  # which keeps what is no number, and so fails
    for head in heads:
        head.close()
    laws, divergence, walked_tokens, walked_rounds, tokens, rounds = np.maximum(sums, 1e-9).tolist()
    floats = worst if len(heads) > 2 else None
    return Parity(
        path.name, round(laws), round(tokens), divergence / laws, floats, walked_tokens / walked_rounds, tokens / rounds
    )


def _walk(
    target: Model, drafters: Sequence[HeadDrafter[Any]], text: tuple[int, ...], begin: int
) -> tuple[tuple[int, float, int, int], float]:
    """Trees of the first head along a text whose prompt ends before `begin`, as rounds of the engine would go.

    -> (laws, sum of KL of the second head, tokens, rounds), the largest difference of the third.
    """
    definition, taps = drafters[0], _taps(target, text, drafters[0].head.taps)
    caches = [drafter.head.open() for drafter in drafters]
    # The first token comes of the pass that reads the prompt: before, there are no states that could be drafted from.
    laws, divergence, worst, rounds, root = 0, 0.0, 0.0, 1, begin
    while root < len(text) - 1:
        feeds = [_feed(cache, text, taps, root, definition.depth) for cache in caches]
        found = [drafter.laws(feed, text[root + 1 :]) for drafter, feed in zip(drafters, feeds, strict=True)]
        logs = [np.stack([log_softmax(row) for row in logits.astype(np.float64)]) for logits in found]
        divergence += float((np.exp(logs[0]) * (logs[0] - logs[1])).sum())
        laws += len(logs[0])
        if len(logs) > 2:
            off = np.abs(logs[0] - logs[2])[logs[0] > LIKELY].max(initial=0.0)
            worst = float(np.maximum(worst, off))
        depth = min(definition.depth, len(text) - 2 - root)
        root += 1 + _accepted(target, definition, caches[0], text, taps, root, depth)
        rounds += 1
    return (laws, divergence, len(text) - begin, rounds), worst


def _accepted(
    target: Model,
    drafter: HeadDrafter[Any],
    cache: Cache,
    text: tuple[int, ...],
    taps: NDArray[Any],
    root: int,
    depth: int,
) -> int:
    """How far the drafter's tree goes along what follows the root, whose row is fed again."""
    if depth < 1:
        return 0
    cache.trim(cache.length - 1)
    state, budget = HeadState(cache), Budget(ROWS, depth)
    ask = Ask(state, text[: root + 1], Rules(), budget, "point", KeyedStream(0), target.about.vocab_size)
    (tree,) = drafter.grow([ask], [_feed(cache, text, taps, root, depth)])
    node, length = ROOT, 0
    for token in text[root + 1 :]:
        children = [at for at, parent in enumerate(tree.parents) if parent == node and tree.tokens[at] == token]
        if not children:
            break
        node, length = children[0], length + 1
    return length


def _feed(cache: Cache, text: tuple[int, ...], taps: NDArray[Any], root: int, block: int) -> Feed:
    """The rows up to the root that the cache lacks."""
    first = cache.length + 1  # the first token has no row
    return Feed(cache, text[first : root + 1], taps[first - 1 : root], block)


def _taps(target: Model, text: Sequence[int], layers: tuple[int, ...]) -> NDArray[Any]:
    """[tokens, layers * width], of one plain pass."""
    with closing(target.open()) as cache:
        query = Query(cache, tuple(text), tuple(range(-1, len(text) - 1)), taps=tuple(sorted(set(layers))))
        scores = target.score([query])[0]
        return np.concatenate([scores.taps(layer) for layer in layers], axis=1)
