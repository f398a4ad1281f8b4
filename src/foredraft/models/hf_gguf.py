"""GGUF files of the common dense architectures as transformers configurations and tensors, read in seconds.

Transformers reads GGUF too, but parses the file twice and matches every tensor against every name it knows, half a
minute for the smallest model. Here each tensor is expanded by gguf's own `dequantize`, several at a time. A file of
another architecture yields None, and transformers reads it; of these, what is unknown is refused by name, because
transformers would drop it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from numpy.typing import NDArray

from foredraft.core.errors import WeightsError
from foredraft.models.gguf_header import GGUFHeader, TensorInfo, read_header
from foredraft.models.hf_gguf_config import CONFIGS, FACTORS, GEMMAS, check_rope, configuration, lost

OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
INNER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
GEMMA = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
BLOCKS = 512
ALWAYS_BIASED = ("qwen2",)


@dataclass(frozen=True)
class Read:
    """A file that this reader knows in full. infos: where each tensor lies. names: tensor -> parameter."""

    header: GGUFHeader
    infos: dict[str, TensorInfo]
    config: Any
    names: dict[str, str]

    def tensors(self, model: Any, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """All parameters of `model`, expanded to `dtype`; its own may have no storage. Raises WeightsError for a tensor
        that it has no place for."""
        wanted = dict(model.named_parameters())
        if extra := [name for name, place in self.names.items() if place not in wanted]:
            raise lost(self.header, f"has a tensor {extra[0]!r}")
        data = np.memmap(self.header.path, dtype=np.uint8, mode="r")
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # numpy lets go of the interpreter
            found = dict(pool.map(lambda name: (self.names[name], self._parameter(data, name).to(dtype)), self.names))
        if self.header.architecture not in ALWAYS_BIASED:
            # A layer may have some biases and not others, where transformers' have all or none.
            absent = (name for name in wanted if name.endswith(".bias") and name not in found)
            found |= {name: torch.zeros(wanted[name].shape, dtype=dtype) for name in absent}
        return found

    def _parameter(self, data: NDArray[np.uint8], name: str) -> torch.Tensor:
        weights = _expanded(data, self.infos[name])
        architecture, leaf = self.header.architecture, name.split(".")[-2]
        if architecture in GEMMAS and name.endswith("norm.weight"):
            weights = weights - np.float32(1)  # stored as the factor, which Gemma's modules hold as 1 + weight
        heads = {"attn_q": self.config.num_attention_heads, "attn_k": self.config.num_key_value_heads}.get(leaf)
        if architecture == "llama" and heads:
            # llama.cpp stores the two halves that a rotation pairs side by side; transformers wants them apart.
            halves = weights.reshape(heads, -1, 2, *weights.shape[1:])
            weights = np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(weights.shape)
        return torch.from_numpy(np.require(weights, requirements=["C", "W"]))

    def frequencies(self, model: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Rotation frequencies and what they are to be divided by (Llama 3.1 and later)."""
        if FACTORS in self.infos:
            data = np.memmap(self.header.path, dtype=np.uint8, mode="r")
            factors = torch.from_numpy(_expanded(data, self.infos[FACTORS]).copy())
            rotary = model.model.rotary_emb
            yield from ((buffer, factors) for buffer in (rotary.inv_freq, rotary.original_inv_freq))


def read(path: Path) -> Read | None:
    """The file, None if it is of another architecture. Raises WeightsError for what is damaged or not understood."""
    header = read_header(path)
    infos = {info.name: info for info in header.tensors}
    check_rope(header, infos)
    if header.architecture not in CONFIGS:
        return None
    try:
        config = configuration(header, infos)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise WeightsError(f"{path.name} lacks or garbles its settings ({error}): fetch it again") from error
    return Read(header, infos, config, {name: _known_name(header, name) for name in infos if name != FACTORS})


def _expanded(data: NDArray[np.uint8], info: TensorInfo) -> NDArray[np.float32]:
    """A tensor's weights, [rows, columns] or [columns]."""
    kind, shape = GGMLQuantizationType[info.kind], info.shape[::-1]
    stored = data[info.offset : info.offset + info.nbytes]
    plain = {"F32": np.float32, "F16": np.float16, "F64": np.float64}.get(info.kind)
    if plain:
        floats: NDArray[np.float32] = dequantize(stored.view(plain).reshape(shape), kind)
        return floats
    # gguf expands 16 rows at a time, which is slow work in rows this short: blocks stand alone, so take longer rows.
    size = GGML_QUANT_SIZES[kind][1]
    longer = math.gcd(info.nbytes // size, BLOCKS)
    weights: NDArray[np.float32] = dequantize(stored.reshape(-1, longer * size), kind)
    return weights.reshape(shape)


def _known_name(header: GGUFHeader, name: str) -> str:
    """`blk.3.attn_q.weight` -> `model.layers.3.self_attn.q_proj.weight`. Raises WeightsError for an unknown tensor."""
    stem, _, kind = name.rpartition(".")
    if stem in OUTER:
        return f"{OUTER[stem]}.{kind}"
    inner = INNER | GEMMA if header.architecture in GEMMAS else INNER
    match stem.split("."):
        case ["blk", layer, leaf] if leaf in inner:
            return f"model.layers.{layer}.{inner[leaf]}.{kind}"
    raise lost(header, f"has a tensor {name!r}")
