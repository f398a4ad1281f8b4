"""The torch twin of a tiny GGUF file: transformers' own modules in float64, with the file's weights put in by hand.

Shares nothing with the reader of the hf backend, so that one can be held against the other. What is compared are the
logits and the hidden states of every row; a row of a tree is the last of a plain forward over its whole path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from foredraft.testing.recompute import Rows
from gguf_cases import CONTEXT, Case, Shape, Written

Array = NDArray[np.float64]

LEAVES = {
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
# Gemma has norms before and after; what others call post_attention_layernorm stands before the feed-forward.
GEMMA = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}


@dataclass(frozen=True)
class Told:
    """logits: [rows, vocab]. states: [layers + 1, rows, width], after 0, 1, … layers and before the final norm."""

    logits: Array
    states: Array


class Twin:
    """A file's model. layers: those to take, all by default. coded: round what enters a matrix as int8 does."""

    def __init__(self, written: Written, layers: Sequence[int] | None = None, *, coded: bool = False) -> None:
        chosen = tuple(range(written.shape.layers) if layers is None else layers)
        config = configuration(written, chosen)
        with torch.device("cpu"):
            model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
        model = model.double().eval()
        # A tied head is the table of embeddings itself, and is not given apart.
        lost = model.load_state_dict(parameters(written, chosen), strict=False)
        assert not lost.unexpected_keys, lost
        assert set(lost.missing_keys) <= ({"lm_head.weight"} if written.case.tied else set()), lost
        self.model: Any = model
        self.states: list[torch.Tensor] = []
        for module in (*model.model.layers, model.model.norm):
            module.register_forward_pre_hook(self._enter, with_kwargs=True)
        if coded:
            for module in model.modules():
                if isinstance(module, torch.nn.Linear):
                    module.register_forward_pre_hook(lambda _module, args: (int8_groups(args[0]),))

    def _enter(self, _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.states.append((args[0] if args else kwargs["hidden_states"])[0])

    @torch.inference_mode()
    def run(self, tokens: Sequence[int]) -> Told:
        """A plain forward over a whole text."""
        self.states = []
        logits = self.model(input_ids=torch.tensor([list(tokens)]), use_cache=False).logits[0]
        return Told(logits.numpy(), torch.stack(self.states).numpy())

    def rows(self, text: Sequence[int], rows: Rows) -> Told:
        """The rows of a tree behind a text: one forward for each path from the root to a leaf."""
        tokens, parents = rows
        logits: list[Any] = [None] * len(tokens)
        states: list[Any] = [None] * len(tokens)
        for leaf in sorted(set(range(len(tokens))) - set(parents)):
            path = [leaf]
            while parents[path[0]] >= 0:
                path.insert(0, parents[path[0]])
            told = self.run([*text, *(tokens[row] for row in path)])
            for depth, row in enumerate(path):
                logits[row], states[row] = told.logits[len(text) + depth], told.states[:, len(text) + depth]
        return Told(np.stack(logits), np.stack(states, axis=1))

    @torch.inference_mode()
    def embed(self, tokens: Sequence[int]) -> Array:
        """[tokens, width]: what enters the first layer."""
        rows: Array = self.model.get_input_embeddings()(torch.tensor(list(tokens))).numpy()
        return rows

    @torch.inference_mode()
    def head(self, hidden: NDArray[Any]) -> Array:
        """[rows, width] -> [rows, vocab]: the final norm and the head."""
        normed = self.model.model.norm(torch.from_numpy(np.asarray(hidden, np.float64)))
        logits: Array = self.model.lm_head(normed).numpy()
        return logits


def configuration(written: Written, layers: Sequence[int]) -> Any:
    case, shape = written.case, written.shape
    told: dict[str, Any] = {
        "vocab_size": written.vocab_size,
        "hidden_size": shape.width,
        "intermediate_size": shape.ffn,
        "num_hidden_layers": len(layers),
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head,
        "rms_norm_eps": case.epsilon,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": case.tied,
        "rope_parameters": rope(case),
    } | dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"))
    kinds = ["full_attention" if case.global_layers[layer] else "sliding_attention" for layer in layers]
    own: dict[str, Any] = {"sliding_window": case.window, "layer_types": kinds}
    match case.architecture:
        case "llama" if case.window is not None:
            return transformers.MistralConfig(**told, sliding_window=case.window)
        case "llama":
            return transformers.LlamaConfig(**told)
        case "qwen2":
            return transformers.Qwen2Config(**told, **own, use_sliding_window=case.window is not None)
        case "qwen3":
            return transformers.Qwen3Config(**told, **own, use_sliding_window=case.window is not None)
    local = {"rope_type": "default", "rope_theta": case.keys.get("rope.freq_base_swa", 10000.0)}
    told["rope_parameters"] = {"full_attention": rope(case), "sliding_attention": local}
    return transformers.Gemma3TextConfig(**told, **own, query_pre_attn_scalar=shape.head)


def rope(case: Case) -> dict[str, Any]:
    """transformers' name for the case's positions."""
    found: dict[str, Any] = {"rope_type": "default", "rope_theta": case.theta}
    if case.llama3:
        factor, low, high, original = case.llama3
        found |= {"rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high}
        found["original_max_position_embeddings"] = original
    if kind := case.keys.get("rope.scaling.type", "linear" if "rope.scaling.factor" in case.keys else None):
        found |= {"rope_type": kind, "factor": case.keys["rope.scaling.factor"]}
    if original := case.keys.get("rope.scaling.original_context_length"):
        found["original_max_position_embeddings"] = original
    return found


def parameters(written: Written, layers: Sequence[int]) -> dict[str, torch.Tensor]:
    """Parameter -> weights as transformers wants them."""
    gemma = written.case.architecture == "gemma3"
    leaves = LEAVES | (GEMMA if gemma else {})
    outer = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
    found = {}
    for name, weights in written.tensors.items():
        parts = name.split(".")
        exact = weights.astype(np.float64)
        if gemma and name.endswith("norm.weight"):
            exact = exact - 1  # held as what is added to 1
        if written.case.architecture == "llama" and parts[-2] in ("attn_q", "attn_k"):
            exact = apart(exact, written.shape)
        if parts[0] in outer:
            found[f"{outer[parts[0]]}.{parts[-1]}"] = torch.from_numpy(exact)
        elif parts[0] == "blk" and int(parts[1]) in layers:
            place = layers.index(int(parts[1]))
            found[f"model.layers.{place}.{leaves[parts[2]]}.{parts[-1]}"] = torch.from_numpy(exact)
    return found


def apart(weights: Array, shape: Shape) -> Array:
    """Outputs of a llama's q or k: llama.cpp rotates neighbours, transformers the first half with the second."""
    within = np.r_[0 : shape.head : 2, 1 : shape.head : 2]
    heads = np.arange(len(weights) // shape.head) * shape.head
    return weights[(heads[:, None] + within).ravel()]


def int8_groups(x: torch.Tensor) -> torch.Tensor:
    """x in groups of 32, each rounded to 127 steps of its largest: the engine's int8 activations."""
    groups = torch.nn.functional.pad(x, (0, -x.shape[-1] % 32)).unflatten(-1, (-1, 32))
    scale = groups.abs().amax(-1, keepdim=True) / 127
    coded = torch.where(scale > 0, torch.round(groups / scale), 0) * scale
    return coded.flatten(-2)[..., : x.shape[-1]]
