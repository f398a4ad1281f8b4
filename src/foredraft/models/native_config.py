"""config.json of a Hugging Face directory as the native engine's settings.

The reference for what a key means, and for what holds where it is absent, is transformers' class of that model type.
A key that is neither read here nor known to leave the result alone is refused by name, unless it says null or false.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from foredraft import _native
from foredraft.models.native_parts import LARGEST_HEAD, Names, Shape, Unsupported, count, number, rotations

Told = dict[str, Any]

READ = frozenset(
    {"model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "max_position_embeddings"}
    | {"num_attention_heads", "num_key_value_heads", "head_dim", "hidden_act", "rms_norm_eps", "tie_word_embeddings"}
    | {"rope_theta", "rope_scaling", "rope_parameters"}
)
# What says nothing about the forward pass of these architectures.
UNREAD = frozenset(
    {"architectures", "torch_dtype", "dtype", "use_cache", "initializer_range", "attention_dropout", "name_or_path"}
    | {"bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "sep_token_id", "tokenizer_class", "return_dict"}
    | {"pretraining_tp", "is_llama_config", "max_window_layers", "cache_implementation", "chunk_size_feed_forward"}
    | {"id2label", "label2id", "num_labels", "task_specific_params", "do_sample", "temperature", "top_k", "top_p"}
    | {"max_length"}
)
UNREAD_PREFIXES = ("_", "transformers", "unsloth")
ROPES: dict[str, frozenset[str]] = {
    "default": frozenset(),
    "linear": frozenset({"factor"}),
    "llama3": frozenset({"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}),
}
SLIDING, FULL = "sliding_attention", "full_attention"
WINDOWS = frozenset({"use_sliding_window", "sliding_window", "layer_types"})


@dataclass(frozen=True)
class Architecture:
    """What sets a model type apart. keys: what else of its configuration is read.

    theta, head_size, window: where the configuration is silent; no head size is the width over the heads.
    biases: parts of attention that always have one. norms: parts of a layer -> their names.
    """

    keys: frozenset[str] = frozenset()
    theta: float = 10000.0
    head_size: int | None = None
    window: int | None = None
    biases: tuple[str, ...] = ()
    norms: dict[str, str] = field(default_factory=dict)
    tied: bool = False
    gemma: bool = False


MATRICES = {
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "out": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}
ATTENTION = ("query", "key", "value", "out")
NORMS = {"attention_norm": "input_layernorm", "hidden_norm": "post_attention_layernorm"}
HEAD_NORMS = {"query_norm": "self_attn.q_norm", "key_norm": "self_attn.k_norm"}
GEMMA_NORMS = {
    "attention_norm": "input_layernorm",
    "after_attention_norm": "post_attention_layernorm",
    "hidden_norm": "pre_feedforward_layernorm",
    "after_hidden_norm": "post_feedforward_layernorm",
}
BIAS = frozenset({"attention_bias"})
ARCHITECTURES = {
    "llama": Architecture(BIAS, norms=NORMS),
    "mistral": Architecture(frozenset({"sliding_window"}), window=4096, norms=NORMS),
    "qwen2": Architecture(WINDOWS, window=4096, biases=("query", "key", "value"), norms=NORMS),
    "qwen3": Architecture(BIAS | WINDOWS, head_size=128, window=4096, norms=NORMS | HEAD_NORMS),
    "smollm3": Architecture(
        BIAS | WINDOWS | {"no_rope_layers", "no_rope_layer_interval"}, theta=2e6, norms=NORMS, tied=True
    ),
    "gemma3_text": Architecture(
        BIAS
        | {"hidden_activation", "query_pre_attn_scalar", "rope_local_base_freq"}
        | {"sliding_window", "sliding_window_pattern", "layer_types"},
        theta=1e6,
        head_size=256,
        window=4096,
        norms=GEMMA_NORMS | HEAD_NORMS,
        tied=True,
        gemma=True,
    ),
}
LOCAL_THETA = 10000.0  # of the sliding layers of Gemma 3


def architecture_of(told: Told, name: str) -> Architecture:
    """Raises Unsupported for a model type or a setting that is not read here. name: of the model, for messages."""
    kind = told.get("model_type")
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise Unsupported(f"{name} is of architecture {kind!r}, and native are {known}: choose --engine hf")
    unknown = _stated(told) - READ - UNREAD - ARCHITECTURES[kind].keys
    for key in sorted(unknown):
        if not key.startswith(UNREAD_PREFIXES):
            raise Unsupported(f"{name} has a setting {key!r} unknown to the native engine: choose --engine hf")
    return ARCHITECTURES[kind]


def _stated(told: Told) -> set[str]:
    """Keys that say something."""
    return {key for key, value in told.items() if value not in (None, False, 0, "", [], {})}


def names_of(kind: Architecture, told: Told) -> Names:
    """The tensors that a model of these settings has."""
    biased = ATTENTION if "attention_bias" in kind.keys and _flag(told, "attention_bias") else kind.biases
    vectors = {part: f"{name}.weight" for part, name in kind.norms.items()}
    vectors |= {f"{part}_bias": f"{MATRICES[part]}.bias" for part in biased}
    return Names(
        {part: f"model.layers.{{}}.{name}.weight" for part, name in MATRICES.items()},
        {part: f"model.layers.{{}}.{name}" for part, name in vectors.items()},
        embedding="model.embed_tokens.weight",
        norm="model.norm.weight",
        head="lm_head.weight",
    )


def is_tied(kind: Architecture, told: Told) -> bool:
    """Whether the embedding is the output head too."""
    return _flag(told, "tie_word_embeddings", kind.tied)


def shape_of(kind: Architecture, told: Told, name: str) -> Shape:
    """All settings, the vocabulary as stated. Raises Unsupported, and KeyError or another for what is garbled."""
    config = _native.Config()
    layers = _count(told, "num_hidden_layers")
    config.width, config.hidden, config.heads = (
        _count(told, key) for key in ("hidden_size", "intermediate_size", "num_attention_heads")
    )
    config.kv_heads = _count(told, "num_key_value_heads", config.heads)
    size = _count(told, "head_dim", kind.head_size or config.width // config.heads)
    if size > LARGEST_HEAD:
        raise Unsupported(f"{name} has heads of more than {LARGEST_HEAD}: choose --engine hf")
    config.head_size = config.rotated = size
    config.vocabulary, config.context = _count(told, "vocab_size"), _count(told, "max_position_embeddings")
    config.epsilon = _number(told, "rms_norm_eps", 1e-6)
    config.halves, config.gelu = True, kind.gemma
    gate = told.get("hidden_activation") or "gelu_pytorch_tanh" if kind.gemma else told.get("hidden_act") or "silu"
    if gate not in (("gelu_pytorch_tanh",) if kind.gemma else ("silu", "swish")):
        raise Unsupported(f"{name} has the activation {gate!r}, unknown to the native engine: choose --engine hf")
    config.score_scale = 1.0 / math.sqrt(_number(told, "query_pre_attn_scalar", 256) if kind.gemma else size)
    if kind.gemma:
        config.embedding_scale = math.sqrt(config.width)
    windows = _windows(kind, told, layers, name)
    return Shape(config, layers, windows, _frequencies(kind, told, windows, size, name))


# --- which positions a layer sees ---


def _windows(kind: Architecture, told: Told, layers: int, name: str) -> tuple[int, ...]:
    """Positions that each layer sees, 0 for all."""
    if "sliding_window" not in kind.keys:
        return (0,) * layers
    stated = told.get("sliding_window", kind.window)
    if "use_sliding_window" in kind.keys and not _flag(told, "use_sliding_window"):
        stated = None
    window = 0 if stated is None else count(stated, "sliding_window", most=math.inf)
    if "layer_types" not in kind.keys:
        return (window,) * layers
    kinds = told.get("layer_types") or _default_kinds(kind, told, layers, window)
    if not isinstance(kinds, list) or len(kinds) != layers:
        raise KeyError("layer_types")
    other = [one for one in kinds if one not in (SLIDING, FULL)]
    if other:
        raise Unsupported(f"{name} has layers of {other[0]!r}, unknown to the native engine: choose --engine hf")
    if SLIDING in kinds and not window:
        raise KeyError("sliding_window")
    return tuple(window if one == SLIDING else 0 for one in kinds)


def _default_kinds(kind: Architecture, told: Told, layers: int, window: int) -> list[str]:
    if kind.gemma:
        pattern = _count(told, "sliding_window_pattern", 6)
        sliding = [(layer + 1) % pattern > 0 for layer in range(layers)]
    elif "no_rope_layers" in kind.keys:
        sliding = [bool(window) and not turned for turned in _turned(kind, told, layers)]
    else:
        first = _count(told, "max_window_layers", 28, least=0)
        sliding = [bool(window) and layer >= first for layer in range(layers)]
    return [SLIDING if one else FULL for one in sliding]


def _turned(kind: Architecture, told: Told, layers: int) -> list[bool]:
    """Which layers rotate queries and keys: of SmolLM3 every fourth does not."""
    if "no_rope_layers" not in kind.keys:
        return [True] * layers
    stated = told.get("no_rope_layers")
    if stated is None:
        interval = _count(told, "no_rope_layer_interval", 4)
        return [(layer + 1) % interval != 0 for layer in range(layers)]
    if not isinstance(stated, list) or len(stated) < layers or any(one not in (0, 1) for one in stated):
        raise KeyError("no_rope_layers")
    return [bool(one) for one in stated[:layers]]


# --- positions ---


def _frequencies(
    kind: Architecture, told: Told, windows: tuple[int, ...], size: int, name: str
) -> tuple[tuple[float, ...], ...]:
    """Radians a position, for each pair of components of each layer."""
    still = (0.0,) * (size // 2)
    if not kind.gemma:
        rope = _object(told, "rope_scaling") or _object(told, "rope_parameters")
        full = _rotations(rope, _number(told, "rope_theta", kind.theta), told, size, name)
        return tuple(full if turned else still for turned in _turned(kind, told, len(windows)))
    ropes = _object(told, "rope_parameters")
    if other := sorted(_stated(ropes) - {SLIDING, FULL}):
        raise Unsupported(f"{name} has rope_parameters with {other[0]!r}, unknown here: choose --engine hf")
    everywhere = _object(ropes, FULL) | _object(told, "rope_scaling")
    full = _rotations(everywhere, _number(told, "rope_theta", kind.theta), told, size, name)
    base = _number(told, "rope_local_base_freq", LOCAL_THETA)
    local = _rotations(_object(ropes, SLIDING), base, told, size, name)
    return tuple(local if window else full for window in windows)


def _rotations(rope: Told, base: float, told: Told, size: int, name: str) -> tuple[float, ...]:
    """Of one kind of layer. base: where `rope` states none."""
    stretch = rope.get("rope_type") or rope.get("type") or "default"
    if stretch not in ROPES:
        raise Unsupported(f"{name} stretches its positions by {stretch!r}, unknown here: choose --engine hf")
    if other := sorted(_stated(rope) - {"rope_type", "type", "rope_theta"} - ROPES[stretch]):
        raise Unsupported(f"{name} turns positions with {other[0]!r}, unknown here: choose --engine hf")
    base = _number(rope, "rope_theta", base)
    divisors = [1.0] * (size // 2)
    if stretch == "linear":
        divisors = [_number(rope, "factor")] * (size // 2)
    if stretch == "llama3":
        original = _number(rope, "original_max_position_embeddings", _number(told, "max_position_embeddings"))
        divisors = [_divisor(rope, original, 2 * math.pi * base ** (2 * pair / size)) for pair in range(size // 2)]
    return rotations(base, size, divisors)


def _divisor(rope: Told, original: float, wavelength: float) -> float:
    """Llama 3.1: what a frequency is divided by; long waves by `factor`, short ones by 1, smoothly between them."""
    factor, low, high = (_number(rope, key) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    if high <= low:
        raise KeyError("high_freq_factor")
    smooth = min(max((original / wavelength - low) / (high - low), 0.0), 1.0)
    return 1.0 / ((1.0 - smooth) / factor + smooth)


# --- values; KeyError names one that is missing or garbled ---


def _count(told: Told, key: str, default: int | None = None, *, least: int = 1) -> int:
    value = told.get(key)
    return count(default if value is None else value, key, least=least)


def _number(told: Told, key: str, default: float | None = None) -> float:
    value = told.get(key)
    return number(default if value is None else value, key)


def _flag(told: Told, key: str, default: bool = False) -> bool:
    value = told.get(key)
    if value not in (None, True, False):
        raise KeyError(key)
    return default if value is None else bool(value)


def _object(told: Told, key: str) -> Told:
    value = told.get(key) or {}
    if not isinstance(value, dict):
        raise KeyError(key)
    return value
