"""The modules of a transformers causal language model, taken apart without changing or copying any of them.

`Body` holds the decoder, its layers, the final norm and the head. Shallow copies of the two outer modules, which
share everything below, make a decoder with other layers and a head that can be run on its own.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from foredraft.models.hf_cache import Pass

NORMS = ("norm", "ln_f", "final_layer_norm", "final_layernorm")
# Row counts that a CPU multiplies well; those in between cost more than the next of these (measured with MKL).
FEW = (2, 4, 5, 6, 8, 16)
# Up to here W @ x.T beats torch's x @ W.T, by a third to a half.
FEW_ROWS = 32


class FewRowLinear(torch.nn.Linear):  # type: ignore[misc]
    """A Linear over shared weights that computes W @ x.T for few rows: the same sums, up to twice as fast."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=False, device="meta")
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        rows = input.numel() // self.in_features
        if not 1 < rows <= FEW_ROWS:
            return torch.nn.functional.linear(input, self.weight, self.bias)
        columns = input.reshape(rows, self.in_features).t()
        weight, bias = self.weight, self.bias
        out = torch.mm(weight, columns) if bias is None else torch.addmm(bias[:, None], weight, columns)
        return out.t().contiguous().view(*input.shape[:-1], self.out_features)


@dataclass
class _Echoed(BaseModelOutputWithPastAndCrossAttentions):  # type: ignore[misc]
    router_logits: Any = None


class _Echo(torch.nn.Module):  # type: ignore[misc]
    """Stands where the decoder was: what goes in comes out as its last hidden state."""

    def forward(self, *_: Any, inputs_embeds: torch.Tensor, **__: Any) -> _Echoed:
        return _Echoed(last_hidden_state=inputs_embeds)


class _Gate(torch.nn.Module):  # type: ignore[misc]
    """Stands where the final norm was and shows what went in: the stream after the last layer. One per body."""

    def __init__(self, norm: torch.nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.entered: torch.Tensor | None = None

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        self.entered = hidden
        normed: torch.Tensor = self.norm(hidden)
        return normed


@dataclass(frozen=True, eq=False)
class Body:
    """decoder: tokens to normed hidden states, through `gate`, its final norm; tail: the head and what surrounds it.

    slots: the number by which a layer calls its part of the cache -> its place in the cache's slab.
    """

    decoder: Any
    tail: Any
    layers: Any
    names: tuple[str, str]
    gate: Any
    embeddings: Any
    slots: dict[int, int]
    config: Any
    dtype: torch.dtype
    device: torch.device

    @staticmethod
    def of(model: Any) -> Body:
        """Raises ValueError for a model that is not built of embeddings, one stack of layers, a norm and a head."""
        decoder, config = model.base_model, model.config
        children = list(decoder.named_children())
        stacks = [(name, child) for name, child in children if isinstance(child, torch.nn.ModuleList)]
        norms = [(name, child) for name, child in children if name in NORMS]
        if len(stacks) != 1 or len(stacks[0][1]) != config.num_hidden_layers or len(norms) != 1 or decoder is model:
            raise ValueError("it is not one stack of layers between embeddings and a final norm")
        names, layers, gate = (stacks[0][0], norms[0][0]), stacks[0][1], _Gate(norms[0][1])
        decoder = _shallow(decoder)
        decoder._modules[names[1]] = gate
        tail = _shallow(model)
        tail._modules[model.base_model_prefix] = _Echo()
        embeddings, slots = model.get_input_embeddings(), _slots(layers)
        kind, device = embeddings.weight.dtype, embeddings.weight.device
        return Body(decoder, tail, layers, names, gate, embeddings, slots, config, kind, device)

    @staticmethod
    def closed() -> Body:
        """What is left of a closed model: nothing to run."""
        return Body(None, None, (), ("", ""), None, None, {}, None, torch.float32, torch.device("cpu"))

    def forward(self, tokens: Sequence[int], positions: Sequence[int], this: Pass) -> torch.Tensor:
        """Normed hidden states [rows, width] of one pass; those after the last layer go into its taps."""
        ids = torch.tensor([tokens, positions], dtype=torch.long).to(self.device)
        out = self.decoder(input_ids=ids[:1], position_ids=ids[1:], use_cache=False, foredraft=this)
        this.taps[len(self.layers)] = self.gate.entered[0]
        self.gate.entered = None
        found: torch.Tensor = out.last_hidden_state[0]
        return found

    def head(self, normed: torch.Tensor) -> torch.Tensor:
        """[rows, width] -> logits [rows, vocab, padding and all], by the model's own head."""
        if not len(normed):
            return normed.new_empty(0, self.config.vocab_size)
        rows = len(normed)
        filled = torch.nn.functional.pad(normed, (0, 0, 0, self.filled(rows) - rows))
        logits: torch.Tensor = self.tail(inputs_embeds=filled[None]).logits[0, :rows]
        return logits

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def norm_weight(self) -> torch.Tensor:
        """[width]: what the final norm multiplies with, which Gemma holds as its difference from one."""
        weight: torch.Tensor = self.gate.norm.weight.float()
        return weight + 1 if "gemma" in str(self.config.model_type) else weight

    def head_rows(self, tokens: Sequence[int]) -> torch.Tensor:
        """[tokens, width]: rows of the output head."""
        rows: torch.Tensor = self.tail.get_output_embeddings().weight[list(tokens)]
        return rows

    def filled(self, rows: int) -> int:
        """How many rows to compute for `rows`: on a CPU an odd few cost more than a power of two."""
        if self.device.type != "cpu":
            return rows
        return next((few for few in FEW if few >= rows), rows)

    def view(self, chosen: Sequence[int]) -> Body:
        """The same modules with these layers only."""
        config = copy.copy(self.config)
        config.num_hidden_layers = len(chosen)
        if getattr(config, "layer_types", None):
            config.layer_types = [config.layer_types[layer] for layer in chosen]
        layers = torch.nn.ModuleList([self.layers[layer] for layer in chosen])
        gate = _Gate(self.gate.norm)
        decoder = _shallow(self.decoder)
        decoder.config = config
        decoder._modules |= zip(self.names, (layers, gate))
        return replace(self, decoder=decoder, layers=layers, gate=gate, slots=_slots(layers), config=config)


def _slots(layers: Any) -> dict[int, int]:
    """The layer_idx that each layer's attention carries -> the layer's place; ValueError unless each carries one."""
    slots: dict[int, int] = {}
    for place, layer in enumerate(layers):
        numbers = (getattr(module, "layer_idx", None) for module in layer.modules())
        carried = {number for number in numbers if isinstance(number, int)}
        if len(carried) != 1 or carried & slots.keys():
            raise ValueError("its layers cannot be told apart")
        slots[carried.pop()] = place
    return slots


def _shallow(module: Any) -> Any:
    """A module of its own over the same parts: replacing one of them leaves the original alone."""
    copied = copy.copy(module)
    copied._modules = dict(module._modules)
    return copied
