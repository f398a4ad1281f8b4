"""The block head against its definition, written out row by row in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from foredraft.heads.files import HeadConfig, Target
from foredraft.heads.shapes.block import BlockShape

torch = pytest.importorskip("torch")
from foredraft.heads.batch import Batch  # noqa: E402
from foredraft.heads.block import BlockHead  # noqa: E402

Array = NDArray[np.float64]


def config(layers: int = 1, block: int = 3) -> HeadConfig[BlockShape]:
    shape = BlockShape(layers=layers, heads=4, kv_heads=2, head_size=16, hidden=96, rank=8, rope_base=1e4)
    return HeadConfig("block", Target("tiny", 64, 5, 40, ""), (1, 2, 4), block, 1e-6, shape)


def head(made: HeadConfig[BlockShape], seed: int = 0) -> BlockHead:
    torch.manual_seed(seed)
    vocabulary = torch.tensor(sorted(torch.randperm(40)[:24].tolist()))
    found = BlockHead(made, vocabulary, torch.randn(24, 64)).double()
    for parameter in found.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return found


class Plain:
    """One text, one row at a time: the formulas of docs/algorithms/block_drafter.md and nothing else."""

    def __init__(self, made: HeadConfig[BlockShape], tensors: dict[str, Array]) -> None:
        self.made, self.t = made, tensors

    def norm(self, x: Array, weight: Array | float = 1.0) -> Array:
        found: Array = x / np.sqrt((x * x).mean() + self.made.epsilon) * weight
        return found

    def base(self, hidden: Array, embedded: Array) -> Array:
        """[taps, width] of a position, [width] of the token after."""
        found: Array = self.t["fuse.weight"] @ np.concatenate([self.norm(part) for part in [*hidden, embedded]])
        return found

    def turned(self, vectors: Array, position: int) -> Array:
        half = self.made.shape.head_size // 2
        angles = position * self.made.shape.rope_base ** (-2 * np.arange(half) / self.made.shape.head_size)
        a, b = vectors[:, :half], vectors[:, half:]
        return np.concatenate([a * np.cos(angles) - b * np.sin(angles), b * np.cos(angles) + a * np.sin(angles)], 1)

    def rows(self, inputs: list[Array], positions: list[int], sees: list[list[int]]) -> list[Array]:
        """Every row through all layers; `sees` says which rows each attends to, itself included."""
        made = self.made
        for layer in range(made.shape.layers):
            w = {name.split(".")[2]: value for name, value in self.t.items() if name.startswith(f"layers.{layer}.")}
            normed = [self.norm(x, w["attention_norm"]) for x in inputs]
            size, group = made.shape.head_size, made.shape.heads // made.shape.kv_heads
            queries = [self.turned((w["query"] @ x).reshape(-1, size), at) for x, at in zip(normed, positions)]
            keys = [self.turned((w["key"] @ x).reshape(-1, size), at) for x, at in zip(normed, positions)]
            values = [(w["value"] @ x).reshape(-1, size) for x in normed]
            after = []
            for row, x in enumerate(inputs):
                mixed = []
                for one in range(made.shape.heads):
                    scores = np.array([queries[row][one] @ keys[other][one // group] for other in sees[row]])
                    weights = np.exp(scores / np.sqrt(size) - (scores / np.sqrt(size)).max())
                    weights /= weights.sum()
                    mixed.append(sum(w_ * values[other][one // group] for w_, other in zip(weights, sees[row])))
                x = x + w["out"] @ np.concatenate(mixed)
                inner = self.norm(x, w["hidden_norm"])
                gate = w["gate"] @ inner
                after.append(x + w["down"] @ (gate / (1 + np.exp(-gate)) * (w["up"] @ inner)))
            inputs = after
        return [self.norm(x, self.t["norm.weight"]) for x in inputs]

    def block(self, hidden: Array, embedded: Array) -> list[Array]:
        """hidden: [positions - 1, taps, width]; embedded: [positions, width]. The block after the last position."""
        last = len(embedded) - 1
        context = [self.base(hidden[at - 1], embedded[at]) for at in range(1, last + 1)]
        masks = [context[-1] + offset for offset in self.t["offsets"]]
        count = len(context)
        return self.rows(
            [*context, *masks],
            [*range(1, last + 1), *(last + step for step in range(1, len(masks) + 1))],
            [list(range(row + 1)) for row in range(count + len(masks))],
        )[count - 1 :]


@pytest.mark.parametrize("layers", [1, 2])
def test_every_column_drafts_what_the_definition_says(layers: int) -> None:
    made = config(layers)
    module = head(made)
    plain = Plain(made, {name: value.detach().numpy() for name, value in module.tensors().items()})
    chance = np.random.default_rng(1)
    lengths, columns, start = [(2, 9), (4, 7), (3, 6)], 9, 3  # (first real column, one past the last)
    hidden, embedded = chance.normal(size=(3, columns, 3, 64)), chance.normal(size=(3, columns, 64))
    real = np.array([[first <= at < end for at in range(columns)] for first, end in lengths])
    positions = np.maximum(real.cumsum(1) - 1, 0)
    batch = Batch(*map(torch.from_numpy, (hidden, embedded, positions, real)), start, torch.zeros(3, columns).long())  # type: ignore[arg-type]
    found = module(batch)
    assert len(found) == made.block
    for text, (first, end) in enumerate(lengths):
        for column in range(max(start, first + 1), end):
            expected = plain.block(hidden[text, first:column], embedded[text, first : column + 1])
            for step, rows in enumerate(found):
                got = rows[text, column - start].detach().numpy()
                np.testing.assert_allclose(got, expected[step], rtol=0, atol=1e-5)  # angles and softmax are float32


def test_the_bias_is_of_the_token_before() -> None:
    module = head(config())
    rows, previous = torch.randn(5, 64).double(), torch.tensor([0, 3, 23, 7, 7])
    t: dict[str, Any] = {name: value.detach().double().numpy() for name, value in module.tensors().items()}
    plain = rows.numpy() @ module.head.double().numpy().T
    np.testing.assert_allclose(module.logits(rows, 0, previous).detach().numpy(), plain, atol=1e-5)
    expected = plain + t["previous.weight"][previous.numpy()] @ t["bias.weight"].T
    np.testing.assert_allclose(module.logits(rows, 1, previous).detach().numpy(), expected, atol=1e-5)
