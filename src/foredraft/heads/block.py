"""The block head: one pass of a small transformer drafts a whole block (torch; inference on any device, training).

Kin to Medusa (2401.10774), EAGLE-3 (2503.01840), P-EAGLE (2602.01469), DFlash (2602.06036) and DSpark. A context row
joins the target's hidden states at one position with the token that followed it, as EAGLE does, and predicts the token
after that. `block - 1` further rows start from the last context row, each with a learnt offset of its own, stand at the
positions that follow, and predict the tokens behind it in the same pass. A low-rank table tells each of them what the
token drafted before it makes likelier (DSpark's bias). docs/algorithms/block_drafter.md has the formulas.

In training every position is the end of a context once: rows of step s see the context rows up to their own, and of
the earlier steps only the row of their own column, which is the pattern of EAGLE-3's training-time test.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foredraft.heads.batch import Batch
from foredraft.heads.files import HeadConfig
from foredraft.heads.layers import Layer, load_named, named, turns, visible
from foredraft.heads.shapes.block import BlockShape


class BlockHead(nn.Module):  # type: ignore[misc]
    """vocabulary: [tokens] ids of the target that the head may say, ascending. head: the target's rows for them, which
    are neither trained nor stored."""

    def __init__(self, config: HeadConfig[BlockShape], vocabulary: Tensor, head: Tensor) -> None:
        super().__init__()
        self.config, d = config, config.width
        self.register_buffer("vocabulary", vocabulary.to(torch.int32))
        self.register_buffer("head", head, persistent=False)
        self.fuse = nn.Linear((len(config.taps) + 1) * d, d, bias=False)
        self.offsets = nn.Parameter(torch.randn(config.block - 1, d) * 0.02)
        self.layers = nn.ModuleList(Layer(d, config.shape, config.epsilon) for _ in range(config.shape.layers))
        self.norm = nn.RMSNorm(d, config.epsilon)
        self.previous = nn.Embedding(len(vocabulary), config.shape.rank)
        self.bias = nn.Linear(config.shape.rank, len(vocabulary), bias=False)
        nn.init.normal_(self.previous.weight, std=1.0)
        nn.init.zeros_(self.bias.weight)

    def inputs(self, hidden: Tensor, embedded: Tensor) -> Tensor:
        """[…, taps, width] and [… , width] of the token after -> [… , width]."""
        parts = torch.cat([hidden, embedded[..., None, :]], dim=-2).float()
        unit = parts * torch.rsqrt(parts.square().mean(-1, keepdim=True) + self.config.epsilon)
        fused: Tensor = self.fuse(unit.flatten(-2).to(self.fuse.weight.dtype))
        return fused

    def forward(self, batch: Batch) -> list[Tensor]:
        """Hidden states of the rows of each step after the final norm: `block` of [texts, columns - start, width].

        Column t of step s predicts the token at column t + 1 + s.
        """
        fused = self.inputs(batch.hidden[:, :-1], batch.embedded[:, 1:]).to(self.offsets.dtype)
        base = F.pad(fused, (0, 0, 1, 0))  # nothing stands before the first column
        start, steps = batch.start, self.config.block
        seen = visible(batch.real)
        rows = [base, *(base[:, start:] + offset for offset in self.offsets)]
        for index, layer in enumerate(self.layers):
            last = index == len(self.layers) - 1
            context: tuple[Tensor, Tensor] | None = None
            column: list[tuple[Tensor, Tensor]] = []
            for step in range(steps):
                x = rows[step]
                shift = 0 if step == 0 else start
                angles = turns(batch.positions[:, shift:] + step, self.config.shape)
                query, key, value = layer.attention.project(layer.attention_norm(x), angles)
                begin = start if step == 0 and last else 0  # nobody reads the rows before
                if context is None:
                    context = (key, value)
                    attended = layer.attention.attend(query[:, :, begin:], context, seen[:, :, begin:], [])
                else:
                    column.append((key, value))
                    attended = layer.attention.attend(query, context, seen[:, :, start:], column)
                rows[step] = layer.after(x[:, begin:], attended)
        return [self.norm(row) for row in rows]

    def logits(self, normed: Tensor, step: int, previous: Tensor | None = None) -> Tensor:
        """[…, width] -> [… , tokens]. previous: […] places of the tokens drafted before, for steps after the first."""
        found = F.linear(normed.to(self.head.dtype), self.head)
        if step and previous is not None:
            found = found + self.bias(self.previous(previous)).to(found.dtype)
        return found

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor under the name that files have for it."""
        return named(self)

    def load(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `tensors`."""
        load_named(self, tensors)
