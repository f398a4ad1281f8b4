"""What a transformers configuration shows cannot be scored exactly: refused by name.

Our attention sees none of transformers' masks, so what only a mask would say is refused here. So is a setting that
changes a model but that transformers' modules of its architecture do not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from foredraft.core.errors import WeightsError

# Covered by tests/models/test_hf.py, sliding windows included. A mistral whose layers differ becomes a ministral.
PROVEN = frozenset(
    {"llama", "mistral", "ministral", "qwen2", "qwen3", "gemma2", "gemma3_text", "gpt2", "gpt_neox", "phi3"}
)
REMEDY = "choose a model of another architecture, such as llama or qwen3"
SLIDING, FULL = "sliding_attention", "full_attention"
GEMMAS = frozenset({"gemma2", "gemma3_text"})
MIXING = GEMMAS | {"ministral", "qwen2", "qwen3"}  # layers may see differently far
FACTORS = ("embedding_multiplier", "logit_scale", "logits_scaling", "partial_rotary_factor", "residual_multiplier")
# Settings that change a model -> the proven architectures whose modules read them.
READERS: dict[str, frozenset[str]] = {
    "sliding_window": MIXING | {"mistral", "phi3"},
    "query_pre_attn_scalar": GEMMAS,
    "attn_logit_softcapping": frozenset({"gemma2"}),
    "final_logit_softcapping": GEMMAS,
    **dict.fromkeys(("attention_chunk_size", "attention_multiplier", "clip_qkv"), frozenset()),
    **dict.fromkeys(("dual_chunk_attention_config", "no_rope_layers", "use_qk_norm"), frozenset()),
    **dict.fromkeys(FACTORS, frozenset()),
    "partial_rotary_factor": frozenset({"phi3", "gpt_neox"}),
}


def check_config(config: Any, name: str) -> None:
    """Raises WeightsError for what a configuration shows cannot be scored."""
    kinds, kind = _kinds(config), config.model_type
    if other := kinds - {FULL, SLIDING}:
        raise WeightsError(f"{name} has {min(other)} layers, which the hf backend cannot roll back: {REMEDY}")
    if any(rope.get("rope_type") in ("dynamic", "longrope") for rope in _ropes(config)):
        raise WeightsError(f"{name} turns positions by the length of the text, so no key can be kept: {REMEDY}")
    if getattr(config, "is_encoder_decoder", False) or not getattr(config, "max_position_embeddings", None):
        raise WeightsError(f"{name} ({kind}) is no decoder with a fixed context: {REMEDY}")
    if getattr(config, "use_bidirectional_attention", None) or getattr(config, "is_causal", None) is False:
        raise WeightsError(f"{name} has bidirectional attention, which is none of a decoder: {REMEDY}")
    if kind not in PROVEN:
        if getattr(config, "sliding_window", None) or SLIDING in kinds:
            raise WeightsError(f"{name} has sliding windows, which are untested for {kind}: {REMEDY}")
    elif unread := next(_unread(config), None):
        raise WeightsError(
            f"{name} has a setting {unread} that transformers does not read for {kind}: take it out of config.json if"
            " the model was made without it"
        )


def _kinds(config: Any) -> set[str]:
    """Of attention, that layers have; empty where the configuration does not tell."""
    return set(getattr(config, "layer_types", None) or ())


def _ropes(config: Any) -> list[dict[str, Any]]:
    """The positions of all layers, and of each kind of layer."""
    ropes = getattr(config, "rope_parameters", None) or {}
    return [ropes, *(rope for rope in ropes.values() if isinstance(rope, dict))]


def _unread(config: Any) -> Iterator[str]:
    """Settings of a proven architecture that would be dropped."""
    kind, kinds, ropes = config.model_type, _kinds(config), _ropes(config)
    for key, readers in READERS.items():
        values = [getattr(config, key, None), *(rope.get(key) for rope in ropes)]
        if kind not in readers and any(_changes(config, key, value) for value in values):
            yield key
    # All layers of the others are of one kind, and which one the window says.
    if kind not in MIXING and kinds and kinds != {SLIDING if getattr(config, "sliding_window", None) else FULL}:
        yield "layer_types"
    told, of_kinds = {key for key, value in ropes[0].items() if value is not None}, {SLIDING, FULL}
    if told - of_kinds - {"rope_type", "type"} if kind == "gemma3_text" else told & of_kinds:
        yield "rope_parameters"


def _changes(config: Any, key: str, value: Any) -> bool:
    """Whether the value of a setting makes a difference."""
    if key == "partial_rotary_factor" and _ropes(config)[0].get("rope_type") == "proportional":
        return False  # which reads it whatever the architecture
    if key == "sliding_window":
        return bool(value) and value < config.max_position_embeddings
    return bool(value) and not (key in FACTORS and value == 1)
