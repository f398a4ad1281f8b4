"""The recipe of block heads: what a batch costs, and how far a chain would be accepted.

The loss of step s is the cross entropy of the target's own law, which the head has only over its vocabulary, and that
of the target's next token, mixed; later steps weigh less, by 0.8 a step as in EAGLE-3 (2503.01840). Only what follows
the prompt counts, and only where the next token is one that the head can say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from foredraft.core.errors import UsageError
from foredraft.heads.block import Batch, BlockHead
from foredraft.heads.files import HeadConfig
from foredraft.train.corpus import Text, common
from foredraft.train.target import Columns, TorchTarget

DECAY = 0.8


@dataclass(frozen=True)
class Settings:
    """taps: layers of the target, three spread over it as in EAGLE-3 by default. hard: share of the loss that looks at
    the next token alone; the rest looks at the target's whole law."""

    taps: tuple[int, ...] = ()
    layers: int = 1
    hidden: int = 0
    block: int = 6
    rank: int = 64
    vocabulary: int = 8192
    hard: float = 0.5
    heads: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        least = {"layers": 1, "block": 2, "rank": 1, "vocabulary": 1, "hidden": 0}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise UsageError(f"{name} of a head must be at least {bound}, not {getattr(self, name)}")
        if self.hidden % 32:
            raise UsageError(f"hidden of a head must be a multiple of 32, not {self.hidden}: no other is computed fast")
        if not 0 <= self.hard <= 1:
            raise UsageError(f"hard is a share of the loss, from 0 to 1, not {self.hard}")


class BlockRecipe:
    """method: its name. head: what is trained."""

    method = "block"

    def __init__(self, target: TorchTarget, texts: Sequence[Text], settings: Settings, seed: int = 0) -> None:
        self.target, self.hard = target, settings.hard
        config, about = target.model.config, target.about
        layers = about.layers
        taps = settings.taps or (min(2, layers - 1), layers // 2, max(layers - 3, 0))
        if not all(0 <= tap < layers for tap in taps):  # after the last layer transformers shows normed states
            raise UsageError(f"a head reads a target of {layers} layers after 0 to {layers - 1} of them, not {taps}")
        size = getattr(config, "head_dim", None) or about.width // config.num_attention_heads
        own = (config.num_attention_heads, config.num_key_value_heads, size)
        heads, kv_heads, head_size = settings.heads or own
        rope = config.rope_parameters
        self.config = HeadConfig(
            method=self.method,
            target=about,
            taps=taps,
            layers=settings.layers,
            heads=heads,
            kv_heads=kv_heads,
            head_size=head_size,
            hidden=settings.hidden or 2 * about.width,
            block=settings.block,
            rank=settings.rank,
            rope_base=float(rope.get("full_attention", rope)["rope_theta"]),  # Gemma has two, by kind of layer
            epsilon=1e-6,
        )
        torch.manual_seed(seed)
        vocabulary = torch.tensor(common(texts, settings.vocabulary))
        rows = target.head[vocabulary.to(target.device)].detach().clone()
        self.head = BlockHead(self.config, vocabulary, rows).to(target.device)
        self.place = torch.full((target.head.shape[0],), -1, dtype=torch.long)
        self.place[vocabulary] = torch.arange(len(vocabulary))
        self.place = self.place.to(target.device)

    @property
    def says(self) -> list[int]:
        found: list[int] = self.head.vocabulary.tolist()
        return found

    @property
    def parameters(self) -> int:
        return sum(one.numel() for one in self.head.parameters())

    def describe(self, provenance: dict[str, Any]) -> HeadConfig:
        return replace(self.config, provenance=provenance)

    def _read(self, texts: Sequence[Text]) -> tuple[Columns, Batch, Tensor]:
        """-> columns, what the head reads, [texts, columns] places of the tokens in its vocabulary or -1."""
        columns = self.target.columns(texts, self.config.taps)
        places = self.place[columns.ids]
        batch = Batch(
            columns.hidden, columns.embedded, columns.positions, columns.real, columns.start, places.clamp(min=0)
        )
        return columns, batch, places

    def loss(self, texts: Sequence[Text]) -> Tensor:
        """The loss of a batch; 0 where it holds nothing that the head can say."""
        columns, batch, places = self._read(texts)
        start, last = columns.start, columns.ids.shape[1] - 1
        with torch.no_grad():
            laws = F.linear(columns.last[:, start:].to(self.head.head.dtype), self.head.head).float().softmax(-1)
            laws = laws.to(torch.bfloat16)
        total, weights = torch.zeros((), device=places.device), 0.0
        for step, rows in enumerate(self.head(batch)[: last - start]):  # short responses have no later steps
            ends = last - start - step  # columns whose target is a column
            wanted = places[:, start + 1 + step :]
            counts = columns.real[:, start + 1 + step :] & (wanted >= 0)
            if not counts.any():
                continue
            drafted = batch.previous[:, start + step : start + step + ends][counts]
            value = checkpoint(
                self._step, rows[:, :ends][counts], laws[:, step : step + ends][counts], wanted[counts], drafted, step,
                use_reentrant=False,
            )  # fmt: skip
            total, weights = total + DECAY**step * value, weights + DECAY**step
        if not weights:
            nothing: Tensor = sum(one.sum() for one in self.head.parameters()) * 0.0  # which can be learnt from
            return nothing
        return total / weights

    def _step(self, rows: Tensor, laws: Tensor, wanted: Tensor, drafted: Tensor, step: int) -> Tensor:
        logs = self.head.logits(rows, step, drafted).float().log_softmax(-1)
        hard = F.nll_loss(logs, wanted)
        soft = -(laws.float() * logs).sum(-1).mean()
        return self.hard * hard + (1 - self.hard) * soft

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def accepted(self, texts: Sequence[Text]) -> tuple[int, int, np.ndarray]:
        """Tokens emitted, passes, and accepted drafts by position, of greedy chains on the responses as they stand."""
        columns, batch, places = self._read(texts)
        start, width = columns.start, columns.ids.shape[1]
        agree = torch.zeros((self.config.block, *columns.ids.shape), dtype=torch.bool, device=places.device)
        for step, rows in enumerate(self.head(batch)[: width - 1 - start]):
            ends = width - 1 - start - step
            for row in range(len(texts)):
                drafted = batch.previous[row, start + step : start + step + ends]
                guess = self.head.logits(rows[row, :ends], step, drafted).float().argmax(-1)
                agree[step, row, start : start + ends] = guess == places[row, start + 1 + step :]
        real, found = columns.real.cpu().numpy(), agree.cpu().numpy()
        tokens, passes, by_position = 0, 0, np.zeros(self.config.block, dtype=np.int64)
        for row in range(len(texts)):
            at, end = start + 1, int(np.flatnonzero(real[row])[-1])  # the first token comes without a draft
            while at < end:
                run = 0
                while run < self.config.block and at + run < end and found[run, row, at]:
                    run += 1
                by_position[:run] += 1
                more = min(run + 1, end - at)  # the text ends there
                tokens, passes, at = tokens + more, passes + 1, at + more
        return tokens, passes, by_position
