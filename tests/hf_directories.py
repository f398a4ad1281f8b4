"""Tiny random models of transformers, saved as directories; needs torch.

    folder = write_directory(tmp_path / "tiny", "gemma3", dtype="bfloat16")
    stock = stock_model(folder)     # what transformers makes of the same directory, in float64
    edit(folder, rope_theta=None, rope_scaling={…})   # config.json; None takes a key out

CASES names what the native engine reads, MORE what the hf backend alone does. A case that ends in "-old" has the
configuration that earlier versions of transformers wrote.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers

VOCAB = 96
CONTEXT = 2048
SMALL = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
WINDOW = {"use_sliding_window": True, "sliding_window": 24}
GEMMA = SMALL | {"num_hidden_layers": 7, "head_dim": 32, "query_pre_attn_scalar": 20, "sliding_window": 24}
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
LLAMA3_NEW = LLAMA3 | {"rope_type": "llama3", "rope_theta": 5e5}
MIXED = ["full_attention", "sliding_attention", "full_attention"]
GLOBAL = {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6}
LOCAL = {"rope_type": "default", "rope_theta": 20000.0}
OLD_ROPE = {"rope_parameters": None, "rope_theta": 5e5}
OLD_GEMMA = {
    "rope_parameters": None,
    "layer_types": None,
    "sliding_window_pattern": 3,
    "rope_theta": 2e6,
    "rope_local_base_freq": 5000.0,
    "rope_scaling": {"rope_type": "linear", "factor": 4.0},
}


@dataclass(frozen=True)
class Case:
    """edits: what is then changed in config.json, None to take a key out."""

    config: Callable[..., Any]
    options: dict[str, Any]
    edits: dict[str, Any] = field(default_factory=dict)


CASES = {
    "llama": Case(transformers.LlamaConfig, SMALL),
    "llama-bias-tied": Case(
        transformers.LlamaConfig, SMALL | {"attention_bias": True, "tie_word_embeddings": True, "rms_norm_eps": 1e-4}
    ),
    "llama-wide-heads": Case(transformers.LlamaConfig, SMALL | {"head_dim": 32}),
    "llama-linear": Case(
        transformers.LlamaConfig, SMALL | {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}}
    ),
    "llama3": Case(transformers.LlamaConfig, SMALL | {"rope_parameters": LLAMA3_NEW}),
    "llama3-old": Case(
        transformers.LlamaConfig, SMALL, OLD_ROPE | {"rope_scaling": LLAMA3 | {"type": "llama3"}, "head_dim": None}
    ),
    "llama-linear-old": Case(
        transformers.LlamaConfig, SMALL, OLD_ROPE | {"rope_scaling": {"type": "linear", "factor": 4.0}}
    ),
    "mistral": Case(transformers.MistralConfig, SMALL | {"sliding_window": None, "head_dim": 32}),
    "mistral-window": Case(transformers.MistralConfig, SMALL | {"sliding_window": 24}, OLD_ROPE),
    "qwen2": Case(transformers.Qwen2Config, SMALL),
    "qwen2-window": Case(
        transformers.Qwen2Config, SMALL | WINDOW | {"max_window_layers": 1, "tie_word_embeddings": True}
    ),
    "qwen2-window-old": Case(
        transformers.Qwen2Config, SMALL | WINDOW | {"max_window_layers": 2}, OLD_ROPE | {"layer_types": None}
    ),
    "qwen3": Case(transformers.Qwen3Config, SMALL | {"head_dim": 32}),
    "qwen3-window-bias": Case(
        transformers.Qwen3Config, SMALL | WINDOW | {"head_dim": 16, "layer_types": MIXED, "attention_bias": True}
    ),
    "smollm3": Case(transformers.SmolLM3Config, SMALL | {"num_hidden_layers": 5}),
    "smollm3-window": Case(
        transformers.SmolLM3Config, SMALL | WINDOW | {"no_rope_layers": [0, 1, 0], "tie_word_embeddings": False}
    ),
    "smollm3-old": Case(
        transformers.SmolLM3Config,
        SMALL | {"no_rope_layer_interval": 2},
        {"rope_parameters": None, "no_rope_layers": None, "layer_types": None},
    ),
    "gemma3": Case(transformers.Gemma3TextConfig, GEMMA),
    "gemma3-ropes": Case(
        transformers.Gemma3TextConfig,
        GEMMA | {"rope_parameters": {"full_attention": GLOBAL, "sliding_attention": LOCAL}, "attention_bias": True},
    ),
    "gemma3-old": Case(transformers.Gemma3TextConfig, GEMMA, OLD_GEMMA),
}
CAPS = {"attn_logit_softcapping": 1.5, "final_logit_softcapping": 3.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4, "original_max_position_embeddings": 64}
GPT2 = {"vocab_size": VOCAB, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": CONTEXT, "initializer_range": 0.2}
MORE = {
    "llama-yarn": Case(transformers.LlamaConfig, SMALL | {"rope_parameters": YARN}),
    "mistral-layers": Case(transformers.MistralConfig, SMALL | {"sliding_window": 24}, {"layer_types": MIXED}),
    "gemma2": Case(transformers.Gemma2Config, GEMMA | CAPS),
    "gemma2-uncapped": Case(transformers.Gemma2Config, GEMMA | dict.fromkeys(CAPS)),
    "gemma3-capped": Case(transformers.Gemma3TextConfig, GEMMA | {"final_logit_softcapping": 3.0}),
    "phi3-window": Case(transformers.Phi3Config, SMALL | {"sliding_window": 24, "partial_rotary_factor": 0.5}),
    "gpt2-scaled": Case(transformers.GPT2Config, GPT2 | {"scale_attn_by_inverse_layer_idx": True}),
    "gpt2-unscaled": Case(transformers.GPT2Config, GPT2 | {"scale_attn_weights": False}),
    "gpt_neox": Case(transformers.GPTNeoXConfig, SMALL | {"rotary_pct": 0.25, "use_parallel_residual": False}),
    "seed_oss": Case(transformers.SeedOssConfig, SMALL | {"head_dim": 32, "attention_bias": True}),
}


def write_directory(
    folder: Path, name: str, *, dtype: str = "float32", shards: str = "5GB", seed: int = 0, **options: Any
) -> Path:
    """Writes a case of CASES or MORE. shards: the largest size of a file. options: of the configuration, to change."""
    case = (CASES | MORE)[name]
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(case.config(**case.options | options))
    # Biases and norms start at zero or one: the noise makes every term of the forward count.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    transformers.utils.logging.disable_progress_bar()
    try:
        model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=shards)
    finally:
        transformers.utils.logging.enable_progress_bar()
    edit(folder, **case.edits)
    return folder


def edit(folder: Path, **changes: Any) -> None:
    """Changes config.json; None takes a key out."""
    path = folder / "config.json"
    told = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({key: value for key, value in told.items() if value is not None}), encoding="utf-8")


def stock_model(folder: Path, attention: str = "sdpa") -> Any:
    """transformers' own model of the directory, its weights in float64."""
    transformers.utils.logging.disable_progress_bar()
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float64, attn_implementation=attention, local_files_only=True
        )
    finally:
        transformers.utils.logging.enable_progress_bar()
    return model.eval()
