"""Small models that are to draft for a target, over its vocabulary: made from nothing, cut out of the target, or given.

A model made from nothing is a llama whose embeddings begin as the target's own, projected onto as many of their
principal directions as it is wide. One cut out keeps some of the target's layers and all of its width.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor

from foredraft.core.errors import UsageError
from foredraft.models import hf_load
from foredraft.models.sources import resolve
from foredraft.models.tokenizer import Tokenizer, same_vocabulary
from foredraft.train.target import TorchTarget

HEAD = 32  # the narrowest head that the native engine computes


@dataclass(frozen=True)
class Shape:
    """Of a model from nothing. width: a multiple of 32. hidden: of its feed-forward layers, 0 for 8/3 of the width,
    rounded up. heads: 0 for heads of 64 where the width allows it."""

    layers: int
    width: int
    hidden: int = 0
    heads: int = 0

    def __post_init__(self) -> None:
        if self.layers < 1 or self.width < HEAD or self.width % HEAD or self.hidden % HEAD or self.hidden < 0:
            raise UsageError(
                f"a model has at least one layer, and widths that are multiples of {HEAD}, not {self.layers} layers, "
                f"width {self.width} and hidden {self.hidden}"
            )
        if self.heads < 0 or self.width % (2 * self.head_count):
            raise UsageError(f"{self.heads} heads do not share a width of {self.width}: give another number")

    @property
    def head_count(self) -> int:
        return self.heads or self.width // (64 if self.width % 64 == 0 else HEAD)

    @property
    def hidden_size(self) -> int:
        return self.hidden or -(-self.width * 8 // (3 * HEAD)) * HEAD


def make_student(target: TorchTarget, written: str, seed: int = 0) -> Any:
    """LAYERSxWIDTH for a new model, numbers of layers for those of the target, else the name of a model."""
    if match := re.fullmatch(r"(\d+)x(\d+)", written):
        return from_nothing(target, Shape(int(match[1]), int(match[2])), seed)
    if re.fullmatch(r"\d+(,\d+)*", written):
        return cut_out(target, tuple(map(int, written.split(","))))
    return given(target, written)


def from_nothing(target: TorchTarget, shape: Shape, seed: int = 0) -> Any:
    """A llama with one table for embeddings and head."""
    config = target.model.config
    if shape.width > target.about.width:
        raise UsageError(f"a drafter of width {shape.width} for a target of {target.about.width}: make it narrower")
    rope = config.rope_parameters
    base = float(rope.get("full_attention", rope)["rope_theta"])  # Gemma has two, by kind of layer
    torch.manual_seed(seed)
    student = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=shape.width,
            intermediate_size=shape.hidden_size,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.head_count,
            num_key_value_heads=shape.head_count,
            max_position_embeddings=config.max_position_embeddings,
            rope_parameters={"rope_type": "default", "rope_theta": base},
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
        )
    )  # fmt: skip
    student.model.embed_tokens.weight.data.copy_(projected(target.model.get_input_embeddings().weight, shape.width))
    return student.to(target.device, torch.float32)


def projected(table: Tensor, width: int) -> Tensor:
    """[tokens, width]: the table in the basis of its first principal directions, spread as embeddings begin."""
    wide = table.detach().float()
    directions = torch.linalg.eigh(wide.T @ wide).eigenvectors.flip(1)[:, :width]
    narrow = wide @ directions
    return narrow * (0.02 * len(narrow) ** 0.5 * width**0.5 / narrow.norm())


def cut_out(target: TorchTarget, layers: tuple[int, ...]) -> Any:
    """The target with these of its layers alone. Raises UsageError for layers that it has not."""
    most = target.about.layers
    if not layers or not all(0 <= layer < most for layer in layers) or list(layers) != sorted(set(layers)):
        raise UsageError(f"layers to keep are some of 0 to {most - 1}, ascending, not {layers}")
    config = copy.deepcopy(target.model.config)
    config.num_hidden_layers = len(layers)
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[layer] for layer in layers]
    student = type(target.model)(config).to(torch.float32)
    kept = {f"model.layers.{old}.": f"model.layers.{new}." for new, old in enumerate(layers)}
    state = dict[str, Tensor]()
    for name, value in target.model.state_dict().items():
        prefix = next((old for old in kept if name.startswith(old)), None)
        if prefix is not None:
            state[kept[prefix] + name.removeprefix(prefix)] = value
        elif not name.startswith("model.layers."):
            state[name] = value
    student.load_state_dict(state)
    return student.to(target.device)


def given(target: TorchTarget, name: str) -> Any:
    """A model that is there already. Raises UsageError for one with another vocabulary."""
    source = resolve(name)
    difference = same_vocabulary(Tokenizer.from_source(source), target.tokenizer)
    student = hf_load.load(source.path, source.kind, device=str(target.device), dtype="float32", threads=None)
    student.generation_config = transformers.GenerationConfig()  # penalties of the file are not what is drafted by
    if difference is not None or student.config.vocab_size != target.model.config.vocab_size:
        raise UsageError(f"{name} has another vocabulary than {target.name}: a drafter distilled here needs the same")
    return student
