"""Tiny random transformers models written as GGUF files, as llama.cpp's converter would; needs torch.

stock = built("qwen3", sliding_window=5, …)      # a model; further settings are its configuration's
write(path, stock, "qwen3", settings={"attention.sliding_window": 5})   # the architecture's prefix left out
logits(HFModel.load(path, "gguf")) == told(stock)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
import transformers
from gguf.quants import dequantize, quantize

from foredraft.core.protocols import Query
from foredraft.models import hf_gguf
from foredraft.models.hf import HFModel

SMALL = {
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
}
CONFIGS = hf_gguf.CONFIGS | {
    "mistral": transformers.MistralConfig,
    "phi3": transformers.Phi3Config,
    "starcoder2": transformers.Starcoder2Config,
}
OWN: dict[str, dict[str, Any]] = {
    "llama": {"attention_bias": True, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    "gemma2": {"sliding_window": 4, "query_pre_attn_scalar": 16},
    "gemma3": {"sliding_window": 4, "query_pre_attn_scalar": 16},
}
NAMES = {parameter: tensor for tensor, parameter in (hf_gguf.INNER | hf_gguf.OUTER).items()}
NAMES |= {"self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up"}
NAMES |= {"mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"}
GEMMA_NAMES = NAMES | {parameter: tensor for tensor, parameter in hf_gguf.GEMMA.items()}


def built(architecture: str, **own: Any) -> Any:
    torch.manual_seed(3)
    nobody = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
    config = CONFIGS[architecture](**SMALL | nobody | OWN.get(architecture, {}) | own)
    # Of Gemma 2, transformers computes with eager attention only.
    attention = "eager" if architecture == "gemma2" else "sdpa"
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def write(
    path: Path,
    model: Any,
    architecture: str,
    *,
    kind: Any = None,
    settings: dict[str, Any] | None = None,
    general: dict[str, Any] | None = None,
    extra: dict[str, Any] | None = None,
    without: str = "nothing",
) -> None:
    """A GGUF file of the model; `kind` also rounds the model's own matrices to what the file can hold.

    settings, general: keys to add or change, with and without the architecture's prefix. extra: more tensors. without:
    parameters to leave out, those with this in their names.
    """
    writer = gguf.GGUFWriter(path, architecture)
    keys = {
        f"{architecture}.{key}": value
        for key, value in (metadata(model.config, architecture) | (settings or {})).items()
    }
    for key, value in (keys | (general or {})).items():
        kinds = [gguf.GGUFValueType.get_type(value)]
        kinds += [gguf.GGUFValueType.get_type(value[0])] if isinstance(value, list) else []
        writer.add_key_value(key, value, *kinds)
    writer.add_pad_token_id(0)  # transformers' reader takes its own default otherwise, out of range
    writer.add_array("tokenizer.ggml.tokens", [f"t{index}" for index in range(model.config.vocab_size)])
    for name, parameter in model.named_parameters():
        if without in name:
            continue
        weights = stored(model.config, architecture, name, parameter.detach().numpy())
        if kind is None or weights.ndim == 1:
            writer.add_tensor(tensor_name(name, architecture), weights)
            continue
        packed = quantize(weights, kind)
        rounded = dequantize(quantize(parameter.detach().numpy(), kind), kind)
        assert np.array_equal(dequantize(packed, kind), stored(model.config, architecture, name, rounded))
        parameter.data = torch.from_numpy(rounded.copy())
        writer.add_tensor(tensor_name(name, architecture), packed, raw_dtype=kind)
    for name, weights in (extra or {}).items():
        writer.add_tensor(name, weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def metadata(config: Any, architecture: str) -> dict[str, Any]:
    """The keys that every file of the architecture has."""
    rope = config.rope_parameters.get("full_attention", config.rope_parameters)
    own = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": config.head_dim,
        "vocab_size": config.vocab_size,
        "rope.freq_base": float(rope["rope_theta"]),
    }
    if architecture == "starcoder2":
        return own | {"attention.layer_norm_epsilon": config.norm_epsilon}
    own["attention.layer_norm_rms_epsilon"] = config.rms_norm_eps
    if architecture in ("gemma2", "gemma3"):
        own["attention.sliding_window"] = config.sliding_window
    if architecture == "llama":
        own["rope.dimension_count"] = config.head_dim
    return own


def tensor_name(name: str, architecture: str) -> str:
    """`model.layers.0.mlp.up_proj.weight` -> `blk.0.ffn_up.weight`."""
    names = GEMMA_NAMES if architecture in ("gemma2", "gemma3") else NAMES
    stem, _, what = name.rpartition(".")
    if not stem.startswith("model.layers."):
        return f"{names[stem]}.{what}"
    layer, part = stem.split(".", 3)[2:]
    return f"blk.{layer}.{names[part]}.{what}"


def stored(config: Any, architecture: str, name: str, weights: np.ndarray) -> np.ndarray:
    """What llama.cpp's converter makes of a parameter."""
    if architecture in ("gemma2", "gemma3") and name.endswith("norm.weight"):
        return weights + 1
    heads = (
        config.num_attention_heads if ".q_proj." in name else config.num_key_value_heads if ".k_proj." in name else 0
    )
    if architecture == "llama" and heads:
        return weights.reshape(heads, 2, -1, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape).copy()
    return weights


def logits(model: HFModel) -> np.ndarray:
    """Of a text of twenty tokens."""
    tokens = tuple(range(20))
    [scores] = model.score([Query(model.open(), tokens, tuple(range(-1, 19)), tokens)])
    return np.stack([scores.logits(row) for row in tokens])


@torch.inference_mode()
def told(stock: Any) -> np.ndarray:
    """The same by transformers."""
    found: np.ndarray = stock(torch.arange(20)[None], use_cache=False).logits[0].numpy()
    return found
