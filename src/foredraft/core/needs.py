"""What a drafter asks of the engine and of a request, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foredraft.core.protocols import Request


@dataclass(frozen=True)
class Thrift:
    """How a second model is loaded to cost less; what it says is then near what its file says, not the same.

    quantize: int8 or int4, for its matrices. head: so many tokens, the commonest, are all that it may say; 0 for all.
    head_text: a file whose tokens are counted to find them; without one they are guessed from the vocabulary.
    """

    quantize: str | None = None
    head: int = 0
    head_text: str | None = None


@dataclass(frozen=True)
class Needs:
    """What a drafter asks of the engine, as data.

    taps: target layers whose hidden states `update` must bring. ends: the target's embedding and head. layers: a view
    of the target with these layers, or those chosen by how many it has. model: a second model, by name or path. top: so
    many likeliest tokens of every verified row, which may be all that there is of it: no logits. ahead: the drafter
    also works while the target scores. tokenizer: the vocabulary of the target, and of the second model, which with
    other_vocabulary may be another. thrift: how the second model is loaded. head: a trained head of the target, by its
    file, "" for the one known for it, in the form of `thrift`; it says which taps it reads. grammar, prediction:
    requests without one have no use for the drafter, and it is not opened for them. reads: the drafter reads the text
    with a model of its own, and tells how far behind it is (`Reader`).
    """

    taps: tuple[int, ...] = ()
    ends: bool = False
    layers: tuple[int, ...] | Callable[[int], tuple[int, ...]] = ()
    model: str | None = None
    head: str | None = None
    top: int = 0
    ahead: bool = False
    tokenizer: bool = False
    other_vocabulary: bool = False
    thrift: Thrift = field(default_factory=Thrift)
    reads: bool = False
    grammar: bool = False
    prediction: bool = False

    def view(self, count: int) -> tuple[int, ...]:
        """The layers wanted of a target that has `count`; a choice may raise UsageError."""
        return self.layers(count) if callable(self.layers) else self.layers

    def met(self, request: Request) -> bool:
        """Whether the request has what the drafter lives on."""
        grammar, prediction = request.rules.grammar, request.prediction
        return not (self.grammar and grammar is None or self.prediction and prediction is None)
