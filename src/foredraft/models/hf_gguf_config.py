"""What the settings of a GGUF file mean to transformers, and which of them would be lost: those are refused by name.

The reference for what a key means, and for what holds where it is absent, is llama.cpp's loader of the architecture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import transformers

from foredraft.core.errors import WeightsError
from foredraft.models.gguf_header import GGUFHeader, TensorInfo

CONFIGS = {
    "llama": transformers.LlamaConfig,
    "qwen2": transformers.Qwen2Config,
    "qwen3": transformers.Qwen3Config,
    "gemma2": transformers.Gemma2Config,
    "gemma3": transformers.Gemma3TextConfig,
}
FACTORS = "rope_freqs.weight"
READ = frozenset(
    {"context_length", "embedding_length", "block_count", "feed_forward_length", "vocab_size"}
    | {"rope.dimension_count", "rope.freq_base", "rope.scaling.type", "rope.scaling.factor"}
    | {"rope.scaling.original_context_length", "rope.scaling.finetuned"}
    | {"attention.layer_norm_rms_epsilon", "attention.sliding_window"}
    | {f"attention.{key}" for key in ("head_count", "head_count_kv", "key_length", "value_length")}
)
SLIDING, FULL = "sliding_attention", "full_attention"


@dataclass(frozen=True)
class Gemma:
    """keys: what else is read. pattern: every so-manieth layer sees everything. window: where the file states none.

    largest: layers of the one model that scales scores by width per head, where the others take the size of a head.
    """

    keys: frozenset[str]
    pattern: int
    largest: int
    window: int | None = None


SHARED = frozenset({"final_logit_softcapping", "attention.sliding_window_pattern"})
GEMMAS = {
    "gemma2": Gemma(SHARED | {"attn_logit_softcapping"}, pattern=2, largest=46, window=4096),
    "gemma3": Gemma(SHARED | {"rope.freq_base_swa"}, pattern=6, largest=62),
}
GEMMA3_LOCAL_BASE = 10000.0
ATTENTION_BIASES = tuple(f"attn_{part}.bias" for part in ("q", "k", "v", "output"))
HIDDEN_BIASES = tuple(f"ffn_{part}.bias" for part in ("gate", "up", "down"))


def lost(header: GGUFHeader, what: str) -> WeightsError:
    """The error for a part of a file that nobody would read."""
    reason = "which the hf backend does not read from GGUF files: load the model from safetensors"
    return WeightsError(f"{header.path.name} {what}, {reason}")


def own_settings(header: GGUFHeader) -> set[str]:
    """The keys of the file's architecture, its prefix left out."""
    prefix = f"{header.architecture}."
    return {key.removeprefix(prefix) for key in header.metadata if key.startswith(prefix)}


def check_rope(header: GGUFHeader, infos: dict[str, TensorInfo]) -> None:
    """Raises WeightsError for stretched positions that neither reader understands: transformers' would drop them."""
    scaling, known = header.setting("rope.scaling.type", "none"), header.architecture in CONFIGS
    if scaling not in (("none", "linear") if known else ("none",)):
        raise lost(header, f"stretches its positions by {scaling!r}")
    factors = {name for name in infos if name.startswith("rope_")}
    if other := factors - ({FACTORS} if header.architecture == "llama" else set()):
        raise lost(header, f"stretches its positions by a tensor {min(other)!r}")


