"""Medusa-2 (2401.10774, section 2.2.2): the target is trained along with its heads, and so becomes another model.

First the heads alone, then both: the loss is that of the target's own next token on its responses, and a fifth of the
heads'. Heads learn four times as fast. The target that comes of it is written as a directory beside the head, which
drafts for no other: what is lossless with that target is not what the old one would have said.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from foredraft.core.errors import UsageError
from foredraft.heads.files import HeadConfig, room
from foredraft.heads.medusa import MedusaHead
from foredraft.models.fingerprint import fingerprint_of
from foredraft.train.corpus import Text
from foredraft.train.medusa import MedusaRecipe, Settings
from foredraft.train.processes import Total, itself
from foredraft.train.recipe import Reading
from foredraft.train.student_file import copy_words, replace_folder
from foredraft.train.target import TorchTarget

SHARE = 0.2  # of the heads' loss
FASTER = 4.0
WARMUP = 50  # batches that train the heads alone


class JointHead(MedusaHead):
    """The heads and the target. batches: that were learnt from."""

    def __init__(self, config: HeadConfig[Any], vocabulary: Tensor, head: Tensor, norm: Tensor, model: Any) -> None:
        super().__init__(config, vocabulary, head, norm)
        self.model = model
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def logits(self, rows: Tensor, step: int, previous: Tensor | None = None) -> Tensor:
        """By the target's rows as they are now."""
        found: Tensor = self.heads[step].out(rows)
        weight = self.model.get_output_embeddings().weight
        weight = weight.detach() if int(self.batches) <= WARMUP else weight  # the heads alone learn at first
        return found if self.config.shape.own else F.linear(found, weight[self.vocabulary.long()])

    def tensors(self) -> dict[str, Tensor]:
        """Those of the heads alone."""
        found = super().tensors()
        return {name: value for name, value in found.items() if name != "batches" and not name.startswith("model.")}


class JointRecipe(MedusaRecipe):
    """out: the directory that the target is written to, whenever its head is."""

    apart = False

    def __init__(
        self, target: TorchTarget, texts: Sequence[Text], settings: Settings, seed: int = 0, *, out: Path
    ) -> None:
        if not target.source.path.is_dir():
            raise UsageError("a target that is trained too must be a Hugging Face directory: give one by -m")
        if target.model.dtype != torch.float32:
            raise UsageError("a target that is trained too must be in float32: write --dtype float32")
        if target.kept is not None:
            raise UsageError(
                "a target that is trained too has no states that could be kept: leave --kept and --remember out"
            )
        if settings.hard != 1:
            raise UsageError("a target that is trained too has no law to be learnt from: leave --hard at 1")
        self.out = out
        target.model.requires_grad_(True)
        super().__init__(target, texts, settings, seed)

    def begin_with(self, path: Path, *, own_tokens: bool = False) -> None:
        raise UsageError("a target that is trained too begins as it is, with heads of its own: leave --begin out")

    def build(self, vocabulary: Tensor, rows: Tensor) -> MedusaHead:
        return JointHead(self.config, vocabulary, rows, self.target.norm, self.target.model)

    def groups(self) -> list[dict[str, Any]]:
        target = {id(one) for one in self.target.model.parameters()}
        heads = [one for one in self.head.parameters() if id(one) not in target]
        return [{"params": heads, "scale": FASTER}, {"params": list(self.target.model.parameters()), "scale": 1.0}]

    def losses(self, texts: Sequence[Text], total: Total = itself) -> Iterator[Tensor]:
        """Both share a graph, so it is one."""
        alone = int(self.head.batches) < WARMUP
        self.head.batches += 1
        reading = self.reading(self.target.columns(texts, self.config.taps, learn=not alone))
        (heads,) = self.parts(reading, total)
        yield heads if alone else self._own(reading, total) + SHARE * heads

    def settle(self, batches: Sequence[Sequence[Text]]) -> None:
        """Writes the target too, which from now on is the one that the head belongs to."""
        super().settle(batches)
        part = self.out.with_name(self.out.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        with room(part):
            self.target.model.save_pretrained(part)
            copy_words(self.target.source.path, part)
            replace_folder(part, self.out)
        norm = fingerprint_of(self.target.norm.cpu().numpy())
        self.config = replace(self.config, target=replace(self.target.about, name=self.out.name, fingerprint=norm))

    def _own(self, reading: Reading, total: Total = itself) -> Tensor:
        """The loss of the target's own next token, on responses."""
        start, columns = reading.batch.start, reading.columns
        counts = columns.real[:, start + 1 :]
        logits = self.target.model.get_output_embeddings()(columns.last[:, start:-1][counts])
        found: Tensor = F.cross_entropy(logits.float(), columns.ids[:, start + 1 :][counts], reduction="sum")
        return found / total(counts.sum()).clamp(min=1)
