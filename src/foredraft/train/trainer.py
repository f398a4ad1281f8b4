"""One loop for every method: batches, schedule, held-out acceptance, checkpoints that resume to the same losses.

A run is a directory: `state.pt`, what a resumed run needs; what drafts (`head.safetensors`, or a model), the best so
far by held-out acceptance; `log.jsonl`, a line an evaluation, and `log.html`, its plot. Files are written beside and
then put in place, by the first of the processes that train together. The state comes first, and the others follow from
it: a run that was killed between them writes them again.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from foredraft.bench.memory import memory
from foredraft.core.errors import UnknownName, UsageError
from foredraft.heads import files
from foredraft.train import corpus, limits, provenance
from foredraft.train.corpus import Text
from foredraft.train.giving_back import Held
from foredraft.train.lock import alone
from foredraft.train.page import page
from foredraft.train.precision import PRECISIONS
from foredraft.train.processes import Alone, Processes, Total, itself
from foredraft.train.target import TorchTarget

Tell = Callable[[str], None]
# Not cuDNN's, which plans anew for every shape, and no two batches have one: 6 ms a layer on an H200.
ATTENTION = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)


class Described(Protocol):
    def json(self) -> str: ...


class Recipe(Protocol):
    """A method: what it trains, what a batch costs, how far its drafts would be accepted."""

    method: str
    target: TorchTarget
    settings: Any

    @property
    def head(self) -> nn.Module: ...

    @property
    def drafts(self) -> bool:
        """Whether it drafts before it has learnt anything: then it is judged first."""

    def describe(self, provenance: dict[str, Any]) -> Described:
        """What is written beside the weights."""

    def write(self, out: Path, provenance: dict[str, Any]) -> None:
        """Puts what drafts into the directory, whole at any moment."""

    def groups(self) -> list[dict[str, Any]]:
        """Parameters as an optimizer takes them, in groups; scale: by how much faster each learns."""

    def losses(self, texts: Sequence[Text], total: Total = itself) -> Iterator[Tensor]:
        """The parts of a batch's loss. Each is learnt from before the next is made, so that their graphs need not be
        held together. total: of counts over all processes, by which the sums over these texts are divided."""

    def accepted(self, texts: Sequence[Text]) -> tuple[int, int, np.ndarray]:
        """Tokens emitted, passes, and accepted drafts by position, on responses as they stand."""

    def noted(self, batches: Sequence[Sequence[Text]]) -> dict[str, float]:
        """What else an evaluation tells of a method."""

    def settle(self, batches: Sequence[Sequence[Text]]) -> None:
        """What a head keeps beside its weights, measured on held-out texts before it is written."""


@dataclass(frozen=True)
class Settings:
    """tokens: of a batch, padding counted. minutes: ends the schedule early. evaluate: seconds between evaluations.
    precision: of what is learnt (`train/precision.py`); by default bfloat16 on a GPU and float32 elsewhere."""

    steps: int = 3000
    tokens: int = 8192
    rate: float = 1e-3
    warmup: int = 100
    decay: float = 0.01
    clip: float = 1.0
    minutes: float | None = None
    evaluate: float = 60.0
    held_out: int = 200
    seed: int = 0
    precision: str = ""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.tokens < 1 or (self.minutes is not None and not self.minutes > 0):
            raise UsageError("steps, tokens and minutes of a run must be more than 0")
        if self.precision not in ("", *PRECISIONS):
            raise UnknownName("precision", self.precision, PRECISIONS)


class Trainer:
    def __init__(
        self,
        recipe: Recipe,
        texts: Sequence[Text],
        out: Path,
        settings: Settings,
        tell: Tell = print,
        processes: Processes | None = None,
        told: Mapping[str, Any] | None = None,
    ) -> None:
        """told: what else is to stand in the provenance."""
        self.recipe, self.out, self.settings, self._said, self._told = recipe, out, settings, tell, told or {}
        self.processes: Processes = processes or Alone()
        self.first = self.processes.rank == 0
        self.texts = [text for text in texts if not text.held_out]
        self.held_out = [text for text in texts if text.held_out and text.temperature == 0][: settings.held_out]
        if not self.texts:
            raise UsageError("there are no texts to train on: make some by `foredraft train data`")
        if not self.held_out:
            raise UsageError(
                "no text of temperature 0 is held out, by which training is judged: make more by `foredraft train data`"
            )
        self.device = next(recipe.head.parameters()).device
        self.precision = settings.precision or ("bfloat16" if self.device.type == "cuda" else "float32")
        self.judged = list(corpus.batches(self.held_out, settings.tokens, 0))
        every, chosen = [*self.texts, *self.held_out], asdict(settings) | {"precision": self.precision}
        self.same = provenance.same(recipe, every, chosen)  # of the beginning: what is trained may become another
        self.parts = self.processes.learner(recipe)
        groups = recipe.groups()
        self.trained: list[nn.Parameter] = [one for group in groups for one in group["params"]]
        self.optimizer = torch.optim.AdamW(groups, lr=settings.rate, betas=(0.9, 0.95), weight_decay=settings.decay)
        self.step, self.epoch, self.within, self.best, self.spent, self.best_at = 0, 0, 0, 0.0, 0.0, -1
        self.log: list[str] = []

    def tell(self, what: str) -> None:
        """The first says it for all."""
        if self.first:
            self._said(what)

    @property
    def progress(self) -> float:
        """0 … 1, by steps or by time, whichever is further."""
        done = self.step / self.settings.steps
        if self.settings.minutes is not None:
            done = max(done, self.spent / (self.settings.minutes * 60))
        return min(done, 1.0)

    def run(self) -> float:
        """Trains to the end; the best held-out mean acceptance length. A run cut short is taken up where it stood."""
        with ExitStack() as held:
            held.enter_context(self.processes.together())
            held.enter_context(limits.enough_memory(self.settings.tokens))
            if self.first:
                held.enter_context(alone(self.out, folder=True))
                limits.expect(self.out, self.recipe.head, self.trained, self.tell)
            self._resume()
            if self.processes.agreed(self.step) != self.step:
                raise UsageError(f"not every process sees what is in {self.out}: give an --out that all of them share")
            if self.log:
                self._follow()
            self._train()
            return self.processes.agreed(self.best)

    def _train(self) -> None:
        began = time.monotonic() - self.spent
        if not self.log and self.recipe.drafts:
            self._evaluate([])  # what only gets worse stays as it was
        last, losses, batches, held = self.spent, list[float](), self._batches(), Held()
        while self.progress < 1:
            losses.append(self._learn(next(batches)))
            held.look()
            self.spent = self.processes.agreed(time.monotonic() - began)  # else some would go on alone
            if self.spent - last > self.settings.evaluate:
                self._evaluate(losses)
                last, losses = self.processes.agreed(time.monotonic() - began), []
        self._evaluate(losses)

    def _batches(self) -> Iterator[list[Text]]:
        while True:
            found = corpus.batches(self.texts, self.settings.tokens, self.settings.seed + self.epoch)
            for place, batch in enumerate(found):
                if place >= self.within:
                    self.within += 1  # before: what is saved meanwhile was learnt from
                    yield batch
            self.epoch, self.within = self.epoch + 1, 0

    def _learn(self, batch: Sequence[Text]) -> float:
        rate = self.settings.rate * min(1.0, (self.step + 1) / self.settings.warmup)
        rate *= 0.02 + 0.98 * (1 + math.cos(math.pi * self.progress)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        parts, loss = self.parts(batch), 0.0
        while (part := self._next(parts)) is not None:
            loss += self._known(part)
            (part * self.processes.count).backward()  # the mean of their gradients is learnt from
            del part  # with what it was made of, before the next is made
        torch.nn.utils.clip_grad_norm_(self.trained, self.settings.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss

    def _next(self, parts: Iterator[Tensor]) -> Tensor | None:
        with self._autocast():
            return next(parts, None)

    def _known(self, part: Tensor) -> float:
        """Of all processes. Raises UsageError for one that is no number."""
        found = float(self.processes.total(part.detach()))
        if not math.isfinite(found):
            raise UsageError(f"the loss is no number at step {self.step}: go on with a lower --rate, in another --out")
        return found

    @contextmanager
    def _autocast(self) -> Iterator[None]:
        """In the precision asked for, and without an attention that plans for shapes."""
        half = self.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half), sdpa_kernel(list(ATTENTION)):
            yield

    def _evaluate(self, losses: Sequence[float]) -> None:
        with self._still():
            if self.first:
                self._judge(losses)
        self._save()
        self._follow()

    @contextmanager
    def _still(self) -> Iterator[None]:
        """Meanwhile the head is whole, and does not learn."""
        self.recipe.head.eval()
        with self.processes.whole(self.recipe.head):
            yield
        self.recipe.head.train()

    def _judge(self, losses: Sequence[float]) -> None:
        tokens, passes, by_position = 0, 0, np.zeros(1, dtype=np.int64)
        with self._autocast():
            for batch in self.judged:
                more, rounds, accepted = self.recipe.accepted(batch)
                tokens, passes = tokens + more, passes + rounds
                by_position = by_position + accepted
            beside = self.recipe.noted(self.judged)
        length = tokens / max(passes, 1)
        found = {
            "step": self.step,
            "epoch": self.epoch,
            "seconds": round(self.spent, 1),
            "loss": round(float(np.mean(losses)), 4) if losses else None,
            "acceptance_length": round(length, 4),
            **beside,
            "accepted_by_position": [round(float(count) / max(passes, 1), 4) for count in by_position],
            **_peak(),
        }
        self.log.append(json.dumps(found))
        left = self.spent / max(self.progress, 1e-6) - self.spent
        self.tell(f"{self.log[-1]}, {left:.0f} s to go")
        if length >= self.best:
            self.best, self.best_at = length, self.step

    def _follow(self) -> None:
        """Writes what follows from the state: what drafts, where that is the best, and the log."""
        with self._still():
            if not self.first:
                return
            if self.best_at == self.step:
                with self._autocast():
                    self.recipe.settle(self.judged)
                self.recipe.write(self.out, self._provenance())
            files.replace(self.out / "log.jsonl", "".join(f"{line}\n" for line in self.log).encode())
            drawn = page(self.recipe.method, [json.loads(line) for line in self.log])
            files.replace(self.out / "log.html", drawn.encode())

    def _provenance(self) -> dict[str, Any]:
        own = provenance.told(self.recipe, self.texts, asdict(self.settings), self.device)
        return {**own, **self._told, "processes": self.processes.count, **json.loads(self.log[-1])}

    def _save(self) -> None:
        """Whole tensors, so that any number of processes goes on with them."""
        state = {
            "for": self.same,
            "optimizer": self.processes.gathered(self.optimizer.state_dict()),
            "chance": self.processes.each(self._chance()),
            "counts": [self.step, self.epoch, self.within, self.best, self.spent, self.best_at],
            "log": self.log,
        }
        with self.processes.whole(self.recipe.head):
            if self.first:
                with files.beside(self.out / "state.pt") as part:
                    torch.save({**state, "head": self.recipe.head.state_dict()}, part)

    def _chance(self) -> list[Tensor]:
        """Where the generators of noise stand, the GPU's last."""
        return [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if self.device.type == "cuda" else [])]

    def _resume(self) -> None:
        path = self.out / "state.pt"
        if not path.exists():
            return
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            others = ", ".join(provenance.differing(state["for"], self.same))
        except Exception as error:  # whatever a damaged file makes torch raise
            raise UsageError(f"{path} is damaged: remove it, to begin again, or give another --out") from error
        if others:
            raise UsageError(
                f"{path} belongs to a run with other settings or texts ({others}): give another --out, or those"
            )
        self._restore(state)
        self.step, self.epoch, self.within, self.best, self.spent, self.best_at = state["counts"]
        self.log = state["log"]
        self.tell(f"goes on at step {self.step}")

    def _restore(self, state: Mapping[str, Any]) -> None:
        head, spread = self.recipe.head, self.processes.spread
        head.load_state_dict(spread(state["head"], head.state_dict()))
        numbers = {
            place: spread(values, dict.fromkeys(values, self.trained[place]))
            for place, values in state["optimizer"]["state"].items()
        }
        self.optimizer.load_state_dict({**state["optimizer"], "state": numbers})
        if self.processes.rank < len(state["chance"]):  # more processes than before draw noise as from the beginning
            cpu, *gpu = state["chance"][self.processes.rank]
            torch.set_rng_state(cpu.cpu())
            if self.device.type == "cuda" and gpu:
                torch.cuda.set_rng_state(gpu[0].cpu())


def _peak() -> dict[str, float]:
    """What this process held at most, in GB, where the system says."""
    most = memory().peak
    return {} if most is None else {"memory": round(most / 1e9, 2)}
