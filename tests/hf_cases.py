"""Tiny random transformers models, and the recompute that judges the hf backend's rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers

from foredraft.core.protocols import Query
from foredraft.models.hf import HFModel

VOCAB, CONTEXT = 61, 96
SMALL = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.3,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
GROUPED = SMALL | {"num_key_value_heads": 2}
GEMMA = GROUPED | {"head_dim": 8, "query_pre_attn_scalar": 8}
MIXED = ["sliding_attention", "full_attention", "sliding_attention"]
CONFIGS: dict[str, Any] = {
    "llama": lambda: transformers.LlamaConfig(**GROUPED),
    "llama-bias": lambda: transformers.LlamaConfig(**GROUPED, attention_bias=True, tie_word_embeddings=True),
    "mistral": lambda: transformers.MistralConfig(**GROUPED, sliding_window=None),
    "mistral-window": lambda: transformers.MistralConfig(**GROUPED, sliding_window=5),
    "ministral": lambda: transformers.MinistralConfig(**GROUPED, head_dim=16, sliding_window=5, layer_types=MIXED),
    "qwen2": lambda: transformers.Qwen2Config(**GROUPED),
    "qwen2-window": lambda: transformers.Qwen2Config(
        **GROUPED, use_sliding_window=True, sliding_window=4, max_window_layers=1
    ),
    "qwen3": lambda: transformers.Qwen3Config(**GROUPED, head_dim=16),
    "gemma2": lambda: transformers.Gemma2Config(**GEMMA, sliding_window=5, layer_types=MIXED),
    "gemma3": lambda: transformers.Gemma3TextConfig(**GEMMA, sliding_window=4, layer_types=MIXED),
    "phi3": lambda: transformers.Phi3Config(**GROUPED, sliding_window=6),
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=VOCAB, n_embd=32, n_layer=3, n_head=4, n_positions=CONTEXT, initializer_range=0.3
    ),
    "gpt_neox": lambda: transformers.GPTNeoXConfig(**SMALL, rotary_pct=0.5),
    # Not among the proven architectures: these must agree with transformers before they are used.
    "olmo2": lambda: transformers.Olmo2Config(**GROUPED),
    "granite": lambda: transformers.GraniteConfig(**GROUPED, logits_scaling=2.0, embedding_multiplier=3.0),
}


def build(name: str, dtype: Any = torch.float64) -> Any:
    torch.manual_seed(7)
    # Only Gemma 2 needs eager attention, whose softmax is float32 in any model.
    attention = "eager" if name == "gemma2" else "sdpa"
    model = transformers.AutoModelForCausalLM.from_config(CONFIGS[name](), attn_implementation=attention).eval()
    # Biases and norms start at zero or one: the noise makes every term of the forward count.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.to(dtype)


@torch.inference_mode()
def recompute(stock: Any, path: Sequence[int]) -> Any:
    """The stock model's logits after the whole path, [vocab]."""
    return stock(torch.tensor([list(path)]), use_cache=False).logits[0, -1].numpy()


def tolerance(name: str) -> float:
    """Of float64 logits: a few hundred roundings; but transformers' eager softmax, for Gemma 2, is float32 always."""
    return 1e-5 if name == "gemma2" else 1e-10


def random_tree(rng: np.random.Generator, rows: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    tokens = tuple(rng.integers(0, VOCAB, rows).tolist())
    return tokens, tuple(int(rng.integers(-1, row)) if row else -1 for row in range(rows))


def path_to(row: int, tokens: Sequence[int], parents: Sequence[int]) -> list[int]:
    path: list[int] = []
    while row >= 0:
        path.append(row)
        row = parents[row]
    return path[::-1]


def chain(tokens: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(tokens), tuple(range(-1, len(tokens) - 1))


def tell(model: HFModel, cache: Any, tokens: Sequence[int]) -> None:
    """Feeds committed tokens."""
    model.score([Query(cache, *chain(tokens))])
    cache.keep(range(len(tokens)))


class Run:
    """A cache and the text it should hold, driven at random."""

    def __init__(self, stock: Any, model: HFModel, seed: int, tolerance: float) -> None:
        self.stock, self.model, self.tolerance = stock, model, tolerance
        self.rng = np.random.default_rng(seed)
        self.cache, self.text = model.open(), list[int]()

    def step(self) -> None:
        size = int(self.rng.integers(1, 20))
        tokens, parents = random_tree(self.rng, size)
        if self.rng.random() < 0.3:
            tokens, parents = chain(tokens)
        wanted = tuple(self.rng.permutation(size)[: int(self.rng.integers(1, size + 1))].tolist())
        [scores] = self.model.score([Query(self.cache, tokens, parents, wanted)])
        for row in wanted:
            path = [tokens[node] for node in path_to(row, tokens, parents)]
            expected = recompute(self.stock, self.text + path)
            np.testing.assert_allclose(scores.logits(row), expected, rtol=0, atol=self.tolerance)
        self.after(tokens, parents)

    def after(self, tokens: Sequence[int], parents: Sequence[int]) -> None:
        kept = path_to(int(self.rng.integers(-1, len(tokens))), tokens, parents)
        match self.rng.integers(0, 4):
            case 0:
                kept = []  # the next score forgets the rows
            case 1:
                self.cache.keep(kept)
                fork = self.cache.fork()
                self.cache.close()
                self.cache = fork
            case _:
                self.cache.keep(kept)
        self.text += [tokens[node] for node in kept]
        assert self.cache.length == len(self.text)
        if self.rng.random() < 0.3 or len(self.text) > 60:
            del self.text[int(self.rng.integers(0, len(self.text) + 1)) :]
            self.cache.trim(len(self.text))