def configuration(header: GGUFHeader, infos: dict[str, TensorInfo]) -> Any:
    """The transformers configuration of a file of CONFIGS.

    Raises WeightsError for a setting that it cannot express, KeyError and others for one that is missing or garbled.
    """
    architecture, gemma = header.architecture, GEMMAS.get(header.architecture)
    if unknown := sorted(own_settings(header) - READ - (gemma.keys if gemma else frozenset())):
        raise lost(header, f"has a setting {architecture}.{unknown[0]}")
    heads, layers = _count(header, "attention.head_count"), _count(header, "block_count")
    if layers > len(infos):  # before anything is made for each of them
        raise WeightsError(f"{header.path.name} lacks tensors of its {layers} layers: fetch it again, whole")
    told: dict[str, Any] = {
        "vocab_size": infos["token_embd.weight"].shape[1],
        "hidden_size": _count(header, "embedding_length"),
        "intermediate_size": _count(header, "feed_forward_length"),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": _count(header, "attention.head_count_kv", heads),
        "head_dim": _head_size(header, heads),
        "rms_norm_eps": _number(header, "attention.layer_norm_rms_epsilon", 1e-6),
        "max_position_embeddings": _count(header, "context_length"),
        "tie_word_embeddings": "output.weight" not in infos,
        "rope_parameters": _rope(header),
        # Which tokens these are is the tokenizer's business; some configurations default to ids out of range.
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    if architecture != "qwen2":  # whose queries, keys and values always have them
        told["attention_bias"] = any(f"blk.0.{leaf}" in infos for leaf in ATTENTION_BIASES)
    if architecture == "llama":
        told["mlp_bias"] = any(f"blk.0.{leaf}" in infos for leaf in HIDDEN_BIASES)
    if gemma:
        return CONFIGS[architecture](**told | _gemma(header, gemma, told))
    return _windowed(header, told)


def _windowed(header: GGUFHeader, told: dict[str, Any]) -> Any:
    """The configuration, with the window of all layers that a Mistral has, which is a llama in files.

    Of the others some layers have one, or none has; no file says which, and llama.cpp reads no window of theirs.
    """
    architecture, window = header.architecture, _count(header, "attention.sliding_window", 0, least=0)
    if not 0 < window < told["max_position_embeddings"]:
        return CONFIGS[architecture](**told)
    if architecture != "llama":
        raise lost(header, f"has a setting {architecture}.attention.sliding_window but not of which layers")
    if told.pop("attention_bias") | told.pop("mlp_bias"):
        raise lost(header, "has a setting llama.attention.sliding_window beside tensors of biases")
    return transformers.MistralConfig(**told, sliding_window=window)


def _gemma(header: GGUFHeader, gemma: Gemma, told: dict[str, Any]) -> dict[str, Any]:
    """What a Gemma's configuration has beside `told`, or otherwise."""
    layers, heads = told["num_hidden_layers"], told["num_attention_heads"]
    pattern = _count(header, "attention.sliding_window_pattern", gemma.pattern)
    scalar = told["hidden_size"] // heads if layers == gemma.largest else told["head_dim"]
    found = {
        "sliding_window": _count(header, "attention.sliding_window", gemma.window),
        "layer_types": [SLIDING if (layer + 1) % pattern else FULL for layer in range(layers)],
        "query_pre_attn_scalar": scalar,
    }
    for cap in ("attn_logit_softcapping", "final_logit_softcapping"):
        if header.setting(cap) is not None:  # where the file states none, transformers and llama.cpp agree
            found[cap] = _number(header, cap)
    if header.architecture == "gemma3":
        base = _number(header, "rope.freq_base_swa", GEMMA3_LOCAL_BASE)
        found["rope_parameters"] = {
            FULL: told["rope_parameters"],
            SLIDING: {"rope_type": "default", "rope_theta": base},
        }
    return found


def _head_size(header: GGUFHeader, heads: int) -> int:
    """Components of a head. Raises WeightsError unless all of them turn, and values have as many."""
    width, rotated = _count(header, "embedding_length"), header.setting("rope.dimension_count")
    size = _count(header, "attention.key_length", rotated or width // heads)
    if rotated and rotated != size:
        raise lost(header, f"turns {rotated} of {size} components of a head")
    if header.setting("attention.value_length", size) != size:
        raise lost(header, "has values of another size than its keys")
    return size


def _rope(header: GGUFHeader) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": _number(header, "rope.freq_base", 10000.0)}
    linear = header.setting("rope.scaling.type", "linear") == "linear"  # as a factor alone is
    if linear and header.setting("rope.scaling.factor", 0) not in (0, 1):
        rope |= {"rope_type": "linear", "factor": _number(header, "rope.scaling.factor")}
    return rope


def _count(header: GGUFHeader, key: str, default: int | None = None, *, least: int = 1) -> int:
    found = header.setting(key, default)
    if type(found) is not int or found < least:
        raise KeyError(f"{header.architecture}.{key}")
    return found


def _number(header: GGUFHeader, key: str, default: float | None = None) -> float:
    found = header.setting(key, default)
    if type(found) not in (int, float) or not 0 < found < math.inf:
        raise KeyError(f"{header.architecture}.{key}")
    return float(found)


# --- other architectures, which transformers' own reader reads, dropping what it does not know ---

# What the shapes of tensors repeat, so that no other value can be loaded; and what changes no result by itself.
HARMLESS = frozenset(
    {"embedding_length", "block_count", "feed_forward_length", "vocab_size", "attention.key_length"}
    | {"attention.value_length", "expert_count", "expert_feed_forward_length", "expert_shared_feed_forward_length"}
    | {"rope.scaling.original_context_length", "rope.scaling.finetuned"}
)


def check_kept(header: GGUFHeader, model: Any) -> None:
    """Raises WeightsError unless the model that transformers made says and holds all that the file does."""
    said = _said(model.config)
    for key in sorted(own_settings(header) - HARMLESS):
        if not _same(header.setting(key), said.get(key)):
            raise lost(header, f"has a setting {header.architecture}.{key}")
    held = {id(tensor): tensor.numel() for tensor in model.state_dict(keep_vars=True).values()}  # tied ones once
    dropped = sum(info.count for info in header.tensors) - sum(held.values())
    if dropped > 0:
        raise lost(header, f"has tensors of {dropped} numbers")


def _said(config: Any) -> dict[str, Any]:
    """Key -> what a configuration says about it."""

    def first(*names: str) -> Any:
        return next((getattr(config, name) for name in names if getattr(config, name, None) is not None), None)

    rope = first("rope_parameters") or {}
    size = first("head_dim") or config.hidden_size // config.num_attention_heads
    return {
        "context_length": first("max_position_embeddings"),
        "attention.head_count": first("num_attention_heads"),
        "attention.head_count_kv": first("num_key_value_heads", "num_attention_heads"),
        "attention.layer_norm_rms_epsilon": first("rms_norm_eps", "norm_eps"),
        "attention.layer_norm_epsilon": first("layer_norm_epsilon", "layer_norm_eps", "norm_epsilon", "norm_eps"),
        "attention.sliding_window": first("sliding_window") or 0,
        "rope.freq_base": rope.get("rope_theta"),
        "rope.dimension_count": int(size * rope.get("partial_rotary_factor", 1.0)),
        "rope.scaling.type": "none",
        "expert_used_count": first("num_experts_per_tok"),
    }


def _same(stored: Any, said: Any) -> bool:
    """Files store numbers as float32."""
    if isinstance(stored, float) and isinstance(said, int | float):
        return math.isclose(stored, said, rel_tol=1e-6)
    return bool(stored == said)
