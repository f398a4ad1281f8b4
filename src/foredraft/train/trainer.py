"""One loop for every method: batches, schedule, held-out acceptance, checkpoints that resume to the same losses.

A run is a directory: `head.safetensors`, the best so far by held-out acceptance; `state.pt`, what a resumed run needs;
`log.jsonl`, a line an evaluation. Files are written beside and then put in place.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from foredraft import __version__
from foredraft.core.errors import UsageError
from foredraft.heads import files
from foredraft.train import corpus
from foredraft.train.corpus import Text

Tell = Callable[[str], None]


class Recipe(Protocol):
    """A method: what it trains, what a batch costs, how far its drafts would be accepted."""

    method: str

    @property
    def head(self) -> nn.Module: ...

    def describe(self, provenance: dict[str, Any]) -> files.HeadConfig: ...

    def loss(self, texts: Sequence[Text]) -> tuple[Tensor, Mapping[str, float]]: ...

    def accepted(self, texts: Sequence[Text]) -> tuple[int, int, np.ndarray]: ...


@dataclass(frozen=True)
class Settings:
    """tokens: of a batch, padding counted. minutes: ends the schedule early. evaluate: seconds between evaluations."""

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


class Trainer:
    def __init__(
        self, recipe: Recipe, texts: Sequence[Text], out: Path, settings: Settings, tell: Tell = print
    ) -> None:
        self.recipe, self.out, self.settings, self.tell = recipe, out, settings, tell
        self.texts = [text for text in texts if not text.held_out]
        self.held_out = [text for text in texts if text.held_out and text.temperature == 0][: settings.held_out]
        if not self.texts or not self.held_out:
            raise UsageError("there are too few texts to train on and to hold some out: make more by `train data`")
        self.trained = [one for one in recipe.head.parameters() if one.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.trained, lr=settings.rate, betas=(0.9, 0.95), weight_decay=settings.decay
        )
        self.step, self.epoch, self.within, self.best, self.spent = 0, 0, 0, 0.0, 0.0
        self.device = self.trained[0].device

    @property
    def progress(self) -> float:
        """0 … 1, by steps or by time, whichever is further."""
        done = self.step / self.settings.steps
        if self.settings.minutes is not None:
            done = max(done, self.spent / (self.settings.minutes * 60))
        return min(done, 1.0)

    def run(self) -> float:
        """Trains to the end; the best held-out mean acceptance length. A run cut short is taken up where it stood."""
        self._resume()
        self.out.mkdir(parents=True, exist_ok=True)
        began, before, last = time.monotonic(), self.spent, time.monotonic()
        losses: list[float] = []
        for batch in self._batches():
            if self.progress >= 1:
                break
            losses.append(self._learn(batch))
            self.spent = before + time.monotonic() - began
            if time.monotonic() - last > self.settings.evaluate:
                self._evaluate(losses)
                last, losses = time.monotonic(), []
        self._evaluate(losses)
        return self.best

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
            group["lr"] = rate
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            loss, _ = self.recipe.loss(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, self.settings.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return float(loss.detach())

    def _evaluate(self, losses: Sequence[float]) -> None:
        tokens, passes, by_position = 0, 0, np.zeros(1, dtype=np.int64)
        self.recipe.head.eval()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            for batch in corpus.batches(self.held_out, self.settings.tokens, 0):
                more, rounds, accepted = self.recipe.accepted(batch)
                tokens, passes = tokens + more, passes + rounds
                by_position = by_position + accepted
        self.recipe.head.train()
        length = tokens / max(passes, 1)
        found = {
            "step": self.step,
            "epoch": self.epoch,
            "seconds": round(self.spent, 1),
            "loss": round(float(np.mean(losses)), 4) if losses else None,
            "acceptance_length": round(length, 4),
            "accepted_by_position": [round(float(count) / max(passes, 1), 4) for count in by_position],
        }
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
        left = self.spent / max(self.progress, 1e-6) - self.spent
        self.tell(f"{json.dumps(found)}, {left:.0f} s to go")
        if length >= self.best:
            self.best = length
            self._write(found)
        self._save()

    def _write(self, found: Mapping[str, Any]) -> None:
        head: Any = self.recipe.head
        tensors = {name: value.detach().float().cpu().numpy() for name, value in head.tensors().items()}
        tensors[files.VOCABULARY] = tensors[files.VOCABULARY].astype(np.int32)
        provenance = {
            "foredraft": __version__,
            "texts": len(self.texts),
            "response_tokens": sum(len(text.response) for text in self.texts),
            "settings": asdict(self.settings),
            "device": torch.cuda.get_device_name() if self.device.type == "cuda" else self.device.type,
            "torch": torch.__version__,
            **found,
        }
        files.write_head(self.out / "head.safetensors", self.recipe.describe(provenance), tensors)

    def _save(self) -> None:
        state = {
            "head": self.recipe.head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "counts": [self.step, self.epoch, self.within, self.best, self.spent],
        }
        beside = self.out / "state.pt.part"
        torch.save(state, beside)
        os.replace(beside, self.out / "state.pt")

    def _resume(self) -> None:
        path = self.out / "state.pt"
        if not path.exists():
            return
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            self.recipe.head.load_state_dict(state["head"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError, KeyError, EOFError) as error:
            reason = str(error).splitlines()[0]
            raise UsageError(
                f"{path} belongs to a run with other settings ({reason}): give another --out, or those settings"
            ) from error
        self.step, self.epoch, self.within, self.best, self.spent = state["counts"]
        self.tell(f"goes on at step {self.step}")
