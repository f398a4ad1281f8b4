"""Layers of a llama in torch, as trained heads have them, and what their files call the tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foredraft.heads.shapes.layers import Layers

FAR = -1e4  # a logit that attends to nothing, also in half precision


class Attention(nn.Module):  # type: ignore[misc]
    """Grouped attention of the rows of one step: over the context, and over their own column's earlier steps."""

    def __init__(self, width: int, shape: Layers) -> None:
        super().__init__()
        self.shape, d = shape, width
        queries, keys = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
        self.query, self.key = nn.Linear(d, queries, bias=False), nn.Linear(d, keys, bias=False)
        self.value, self.out = nn.Linear(d, keys, bias=False), nn.Linear(queries, d, bias=False)

    def project(self, x: Tensor, angles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[texts, columns, width] -> queries, keys and values [texts, heads, columns, size], keys repeated."""
        c = self.shape
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
        scale = self.shape.head_size**-0.5
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
    def __init__(self, width: int, shape: Layers, epsilon: float) -> None:
        super().__init__()
        d = width
        self.attention_norm, self.hidden_norm = nn.RMSNorm(d, epsilon), nn.RMSNorm(d, epsilon)
        self.attention = Attention(d, shape)
        self.gate, self.up = nn.Linear(d, shape.hidden, bias=False), nn.Linear(d, shape.hidden, bias=False)
        self.down = nn.Linear(shape.hidden, d, bias=False)

    def forward(self, x: Tensor, angles: Tensor, seen: Tensor) -> Tensor:
        """Every column at once. x: [texts, columns, width]; seen: [texts, 1, columns, columns], 0 or FAR."""
        query, key, value = self.attention.project(self.attention_norm(x), angles)
        return self.after(x, self.attention.attend(query, (key, value), seen, []))

    def after(self, x: Tensor, attended: Tensor) -> Tensor:
        x = x + attended
        normed = self.hidden_norm(x)
        out: Tensor = x + self.down(F.silu(self.gate(normed)) * self.up(normed))
        return out


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


def turns(positions: Tensor, shape: Layers) -> Tensor:
    """[texts, columns] -> [texts, columns, 1, size / 2]: angles of the rotation."""
    half = torch.arange(0, shape.head_size, 2, device=positions.device, dtype=torch.float32)
    frequencies = shape.rope_base ** (-half / shape.head_size)
    angles: Tensor = positions[..., None, None].float() * frequencies
    return angles


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Pairs component i of a head with i + half."""
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def named(module: nn.Module) -> dict[str, Tensor]:
    """Every tensor of a head under the name that files have for it."""
    return {name.replace(".attention.", "."): value for name, value in module.state_dict().items()}


def load_named(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `named`."""
    own = {name.replace(".attention.", "."): name for name in module.state_dict()}
    module.load_state_dict({own[name]: value for name, value in tensors.items()})
