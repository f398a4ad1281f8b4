"""What the recipes of heads have in common: columns, what counts, the loss of a step, chains as they would be accepted.

The loss of step s is the cross entropy of the target's own law, which the head has only over its vocabulary, and that
of the target's next token, mixed by `hard`; later steps weigh less, by `decay` a step. Only what follows the prompt
counts, and only where the next token is one that the head can say.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from foredraft.core.errors import UsageError
from foredraft.heads.batch import Batch
from foredraft.heads.files import VOCABULARY, HeadConfig, read_head, write_head
from foredraft.models.fetch import file_sha256
from foredraft.train.corpus import Text, common
from foredraft.train.cross_entropy import cross_entropy
from foredraft.train.processes import Total, itself
from foredraft.train.target import Columns, TorchTarget


@dataclass(frozen=True, kw_only=True)
class Common:
    """taps: layers of the target that are read, those of the method by default. block: tokens drafted one after
    another. vocabulary: tokens that the head may say, 0 for all. hard: share of the loss that looks at the next token
    alone; the rest looks at the target's whole law. decay: what each step weighs beside the one before.
    """

    taps: tuple[int, ...] = ()
    block: int = 4
    vocabulary: int = 8192
    hard: float = 1.0
    decay: float = 0.8

    def at_least(self, **bounds: int) -> None:
        """Raises UsageError for a setting below its bound."""
        for name, bound in bounds.items():
            if getattr(self, name) < bound:
                raise UsageError(f"{name} of a head must be at least {bound}, not {getattr(self, name)}")

    def in_groups(self, name: str) -> None:
        """Raises UsageError for a width that the engine's kernels do not compute fast."""
        if getattr(self, name) % 32:
            raise UsageError(f"{name} of a head must be a multiple of 32, not {getattr(self, name)}")

    def __post_init__(self) -> None:
        self.at_least(block=1, vocabulary=0, decay=0)
        if not 0 <= self.hard <= 1:
            raise UsageError(f"hard is a share of the loss, from 0 to 1, not {self.hard}")


@dataclass(frozen=True, kw_only=True)
class Layered(Common):
    """Of a head that has layers like the target's. hidden: width of their gated half, 0 for the method's own choice.
    heads: of queries, of keys and their size, those of the target by default."""

    hidden: int = 0
    heads: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(hidden=0)
        self.in_groups("hidden")


@dataclass(frozen=True)
class Reading:
    """Some texts as a head sees them. places: [texts, columns] of the tokens in its vocabulary, -1 for others."""

    columns: Columns
    batch: Batch
    places: Tensor

    @property
    def steps(self) -> int:
        """Steps that have something to predict: short responses have no later ones."""
        return int(self.places.shape[1]) - 1 - self.batch.start

    def wanted(self, step: int) -> tuple[Tensor, Tensor]:
        """[texts, ends] places that a step is to predict, and which of them count."""
        wanted = self.places[:, self.batch.start + 1 + step :]
        return wanted, self.columns.real[:, self.batch.start + 1 + step :] & (wanted >= 0)

    def drafted(self, step: int) -> Tensor:
        """[texts, ends] places of the tokens before those."""
        return self.batch.previous[:, self.batch.start + step : -1]


