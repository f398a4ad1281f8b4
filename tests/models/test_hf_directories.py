"""Directories on the hf backend against transformers' own eager attention, in texts longer than any window.

What a configuration says is honoured, or refused by name. None is dropped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from foredraft.core.errors import WeightsError  # noqa: E402
from foredraft.core.protocols import Query  # noqa: E402
from foredraft.models.hf import HFModel  # noqa: E402
from foredraft.testing.recompute import branch, line  # noqa: E402
from hf_directories import CASES, CONTEXT, GLOBAL, LOCAL, MIXED, MORE, VOCAB, edit, stock_model, write_directory  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")

TOLERANCE = 1e-4  # of the largest logit: some hundred float32 roundings
LENGTH = 150  # six times the windows
UNTESTED = ("smollm3-window",)  # refused: windows of an architecture that test_hf.py does not cover
FULL, SLIDING = ["full_attention"] * 3, ["sliding_attention"] * 3


def loaded(folder: Path) -> HFModel:
    return HFModel.load(folder, "hf", device="cpu", threads=1)


def off(found: Any, wanted: Any) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


@torch.inference_mode()
def recomputed(stock: Any, text: tuple[int, ...]) -> Any:
    return stock(torch.tensor([text]), use_cache=False).logits[0].numpy()


def scored(model: HFModel, text: tuple[int, ...], chunk: int = 64) -> Any:
    """[tokens, vocab]: logits of a text, fed in chunks."""
    cache, found = model.open(), []
    for start in range(0, len(text), chunk):
        tokens, parents = line(text[start : start + chunk])
        [scores] = model.score([Query(cache, tokens, parents, tuple(range(len(tokens))))])
        found += [scores.logits(row).copy() for row in range(len(tokens))]
        cache.keep(range(len(tokens)))
    return np.stack(found)


@pytest.mark.parametrize("name", [name for name in CASES | MORE if name not in UNTESTED])
def test_a_directory_is_what_eager_attention_says(tmp_path: Path, name: str) -> None:
    folder = write_directory(tmp_path / name, name)
    stock, model = stock_model(folder, "eager"), loaded(folder)
    text = tuple(np.random.default_rng(1).integers(VOCAB, size=LENGTH).tolist())
    assert off(scored(model, text), recomputed(stock, text)) <= TOLERANCE
    cache, stem = model.open(), text[:60]  # a tree behind more than two windows
    model.score([Query(cache, *line(stem))])
    cache.keep(range(len(stem)))
    tokens, parents = branch((7, 8), (-1, 0, -1, 2), (3, 4, 5, 6))
    [scores] = model.score([Query(cache, tokens, parents, (3, 5))])
    for row, path in ((3, (7, 8, 3, 4)), (5, (7, 8, 5, 6))):
        assert off(scores.logits(row), recomputed(stock, stem + path)[-1]) <= TOLERANCE


MISTAKES: dict[str, tuple[str, dict[str, Any]]] = {
    "window": ("mistral-window", {"sliding_window": 25}),
    "no window": ("mistral-window", {"sliding_window": CONTEXT}),
    "window of some layers": ("gemma3", {"sliding_window": 23}),
    "layers of a mistral": ("mistral-layers", {"layer_types": SLIDING}),
    "layer types": ("gemma3", {"layer_types": ["sliding_attention"] * 7}),
    "local base": (
        "gemma3-ropes",
        {"rope_parameters": {"full_attention": GLOBAL, "sliding_attention": LOCAL | {"rope_theta": 1e4}}},
    ),
    "local base, as it was written": ("gemma3-old", {"rope_local_base_freq": 10000.0}),
    "scale": ("gemma3", {"query_pre_attn_scalar": 32}),
    "attention's cap": ("gemma2", {"attn_logit_softcapping": None}),
    "cap": ("gemma3-capped", {"final_logit_softcapping": None}),
    "part that turns": ("phi3-window", {"partial_rotary_factor": 0.25, "rope_parameters": None}),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_small_mistakes_show(tmp_path: Path, mistake: str) -> None:
    """The same weights read with one setting wrong: the comparison must fail, or it could not find such a bug."""
    name, changes = MISTAKES[mistake]
    folder = write_directory(tmp_path / name, name)
    stock = stock_model(folder, "eager")
    edit(folder, **changes)
    text = tuple(np.random.default_rng(1).integers(VOCAB, size=LENGTH).tolist())
    assert off(scored(loaded(folder), text), recomputed(stock, text)) > 10 * TOLERANCE


NESTED = {"full_attention": GLOBAL, "sliding_attention": LOCAL}
STRETCHED = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4, "partial_rotary_factor": 0.5}
# Name -> what the sentence names, the directory, what is changed in its configuration.
REFUSED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "window of a llama": ("sliding_window", "llama", {"sliding_window": 24}),
    "layers of a phi3": ("layer_types", "phi3-window", {"layer_types": FULL}),
    "attention's cap": ("attn_logit_softcapping", "gemma3", {"attn_logit_softcapping": 50.0}),
    "cap": ("final_logit_softcapping", "qwen3", {"final_logit_softcapping": 30.0}),
    "scale": ("query_pre_attn_scalar", "llama", {"query_pre_attn_scalar": 256}),
    "part that turns": ("partial_rotary_factor", "llama", {"partial_rotary_factor": 0.5}),
    "part that turns, stretched": ("partial_rotary_factor", "qwen3", {"rope_parameters": STRETCHED}),
    "layers that do not turn": ("no_rope_layers", "llama", {"no_rope_layers": [1, 0, 1]}),
    "multiplier": ("residual_multiplier", "llama", {"residual_multiplier": 0.2}),
    "chunks": ("dual_chunk_attention_config", "qwen2", {"dual_chunk_attention_config": {"chunk_size": 64}}),
    "positions of kinds of layers": ("rope_parameters", "llama", {"rope_parameters": NESTED}),
    "positions of no kind of layer": ("rope_parameters", "gemma3", {"rope_parameters": GLOBAL}),
    "later tokens": ("bidirectional", "gemma3", {"use_bidirectional_attention": True}),
    "later tokens of a gemma2": ("bidirectional", "gemma2", {"use_bidirectional_attention": True}),
    "later tokens of a llama": ("bidirectional", "llama", {"is_causal": False}),
    "windows that are untested": ("sliding windows", "smollm3-window", {}),
    "layers of windows that are untested": ("sliding windows", "seed_oss", {"layer_types": MIXED}),
    "biases": ("self_attn.k_proj.bias", "llama-bias-tied", {"attention_bias": False}),
    "biases of a qwen3": ("self_attn.k_proj.bias", "qwen3-window-bias", {"attention_bias": False}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_would_be_dropped_is_refused_by_name(tmp_path: Path, what: str) -> None:
    named, name, changes = REFUSED[what]
    folder = write_directory(tmp_path / "odd", name)
    edit(folder, **changes)
    with pytest.raises(WeightsError) as error:
        loaded(folder)
    assert named in str(error.value)
    assert "\n" not in str(error.value)


HARMLESS: dict[str, tuple[str, dict[str, Any]]] = {
    "a window beyond the context": ("llama", {"sliding_window": CONTEXT}),
    "layers as they are": ("llama", {"layer_types": FULL}),
    "layers of the one window": ("mistral-window", {"layer_types": SLIDING}),
    "all components turn": ("llama", {"partial_rotary_factor": 1.0, "logits_scaling": 1.0, "use_qk_norm": False}),
    "the part that turns as positions read it": (
        "llama",
        {"rope_parameters": {"rope_type": "proportional", "rope_theta": 1e4, "partial_rotary_factor": 0.5}},
    ),
}


@pytest.mark.parametrize("what", HARMLESS)
def test_a_setting_that_changes_nothing_is_no_obstacle(tmp_path: Path, what: str) -> None:
    name, changes = HARMLESS[what]
    folder = write_directory(tmp_path / "plain", name)
    edit(folder, **changes)
    text = tuple(range(40))
    assert off(scored(loaded(folder), text), recomputed(stock_model(folder, "eager"), text)) <= TOLERANCE


def test_biases_of_a_decoder_saved_alone_are_seen(tmp_path: Path) -> None:
    folder = write_directory(tmp_path / "whole", "llama-bias-tied")
    decoder = transformers.AutoModel.from_pretrained(folder, local_files_only=True)
    decoder.save_pretrained(tmp_path / "alone")
    loaded(tmp_path / "alone")
    edit(tmp_path / "alone", attention_bias=False)
    with pytest.raises(WeightsError, match=r"layers.0.self_attn.k_proj.bias"):
        loaded(tmp_path / "alone")


def test_a_whole_part_that_the_model_lacks_is_no_obstacle(tmp_path: Path) -> None:
    """Heads for other tasks, layers that predict further tokens, frequencies that older files hold."""
    from safetensors.torch import load_file, save_file

    folder = write_directory(tmp_path / "more", "llama")
    weights = load_file(folder / "model.safetensors")
    more = {"score.weight": torch.ones(2, 64), "model.layers.3.enorm.weight": torch.ones(64)}
    more["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    save_file(weights | more, folder / "model.safetensors", metadata={"format": "pt"})
    loaded(folder)
