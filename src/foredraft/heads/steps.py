"""Heads that draft token by token, each from its own last hidden state (torch; inference on any device, training).

A row joins a state and the embedding of the token that follows it, and predicts the token after that. Context rows
carry the target's hidden states; the row of a drafted token carries what the row before it ended with. EAGLE, EAGLE-3
and multi-token prediction differ in how a row enters the layer, and in what they say of its end.

In training every position is the end of a context once, and column t of step s stands for the row of token t + s. With
one layer for all steps it sees the context rows up to t and the earlier steps of its own column: the diagonal of
EAGLE-3's training-time test (2503.01840, section 3.2), which is what drafting sees. With a layer for every step it sees
the rows of its own step alone, as in DeepSeek-V3 (2412.19437, section 2.2).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foredraft.heads.batch import Batch
from foredraft.heads.files import HeadConfig
from foredraft.heads.layers import Layer, load_named, named, turns, visible
from foredraft.heads.shapes.layers import Layers


class Step(Layer, ABC):
    """A layer, and how a row enters it."""

    @abstractmethod
    def enter(self, carried: Tensor, embedded: Tensor) -> tuple[Tensor, Tensor]:
        """Both [texts, columns, width] -> what goes past the attention, and what the attention reads."""


class Joined(Step):
    """A matrix makes one vector of both, of the parts that it is given."""

    def __init__(self, width: int, shape: Layers, epsilon: float) -> None:
        super().__init__(width, shape, epsilon)
        self.join = nn.Linear(2 * width, width, bias=False)

    @abstractmethod
    def parts(self, carried: Tensor, embedded: Tensor) -> tuple[Tensor, Tensor]: ...

    def enter(self, carried: Tensor, embedded: Tensor) -> tuple[Tensor, Tensor]:
        x = self.join(torch.cat(self.parts(carried, embedded), dim=-1)).to(carried.dtype)  # also under autocast
        return x, self.attention_norm(x)


class StepHead(nn.Module, ABC):  # type: ignore[misc]
    """vocabulary: [tokens] ids of the target that the head may say, ascending. head: the target's rows for them, which
    are neither trained nor stored. steps: one for all tokens, or one for each."""

    def __init__(self, config: HeadConfig[Any], vocabulary: Tensor, head: Tensor, steps: Sequence[Step]) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("vocabulary", vocabulary.to(torch.int32))
        self.register_buffer("head", head, persistent=False)
        self.layers = nn.ModuleList(steps)

    @abstractmethod
    def context(self, hidden: Tensor) -> Tensor:
        """[…, taps, width] of the target -> [… , width] that a context row carries."""

    @abstractmethod
    def said(self, ends: Tensor) -> Tensor:
        """Where rows ended, [… , width] -> what the target's rows of the output head are multiplied with."""

    def forward(self, batch: Batch) -> Iterator[Tensor]:
        """Where the rows of each step ended, one after another: `block` of [texts, columns - start, width].

        Column t of step s predicts the token at column t + 1 + s. Nothing stands before the first column.
        """
        dtype = self.layers[0].down.weight.dtype
        # Copies: what was computed in inference mode cannot be learnt from.
        hidden, embedded = (part.to(dtype, copy=True) for part in (batch.hidden[:, :-1], batch.embedded))
        carried = F.pad(self.context(hidden).to(dtype), (0, 0, 1, 0))
        batch = replace(batch, embedded=embedded)
        return (self._apart if len(self.layers) > 1 else self._recursive)(batch, carried)

    def _recursive(self, batch: Batch, carried: Tensor) -> Iterator[Tensor]:
        layer, start, shape = self.layers[0], batch.start, self.config.shape
        seen = visible(batch.real)
        context: tuple[Tensor, Tensor] | None = None
        column: list[tuple[Tensor, Tensor]] = []
        for step in range(self.config.block):
            first = 0 if context is None else start
            x, read = layer.enter(carried, ahead(batch.embedded, step)[:, first:])
            query, key, value = layer.attention.project(read, turns(batch.positions[:, first:] + step, shape))
            begin = start - first  # nobody reads where the context rows before ended
            if context is None:
                context = (key, value)
            else:
                column.append((key, value))
            attended = layer.attention.attend(query[:, :, begin:], context, seen[:, :, start:], column)
            carried = layer.after(x[:, begin:], attended)
            yield carried

    def _apart(self, batch: Batch, carried: Tensor) -> Iterator[Tensor]:
        seen, angles = visible(batch.real), turns(batch.positions, self.config.shape)
        for step, layer in enumerate(self.layers):
            x, read = layer.enter(carried, ahead(batch.embedded, step))
            query, key, value = layer.attention.project(read, angles)
            carried = layer.after(x, layer.attention.attend(query, (key, value), seen, []))
            yield carried[:, batch.start :]

    def logits(self, rows: Tensor, step: int, previous: Tensor | None = None) -> Tensor:
        """[… , width] -> [… , tokens]. What a row knows of the tokens before it needs no table."""
        return F.linear(self.said(rows).to(self.head.dtype), self.head)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor under the name that files have for it."""
        return named(self)

    def load(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `tensors`."""
        load_named(self, tensors)


def ahead(embedded: Tensor, step: int) -> Tensor:
    """[texts, columns, width] -> those of the tokens `step` columns on, zeros where there are none."""
    return F.pad(embedded, (0, 0, 0, step))[:, step:]


def frozen_norm(weight: Tensor, epsilon: float) -> nn.RMSNorm:
    """The target's own final norm, kept with a head that reads hidden states as the layers leave them."""
    norm = nn.RMSNorm(len(weight), epsilon)
    norm.weight = nn.Parameter(weight.detach().float().clone(), requires_grad=False)
    return norm