class HeadRecipe(ABC):
    """method: its name. head: what is trained. apart: whether its steps share no weights, and may be learnt from one
    after another."""

    method: ClassVar[str]
    apart: ClassVar[bool] = False
    head: Any

    def __init__(
        self, target: TorchTarget, texts: Sequence[Text], settings: Common, taps: tuple[int, ...], shape: Any, seed: int
    ) -> None:
        """taps: those of the method, where the settings name none."""
        self.target, self.settings, self._begun = target, settings, dict[str, Any]()
        layers, taps = target.about.layers, settings.taps or taps
        if not all(0 <= tap <= layers for tap in taps):
            raise UsageError(f"a head reads a target of {layers} layers after 0 to {layers} of them, not {taps}")
        self.config: HeadConfig[Any] = HeadConfig(
            self.method, target.about, taps, settings.block, target.epsilon, shape
        )
        try:
            self.config.tensors(1)
        except ValueError as error:
            raise UsageError(f"there is no such head, for {error}: leave --taps to the method") from error
        torch.manual_seed(seed)
        every = range(target.about.vocab_size)  # the target's own head may be filled up with more
        self._say(torch.tensor(common(texts, settings.vocabulary) if settings.vocabulary else every))

    def _say(self, vocabulary: Tensor) -> None:
        """A new head of these tokens, ascending."""
        target = self.target
        self.head = self.build(vocabulary, target.head[vocabulary.to(target.device)].detach().clone())
        self.head.to(target.device)
        self.place = torch.full((target.head.shape[0],), -1, dtype=torch.long)
        self.place[vocabulary] = torch.arange(len(vocabulary))
        self.place = self.place.to(target.device)

    @abstractmethod
    def build(self, vocabulary: Tensor, rows: Tensor) -> Any:
        """The module. rows: of the target's head, for the vocabulary."""

    @property
    def says(self) -> list[int]:
        found: list[int] = self.head.vocabulary.tolist()
        return found

    @property
    def drafts(self) -> bool:
        """Whether it begins as a head that was trained."""
        return bool(self._begun)

    @property
    def parameters(self) -> int:
        return sum(one.numel() for one in self.head.parameters())

    def begin_with(self, path: Path, *, own_tokens: bool = False) -> None:
        """Takes the weights and the tokens of a trained head. own_tokens: the weights alone, and of its tables the rows
        of tokens that both say. Raises UsageError for one of other sizes."""
        config, tensors = read_head(path)
        if config.target.fingerprint != self.target.about.fingerprint:
            raise UsageError(f"{path} drafts for {config.target.name}: give that model by -m, or leave --begin out")
        theirs = _sizes(config)
        for name, own in _sizes(self.config).items():
            if theirs.get(name) != own:
                raise UsageError(
                    f"{path} has {name} {theirs.get(name)}, not {own}: ask for the same, or leave --begin out"
                )
        found = {name: torch.from_numpy(values) for name, values in tensors.items()}
        if own_tokens:
            found |= self._tables(config, found)
        else:
            self._say(found[VOCABULARY].long())
        self.head.load(found)
        self._begun = {"begun_with": config.provenance, "begun_with_sha256": file_sha256(path)}

    def _tables(self, config: HeadConfig[Any], theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What has a row a token, for the tokens of this head."""
        own, few, more = self.head.tensors(), config.tensors(1), config.tensors(2)
        found = {name: own[name].detach().cpu().clone() for name in few if few[name] != more[name]}
        here = found.pop(VOCABULARY)
        there = theirs[VOCABULARY].to(here.dtype)
        both = torch.isin(here, there)
        rows = torch.searchsorted(there, here[both])
        for name, table in found.items():
            table[both] = theirs[name][rows]
        return {VOCABULARY: here} | found

    def describe(self, provenance: dict[str, Any]) -> HeadConfig[Any]:
        return replace(self.config, provenance=provenance | self._begun)

    def write(self, out: Path, provenance: dict[str, Any]) -> None:
        tensors = {name: value.detach().float().cpu().numpy() for name, value in self.head.tensors().items()}
        tensors[VOCABULARY] = tensors[VOCABULARY].astype(np.int32)
        write_head(out / "head.safetensors", self.describe(provenance), tensors)

    def noted(self, batches: Sequence[Sequence[Text]]) -> dict[str, float]:
        """Nothing beside what `accepted` tells."""
        return {}

    def settle(self, batches: Sequence[Sequence[Text]]) -> None:
        """Most heads keep nothing but their weights."""
        return

    def groups(self) -> list[dict[str, Any]]:
        """What is trained, and by how much faster than the rest (`scale`)."""
        return [{"params": [one for one in self.head.parameters() if one.requires_grad], "scale": 1.0}]

    def read(self, texts: Sequence[Text]) -> Reading:
        return self.reading(self.target.columns(texts, self.config.taps))

    def reading(self, columns: Columns) -> Reading:
        places = self.place[columns.ids]
        batch = Batch(
            columns.hidden, columns.embedded, columns.positions, columns.real, columns.start, places.clamp(min=0)
        )
        return Reading(columns, batch, places)

    def losses(self, texts: Sequence[Text], total: Total = itself) -> Iterator[Tensor]:
        """The loss of a batch, step by step where they are apart; 0 where it holds nothing that the head can say."""
        return self.parts(self.read(texts), total)

    def parts(self, reading: Reading, total: Total = itself) -> Iterator[Tensor]:
        places = torch.stack([reading.wanted(step)[1].sum() for step in range(self.config.block)])
        counts = dict(enumerate(total(places).tolist()))
        weights = {step: self.settings.decay**step for step, count in counts.items() if count}
        if not weights:
            yield sum(one.sum() for one in self.head.parameters()) * 0.0  # which can be learnt from
            return
        every, laws, sum_ = sum(weights.values()), self._laws(reading), torch.zeros((), device=reading.places.device)
        for step, rows in enumerate(self.head(reading.batch)):
            if step not in weights:
                continue
            loss = weights[step] / every / counts[step] * self._loss(reading, laws, step, rows)
            if self.apart:
                yield loss
            else:
                sum_ = sum_ + loss
        if not self.apart:
            yield sum_

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _laws(self, reading: Reading) -> Tensor | None:
        """[texts, columns - start, tokens] of the target over the head's vocabulary, where the loss looks at them."""
        if self.settings.hard == 1:
            return None
        last = reading.columns.last[:, reading.batch.start :].to(self.head.head.dtype)
        return F.linear(last, self.head.head).float().softmax(-1).to(torch.bfloat16)

    def _loss(self, reading: Reading, laws: Tensor | None, step: int, rows: Tensor) -> Tensor:
        """Of a step, summed over the places that count."""
        wanted, counts = reading.wanted(step)
        ends = wanted.shape[1]
        own = None if laws is None else laws[:, step : step + ends][counts]
        logits = self.head.logits(rows[:, :ends][counts], step, reading.drafted(step)[counts])
        return cross_entropy(logits, wanted[counts], own, self.settings.hard)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def accepted(self, texts: Sequence[Text]) -> tuple[int, int, np.ndarray]:
        """Tokens emitted, passes, and accepted drafts by position, of greedy chains on the responses as they stand."""
        reading = self.read(texts)
        start, steps = reading.batch.start, min(self.config.block, reading.steps)
        agree = torch.zeros((self.config.block, *reading.places.shape), dtype=torch.bool)
        for step, rows in zip(range(steps), self.head(reading.batch)):
            (wanted, _), drafted = reading.wanted(step), reading.drafted(step)
            ends = wanted.shape[1]
            for row in range(len(texts)):
                guess = self.head.logits(rows[row, :ends], step, drafted[row]).float().argmax(-1)
                agree[step, row, start : start + ends] = (guess == wanted[row]).cpu()
        return chains(agree.numpy(), reading.columns.real.cpu().numpy(), start)


def chains(agree: np.ndarray, real: np.ndarray, start: int) -> tuple[int, int, np.ndarray]:
    """Tokens emitted, passes and accepted drafts by position, as a loop would go along texts.

    agree: [steps, texts, columns], whether step s behind column t says what stands there. real: [texts, columns].
    """
    block, tokens, passes = len(agree), 0, 0
    by_position = np.zeros(block, dtype=np.int64)
    for row in range(len(real)):
        at, end = start + 1, int(np.flatnonzero(real[row])[-1])  # the first token comes without a draft
        while at < end:
            run = 0
            while run < block and at + run < end and agree[run, row, at]:
                run += 1
            by_position[:run] += 1
            more = min(run + 1, end - at)  # the text ends there
            tokens, passes, at = tokens + more, passes + 1, at + more
    return tokens, passes, by_position


def _sizes(config: HeadConfig[Any]) -> dict[str, Any]:
    """What two heads must have in common for one to begin with the weights of the other."""
    return {"method": config.method, "taps": config.taps, "block": config.block} | asdict(config.shape)


def layers_of(target: TorchTarget, hidden: int, heads: tuple[int, int, int] | None = None) -> dict[str, Any]:
    """Sizes of layers like the target's own (`heads/shapes/layers.py`). hidden: 0 for twice the target's width. heads:
    of queries, of keys and their size, where they are not the target's."""
    config, width = target.model.config, target.about.width
    size = getattr(config, "head_dim", None) or width // config.num_attention_heads
    own = (config.num_attention_heads, config.num_key_value_heads, size)
    count, kv_heads, head_size = heads or own
    rope = config.rope_parameters
    base = float(rope.get("full_attention", rope)["rope_theta"])  # Gemma has two, by kind of layer
    sizes = {"heads": count, "kv_heads": kv_heads, "head_size": head_size, "rope_base": base}
    return sizes | {"hidden": hidden or 2 * width}
