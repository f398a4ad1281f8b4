"""GGUF files of the common dense architectures as transformers configurations and tensors, read in seconds.

Transformers reads GGUF too, but parses the file twice and matches every tensor against every name it knows, half a
minute for the smallest model. Here each tensor is expanded by gguf's own `dequantize`, several at a time. A file with
anything unknown in it yields None, and transformers reads it.
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
import transformers
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from numpy.typing import NDArray

from foredraft.core.errors import WeightsError
from foredraft.models.gguf_header import GGUFHeader, TensorInfo, read_header

CONFIGS = {
    "llama": transformers.LlamaConfig,
    "qwen2": transformers.Qwen2Config,
    "qwen3": transformers.Qwen3Config,
    "gemma3": transformers.Gemma3TextConfig,
}
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
FACTORS = "rope_freqs.weight"
BLOCKS = 512
# The settings that `_config` understands; a file with any other of its architecture is left to transformers.
READ = frozenset(
    {"context_length", "embedding_length", "block_count", "feed_forward_length", "vocab_size"}
    | {"rope.dimension_count", "rope.freq_base", "rope.scaling.type", "rope.scaling.factor"}
    | {"rope.scaling.original_context_length", "rope.scaling.finetuned"}
    | {"attention.layer_norm_rms_epsilon", "attention.sliding_window"}
    | {f"attention.{key}" for key in ("head_count", "head_count_kv", "key_length", "value_length")}
)


@dataclass(frozen=True)
class Read:
    """A file that this reader knows in full. infos: where each tensor lies. names: tensor -> parameter."""

    header: GGUFHeader
    infos: dict[str, TensorInfo]
    config: Any
    names: dict[str, str]

    def tensors(self, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """All parameters, expanded to `dtype`; numpy lets go of the interpreter, so threads help."""
        data = np.memmap(self.header.path, dtype=np.uint8, mode="r")
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            return dict(pool.map(lambda name: (self.names[name], self._parameter(data, name).to(dtype)), self.names))

    def _parameter(self, data: NDArray[np.uint8], name: str) -> torch.Tensor:
        weights = _expanded(data, self.infos[name])
        architecture, leaf = self.header.architecture, name.split(".")[-2]
        if architecture == "gemma3" and name.endswith("norm.weight"):
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
    """The file, or None where it holds what this reader does not know. Raises WeightsError for a damaged file."""
    header = read_header(path)
    if header.metadata.get("split.count", 1) > 1:
        raise WeightsError(f"{path.name} is one of several parts: join them with llama-gguf-split --merge")
    prefix = f"{header.architecture}."
    own = {key.removeprefix(prefix) for key in header.metadata if key.startswith(prefix)}
    infos = {info.name: info for info in header.tensors}
    _check_rope(header, infos)
    names = {name: _parameter_name(name, header.architecture) for name in infos if name != FACTORS}
    if header.architecture not in CONFIGS or own - READ or None in names.values():
        return None
    try:
        config = _config(header, infos)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise WeightsError(f"{path.name} lacks or garbles its settings ({error}): fetch it again") from error
    return Read(header, infos, config, {name: known for name, known in names.items() if known is not None})


def _check_rope(header: GGUFHeader, infos: dict[str, TensorInfo]) -> None:
    """Raises WeightsError for stretched positions that neither reader understands: transformers' would drop them."""
    scaling = header.setting("rope.scaling.type", "none")
    known = {"none", "linear"} if header.architecture in CONFIGS else {"none"}
    factors = {name for name in infos if name.startswith("rope_")}
    if scaling not in known or factors - ({FACTORS} if header.architecture == "llama" else set()):
        raise WeightsError(
            f"{header.path.name} stretches its positions in a way that the hf backend does not read from GGUF files:"
            " load the model from safetensors"
        )


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


def _parameter_name(name: str, architecture: str) -> str | None:
    """`blk.3.attn_q.weight` -> `model.layers.3.self_attn.q_proj.weight`; None for an unknown tensor."""
    stem, _, kind = name.rpartition(".")
    if stem in OUTER:
        return f"{OUTER[stem]}.{kind}"
    inner = INNER | GEMMA if architecture == "gemma3" else INNER
    match stem.split("."):
        case ["blk", layer, leaf] if leaf in inner:
            return f"model.layers.{layer}.{inner[leaf]}.{kind}"
    return None


def _config(header: GGUFHeader, infos: dict[str, TensorInfo]) -> Any:
    """The transformers configuration; KeyError for a setting that is missing."""
    own = header.setting
    heads, width, layers = (_count(header, key) for key in ("attention.head_count", "embedding_length", "block_count"))
    size = int(own("attention.key_length") or own("rope.dimension_count") or width // heads)
    rope = {"rope_type": "default", "rope_theta": float(own("rope.freq_base", 10000.0))}
    if own("rope.scaling.type", "none") == "linear":
        rope |= {"rope_type": "linear", "factor": float(own("rope.scaling.factor", 1.0))}
    told: dict[str, Any] = {
        "vocab_size": infos["token_embd.weight"].shape[1],
        "hidden_size": width,
        "intermediate_size": _count(header, "feed_forward_length"),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": int(own("attention.head_count_kv", heads)),
        "head_dim": size,
        "rms_norm_eps": float(own("attention.layer_norm_rms_epsilon", 1e-6)),
        "max_position_embeddings": _count(header, "context_length"),
        "tie_word_embeddings": "output.weight" not in infos,
        "rope_parameters": rope,
        # Which tokens these are is the tokenizer's business; some configurations default to ids out of range.
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    if header.architecture == "llama":
        told["attention_bias"] = "blk.0.attn_q.bias" in infos
        told["mlp_bias"] = "blk.0.ffn_up.bias" in infos
    if header.architecture == "gemma3":
        told["sliding_window"] = _count(header, "attention.sliding_window")
        # As llama.cpp has it: the largest Gemma 3 alone scales scores by width per head.
        told["query_pre_attn_scalar"] = width // heads if layers == 62 else size
        local = {"rope_type": "default", "rope_theta": 10000.0}
        told["rope_parameters"] = {"full_attention": rope, "sliding_attention": local}
    return CONFIGS[header.architecture](**told)


def _count(header: GGUFHeader, key: str) -> int:
    found = header.setting(key)
    if not isinstance(found, int):
        raise KeyError(f"{header.architecture}.{key}")
    return found
