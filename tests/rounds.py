"""Rounds over a toy model, for tests: a sequence to open, a text to make of it, and the text without drafts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from foredraft.core.protocols import AnyDrafter, Request, Verifier
from foredraft.core.rules import Rules
from foredraft.core.sequence import Sequence as Seq
from foredraft.core.stop import Stop, StopState
from foredraft.draft.none import Nothing
from foredraft.engine.loop import generate
from foredraft.engine.sequence import open_sequence
from foredraft.models.toy import Tables, ToyModel
from foredraft.policy.constant import Constant
from foredraft.verify.match import Match

VOCAB = 8
TARGET = Tables.random(VOCAB, 2, seed=1, context=64)
DRAFT = Tables(TARGET.tables[:2], TARGET.orders[:2], TARGET.positions, TARGET.out)  # knows less, agrees often
PROMPT = (1, 2, 3, 1, 2, 3, 1)
WARM = Rules(temperature=0.8)


def stop(max_tokens: int = 24, ids: Sequence[int] = ()) -> StopState:
    return StopState(Stop(frozenset(ids), (), max_tokens))


def opened(
    drafter: AnyDrafter,
    verifier: Verifier | None = None,
    *,
    model: ToyModel | None = None,
    prompt: tuple[int, ...] = PROMPT,
    rules: Rules = WARM,
    ending: StopState | None = None,
    seed: int = 5,
    **options: Any,
) -> Seq:
    request = Request(prompt, seed, rules=rules)
    made = model if model is not None else ToyModel(TARGET)
    return open_sequence(made, drafter, verifier or Match(), request, ending or stop(), **options)


def run(sequence: Seq, *, tokens: int = 4, model: ToyModel | None = None) -> list[int]:
    """The whole generation; between rounds the cache never holds the newest token."""
    made = model if model is not None else ToyModel(TARGET)
    for _ in generate(made, Constant(tokens), [sequence]):
        assert sequence.cache.length <= len(sequence.committed) - 1
        assert sequence.cache.path == sequence.committed[: sequence.cache.length]  # type: ignore[attr-defined]
    return sequence.output


PLAIN = run(opened(Nothing()))
