"""The names that users of other systems know: what each is here, or why it is not. A literal table, and nothing else.

Names are those of vLLM's `speculative_config`, of Hugging Face's generation settings, of llama.cpp's long options (and
the removed ones that people still type) and of mlx-lm. The table in docs/options.md is made from this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

METHOD = "method"
MODEL = "model"
LENGTH = "num_speculative_tokens"
SCHEDULE = "policy"
PAIR = "translate"

VLLM, HF, LLAMA, MLX = "vLLM", "Hugging Face", "llama.cpp", "mlx-lm"


@dataclass(frozen=True)
class Foreign:
    """An option of another system.

    ours: METHOD, MODEL, LENGTH, SCHEDULE or PAIR, which more than one drafter takes; `drafter:option` for one that
    belongs to a drafter; empty for one that is not supported. kind: of its values. note: what differs here, or what to
    do instead. neutral: values that ask for nothing beyond what happens anyway.
    """

    system: str
    name: str
    ours: str = ""
    kind: type = int
    note: str = ""
    neutral: tuple[Any, ...] = ()

    @property
    def drafter(self) -> str:
        """The drafter it belongs to, if it does to one."""
        return self.ours.partition(":")[0] if ":" in self.ours else ""


# What a method is called elsewhere -> our drafter. Our own names are understood as well.
METHODS: dict[str, str] = {
    "ngram": "lookup",
    "ngram_gpu": "lookup",
    "[ngram]": "lookup",
    "suffix": "suffix",
    "draft_model": "model",
    "draft": "model",
    "draft-simple": "model",
    "ngram-simple": "lookup",
    "ngram-map-k": "lookup",
    "ngram-map-k4v": "lookup",
    "ngram-cache": "suffix",
    "ngram-mod": "suffix",
    "none": "none",
}

_HEADS = (
    "trained heads of others are not read: train one here and give its file to --drafter, or choose ngram or suffix"
)
UNSUPPORTED_METHODS: dict[str, str] = {
    **dict.fromkeys(("medusa", "mlp_speculator", "eagle", "eagle3", "mtp", "dflash", "dspark"), _HEADS),
    **dict.fromkeys(("draft-eagle3", "draft-mtp", "draft-dflash"), _HEADS),
    "extract_hidden_states": "it drafts nothing, so leave it out",
    "custom_class": "give foredraft.load an object of your own as drafter",
}

_WHERE = "a draft model runs where the target does, so leave it out"
_LOSSY = "it changes what the text says, so leave it out"
_PARTS = "drafts are shared out by the policy, so leave it out"
_CHECKED = "how drafts are checked is said by the verifier, so give verifier"

TABLE: tuple[Foreign, ...] = (
    Foreign(VLLM, "method", METHOD, str),
    Foreign(VLLM, "model", MODEL, str),
    Foreign(VLLM, "speculative_model", MODEL, str),
    Foreign(VLLM, "num_speculative_tokens", LENGTH),
    Foreign(VLLM, "prompt_lookup_max", "lookup:n"),
    Foreign(VLLM, "prompt_lookup_min", "lookup:min"),
    Foreign(VLLM, "ngram_prompt_lookup_max", "lookup:n"),
    Foreign(VLLM, "ngram_prompt_lookup_min", "lookup:min"),
    Foreign(VLLM, "suffix_decoding_max_tree_depth", "suffix:depth", note="counts context alone, not drafts too"),
    Foreign(VLLM, "suffix_decoding_max_spec_factor", "suffix:factor", float),
    Foreign(VLLM, "suffix_decoding_min_token_prob", "suffix:min_prob", float, "of the whole path"),
    Foreign(
        VLLM,
        "suffix_decoding_max_cached_requests",
        "suffix:shared",
        note="0 learns from no past text; past texts are counted in tokens here, so give suffix:limit=TOKENS for more",
    ),
    Foreign(VLLM, "quantization", "model:quantize", str, "int8 or int4"),
    Foreign(VLLM, "use_heterogeneous_vocab", PAIR, bool, "true drafts with `translate`"),
    Foreign(VLLM, "enable_adaptive_verification", note="it is what happens, so leave num_speculative_tokens out too"),
    Foreign(VLLM, "num_speculative_tokens_per_batch_size", note=_PARTS),
    Foreign(VLLM, "speculative_disable_by_batch_size", note=_PARTS),
    Foreign(VLLM, "draft_tensor_parallel_size", note=_WHERE, neutral=(1,)),
    Foreign(VLLM, "enforce_eager", note=_WHERE, neutral=(True, False)),
    Foreign(VLLM, "attention_backend", note=_WHERE),
    Foreign(VLLM, "kv_cache_dtype", note=_WHERE, neutral=("auto",)),
    Foreign(VLLM, "max_model_len", note="a draft model stops drafting where its context ends, so leave it out"),
    Foreign(VLLM, "revision", note="give model as the path of the files that are meant"),
    Foreign(VLLM, "parallel_drafting", note=_HEADS, neutral=(False,)),
    Foreign(VLLM, "speculative_token_tree", note="give drafter model:PATH,tree=3x2x1"),
    Foreign(VLLM, "rejection_sample_method", note=_CHECKED),
    Foreign(VLLM, "draft_sample_method", note=_CHECKED),
    Foreign(VLLM, "typical_acceptance_sampler", note=_LOSSY),
    Foreign(VLLM, "fly_window_size", note=_LOSSY),
    Foreign(VLLM, "fly_entropy_threshold", note=_LOSSY),
    Foreign(VLLM, "fly_entropy_top_k", note=_LOSSY),
    Foreign(VLLM, "synthetic_acceptance_rates", note=_LOSSY),
    Foreign(VLLM, "synthetic_acceptance_length", note=_LOSSY),
    Foreign(HF, "assistant_model", MODEL, str),
    Foreign(HF, "num_assistant_tokens", LENGTH),
    Foreign(
        HF,
        "num_assistant_tokens_schedule",
        SCHEDULE,
        str,
        "constant; heuristic and heuristic_transient begin anew with every request",
    ),
    Foreign(HF, "assistant_confidence_threshold", "model:threshold", float),
    Foreign(HF, "prompt_lookup_num_tokens", f"lookup:{LENGTH}"),
    Foreign(HF, "max_matching_ngram_size", "lookup:n"),
    Foreign(HF, "tokenizer", note="it comes with the model, so leave it out"),
    Foreign(HF, "assistant_tokenizer", note="it comes with the model, so leave it out"),
    Foreign(HF, "assistant_lookbehind", note="texts are aligned without it, so leave it out"),
    Foreign(HF, "target_lookbehind", note="texts are aligned without it, so leave it out"),
    Foreign(HF, "assistant_early_exit", note="choose a drafter of those that `foredraft drafters` lists"),
    Foreign(HF, "use_mtp", note=_HEADS, neutral=(False,)),
    Foreign(HF, "speculation_type", note=_HEADS),
    Foreign(HF, "assistant_ensemble_weight", note=_LOSSY),
    Foreign(LLAMA, "spec_type", METHOD, str, "several, joined by commas, fill one tree"),
    Foreign(LLAMA, "spec_draft_model", MODEL, str),
    Foreign(LLAMA, "model_draft", MODEL, str),
    Foreign(LLAMA, "md", MODEL, str),
    Foreign(LLAMA, "hf_repo_draft", MODEL, str),
    Foreign(LLAMA, "hfd", MODEL, str),
    Foreign(LLAMA, "spec_draft_n_max", LENGTH),
    Foreign(LLAMA, "draft", LENGTH),
    Foreign(LLAMA, "draft_n", LENGTH),
    Foreign(LLAMA, "draft_max", LENGTH),
    Foreign(LLAMA, "spec_draft_n_min", note=_PARTS, neutral=(0,)),
    Foreign(LLAMA, "draft_min", note=_PARTS, neutral=(0,)),
    Foreign(LLAMA, "spec_draft_p_min", "model:threshold", float),
    Foreign(LLAMA, "draft_p_min", "model:threshold", float),
    Foreign(LLAMA, "spec_draft_p_split", note="give drafter model:PATH,tree=3x2x1"),
    Foreign(LLAMA, "draft_p_split", note="give drafter model:PATH,tree=3x2x1"),
    Foreign(LLAMA, "spec_draft_conf_min", note=_HEADS),
    Foreign(LLAMA, "spec_default", note="give spec_type"),
    *(
        Foreign(LLAMA, f"spec_ngram_{kind}_{name}", ours, note=note, neutral=neutral)
        for kind in ("simple", "map_k", "map_k4v")
        for name, ours, note, neutral in (
            ("size_n", "lookup:n", "", ()),
            ("size_m", f"lookup:{LENGTH}", "", ()),
            ("min_hits", "", "one place is enough, so leave it out", (1,)),
        )
    ),
    Foreign(LLAMA, "spec_ngram_mod_n_max", f"suffix:{LENGTH}"),
    Foreign(LLAMA, "spec_ngram_mod_n_match", note="give suffix:min_prob to draft less, or leave it out"),
    Foreign(LLAMA, "spec_ngram_mod_n_min", note=_PARTS, neutral=(0,)),
    Foreign(LLAMA, "gpu_layers_draft", note=_WHERE),
    Foreign(LLAMA, "ngld", note=_WHERE),
    Foreign(LLAMA, "device_draft", note=_WHERE),
    Foreign(LLAMA, "devd", note=_WHERE),
    Foreign(LLAMA, "threads_draft", note=_WHERE),
    Foreign(LLAMA, "td", note=_WHERE),
    Foreign(LLAMA, "ctx_size_draft", note=_WHERE),
    Foreign(LLAMA, "cache_type_k_draft", note=_WHERE),
    Foreign(LLAMA, "cache_type_v_draft", note=_WHERE),
    Foreign(LLAMA, "spec_synth_rates", note=_LOSSY),
    Foreign(LLAMA, "spec_synth_len", note=_LOSSY),
    Foreign(MLX, "draft_model", MODEL, str),
    Foreign(MLX, "num_draft_tokens", LENGTH),
)

BY_NAME: dict[str, Foreign] = {one.name: one for one in TABLE}
