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

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foredraft.heads.files import HeadConfig

FAR = -1e4  # a logit that attends to nothing, also in half precision


@dataclass(frozen=True)
class Batch:
    """What a head reads of some texts, aligned: column t of one text is one position.

    hidden: [texts, columns, taps, width], the target's hidden states. embedded: [texts, columns, width], input
    embeddings of the tokens. positions: [texts, columns]; real: [texts, columns], False for padding. start: the first
    column whose row is wanted as a context's end. previous: [texts, columns], places in the head's vocabulary of the
    tokens, 0 for those it does not have.
    """

    hidden: Tensor
    embedded: Tensor
    positions: Tensor
    real: Tensor
    start: int
    previous: Tensor


class Attention(nn.Module):  # type: ignore[misc]
    """Grouped attention of the rows of one step: over the context, and over their own column's earlier steps."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config, d = config, config.width
        queries, keys = config.heads * config.head_size, config.kv_heads * config.head_size
        self.query, self.key = nn.Linear(d, queries, bias=False), nn.Linear(d, keys, bias=False)
        self.value, self.out = nn.Linear(d, keys, bias=False), nn.Linear(queries, d, bias=False)

    def project(self, x: Tensor, angles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[texts, columns, width] -> queries, keys and values [texts, heads, columns, size], keys repeated."""
        c = self.config
        query = rotate(self.query(x).unflatten(-1, (c.heads, c.head_size)), angles)
        key = rotate(self.key(x).unflatten(-1, (c.kv_heads, c.head_size)), angles)
        value = self.value(x).unflatten(-1, (c.kv_heads, c.head_size))
        group = c.heads // c.kv_heads
        return (
            query.transpose(1, 2),
            key.repeat_interleave(group, dim=2).transpose(1, 2),
            value.repeat_interleave(group, dim=2).transpose(1, 2),
        )

    def attend(
        self, query: Tensor, context: tuple[Tensor, Tensor], seen: Tensor, column: list[tuple[Tensor, Tensor]]
    ) -> Tensor:
        """seen: [texts, 1, queries, columns], 0 or FAR. column: keys and values of the same column's earlier rows."""
        scale = self.config.head_size**-0.5
        scores = query @ context[0].transpose(-1, -2) * scale
        scores = scores + seen.to(scores.dtype)
        own = [((query * key).sum(-1, keepdim=True) * scale) for key, _ in column]
        weights = torch.cat([scores, *own], dim=-1).float().softmax(-1).to(query.dtype)
        columns = context[0].shape[2]
        mixed = weights[..., :columns] @ context[1]
        for place, (_, value) in enumerate(column):
            mixed = mixed + weights[..., columns + place, None] * value
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class Layer(nn.Module):  # type: ignore[misc]
    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        d = config.width
        self.attention_norm, self.hidden_norm = nn.RMSNorm(d, config.epsilon), nn.RMSNorm(d, config.epsilon)
        self.attention = Attention(config)
        self.gate, self.up = nn.Linear(d, config.hidden, bias=False), nn.Linear(d, config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, d, bias=False)

    def after(self, x: Tensor, attended: Tensor) -> Tensor:
        x = x + attended
        normed = self.hidden_norm(x)
        out: Tensor = x + self.down(F.silu(self.gate(normed)) * self.up(normed))
        return out


class BlockHead(nn.Module):  # type: ignore[misc]
    """vocabulary: [tokens] ids of the target that the head may say, ascending. head: the target's rows for them, which
    are neither trained nor stored."""

    def __init__(self, config: HeadConfig, vocabulary: Tensor, head: Tensor) -> None:
        super().__init__()
        self.config, d = config, config.width
        self.register_buffer("vocabulary", vocabulary.to(torch.int32))
        self.register_buffer("head", head, persistent=False)
        self.fuse = nn.Linear((len(config.taps) + 1) * d, d, bias=False)
        self.offsets = nn.Parameter(torch.randn(config.block - 1, d) * 0.02)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(d, config.epsilon)
        self.previous = nn.Embedding(len(vocabulary), config.rank)
        self.bias = nn.Linear(config.rank, len(vocabulary), bias=False)
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
                angles = turns(batch.positions[:, shift:] + step, self.config)
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
        return {name.replace(".attention.", "."): value for name, value in self.state_dict().items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `tensors`."""
        own = {name.replace(".attention.", "."): name for name in self.state_dict()}
        self.load_state_dict({own[name]: value for name, value in tensors.items()})


def visible(real: Tensor) -> Tensor:
    """[texts, columns] -> [texts, 1, columns, columns]: 0 where a column sees another, FAR elsewhere.

    The first column of a text has no hidden states before it and is seen by none, but by itself.
    """
    columns = real.shape[1]
    first = torch.cat([torch.zeros_like(real[:, :1]), real[:, :-1]], dim=1) & real
    causal = torch.ones(columns, columns, dtype=torch.bool, device=real.device).tril()
    own = torch.eye(columns, dtype=torch.bool, device=real.device)
    allowed = (causal & first[:, None, :]) | own
    return torch.where(allowed, 0.0, FAR)[:, None]


def turns(positions: Tensor, config: HeadConfig) -> Tensor:
    """[texts, columns] -> [texts, columns, 1, size / 2]: angles of the rotation."""
    half = torch.arange(0, config.head_size, 2, device=positions.device, dtype=torch.float32)
    frequencies = config.rope_base ** (-half / config.head_size)
    angles: Tensor = positions[..., None, None].float() * frequencies
    return angles


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Pairs component i of a head with i + half."""
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
