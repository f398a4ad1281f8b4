"""Settings of GGUF files on the hf backend: each is honoured, or refused by name. None is dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from foredraft.core.errors import WeightsError  # noqa: E402
from foredraft.models.hf import HFModel  # noqa: E402
from foredraft.models.native import NativeModel, Unsupported  # noqa: E402
from hf_gguf_files import built, logits, told, write  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")

SLIDING, FULL = "sliding_attention", "full_attention"
WINDOW = {"attention.sliding_window": 5}
LINEAR = {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}
BASES = {FULL: {"rope_type": "default", "rope_theta": 1e6}, SLIDING: {"rope_type": "default", "rope_theta": 300.0}}
WIDE = {"head_dim": 32}  # with the width, each would give another scale of scores

# Name -> architecture, the model's type, its configuration, what the file says of that.
HONOURED: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "llama-window": ("llama", "mistral", {"sliding_window": 5}, WINDOW),
    "qwen3-biases": ("qwen3", "qwen3", {"attention_bias": True}, {}),
    "qwen2-factor-alone": ("qwen2", "qwen2", {"rope_parameters": LINEAR}, {"rope.scaling.factor": 4.0}),
    "gemma3-base-of-windows": ("gemma3", "gemma3", {"rope_parameters": BASES}, {"rope.freq_base_swa": 300.0}),
    "gemma3-biases": ("gemma3", "gemma3", {"attention_bias": True}, {}),
    "gemma3-cap": ("gemma3", "gemma3", {"final_logit_softcapping": 2.0}, {"final_logit_softcapping": 2.0}),
    "gemma3-pattern": ("gemma3", "gemma3", {"layer_types": [FULL] * 2}, {"attention.sliding_window_pattern": 1}),
    "gemma3-scale": ("gemma3", "gemma3", WIDE | {"query_pre_attn_scalar": 32}, {}),
    "gemma3-scale-largest": ("gemma3", "gemma3", WIDE | {"num_hidden_layers": 62}, {}),
    "gemma2-caps": (
        "gemma2",
        "gemma2",
        {"attn_logit_softcapping": 1.0, "final_logit_softcapping": 2.0},
        {"attn_logit_softcapping": 1.0, "final_logit_softcapping": 2.0},
    ),
    "gemma2-scale-largest": ("gemma2", "gemma2", WIDE | {"num_hidden_layers": 46}, {}),
}


def loaded(path: Path) -> HFModel:
    return HFModel.load(path, "gguf", device="cpu")


@pytest.mark.parametrize("name", HONOURED)
def test_a_setting_is_honoured(tmp_path: Path, name: str) -> None:
    architecture, kind, own, settings = HONOURED[name]
    stock, path = built(kind, **own), tmp_path / "tiny.gguf"
    write(path, stock, architecture, settings=settings)
    np.testing.assert_allclose(logits(loaded(path)), told(stock), rtol=0, atol=1e-4)
    if settings:
        write(path, stock, architecture)
        assert np.abs(logits(loaded(path)) - told(stock)).max() > 1e-2, "the setting makes no difference"


def test_a_window_as_long_as_the_context_is_none(tmp_path: Path) -> None:
    stock = built("llama")
    write(tmp_path / "wide.gguf", stock, "llama", settings={"attention.sliding_window": 64})
    np.testing.assert_allclose(logits(loaded(tmp_path / "wide.gguf")), told(stock), rtol=0, atol=1e-4)


def test_a_factor_of_no_stretch_is_ignored(tmp_path: Path) -> None:
    stock = built("qwen2")
    write(tmp_path / "near.gguf", stock, "qwen2", settings={"rope.scaling.type": "none", "rope.scaling.factor": 4.0})
    np.testing.assert_allclose(logits(loaded(tmp_path / "near.gguf")), told(stock), rtol=0, atol=1e-4)


@pytest.mark.parametrize("part", ["o_proj.bias", "v_proj.bias"])
def test_a_bias_that_is_not_there_is_zero(tmp_path: Path, part: str) -> None:
    stock = built("llama", mlp_bias=True)
    write(tmp_path / "some.gguf", stock, "llama", without=part)
    with torch.no_grad():
        for name, parameter in stock.named_parameters():
            if part in name:
                parameter.zero_()
    np.testing.assert_allclose(logits(loaded(tmp_path / "some.gguf")), told(stock), rtol=0, atol=1e-4)


def floats(size: int) -> np.ndarray:
    return np.ones(size, dtype=np.float32)


# What the sentence names -> architecture, settings, further tensors.
REFUSED: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "llama.tensor_data_layout": ("llama", {"tensor_data_layout": "any"}, {}),
    "llama.attention.scale": ("llama", {"attention.scale": 0.5}, {}),
    "llama.logit_scale": ("llama", {"logit_scale": 0.5}, {}),
    "llama.expert_count": ("llama", {"expert_count": 8}, {}),
    "llama.rope.scale_linear": ("llama", {"rope.scale_linear": 4.0}, {}),
    "llama.rope.freq_base_swa": ("llama", {"rope.freq_base_swa": 300.0}, {}),
    "qwen2.rope.scaling.attn_factor": ("qwen2", {"rope.scaling.attn_factor": 2.0}, {}),
    "qwen2.attention.causal": ("qwen2", {"attention.causal": False}, {}),
    "qwen3.final_logit_softcapping": ("qwen3", {"final_logit_softcapping": 2.0}, {}),
    "gemma3.attn_logit_softcapping": ("gemma3", {"attn_logit_softcapping": 2.0}, {}),
    "gemma2.rope.freq_base_swa": ("gemma2", {"rope.freq_base_swa": 300.0}, {}),
    "turns 8 of 16": ("llama", {"rope.dimension_count": 8}, {}),
    "turns 4 of 16": ("qwen3", {"rope.dimension_count": 4}, {}),
    "values of another size": ("qwen2", {"attention.value_length": 8}, {}),
    "by 'longrope'": ("llama", {"rope.scaling.type": "longrope"}, {}),
    "attention.sliding_window beside": ("llama", WINDOW, {}),
    "qwen2.attention.sliding_window": ("qwen2", WINDOW, {}),
    "not of which layers": ("qwen3", WINDOW, {}),
    "qwen3.attention.head_count_kv": ("qwen3", {"attention.head_count_kv": [2, 1]}, {}),
    "qwen3.attention.sliding_window": ("qwen3", {"attention.sliding_window": [5, 0]}, {}),
    "qwen3.rope.freq_base": ("qwen3", {"rope.freq_base": 0.0}, {}),
    "'blk.0.attn_output.bias'": ("qwen2", {}, {"blk.0.attn_output.bias": floats(64)}),
    "'blk.1.attn_q.bias'": ("qwen3", {}, {"blk.1.attn_q.bias": floats(64)}),
    "'blk.0.ffn_up.bias'": ("gemma3", {}, {"blk.0.ffn_up.bias": floats(96)}),
    "'blk.0.attn_q_norm.weight'": ("gemma2", {}, {"blk.0.attn_q_norm.weight": floats(16)}),
    "'blk.0.attn_sinks.weight'": ("qwen3", {}, {"blk.0.attn_sinks.weight": floats(4)}),
    "'blk.2.attn_norm.weight'": ("qwen3", {}, {"blk.2.attn_norm.weight": floats(64)}),
    "'rope_factors_long.weight'": ("llama", {}, {"rope_factors_long.weight": floats(8)}),
}


@pytest.mark.parametrize("named", REFUSED)
def test_what_would_be_lost_is_refused_by_name(tmp_path: Path, named: str) -> None:
    architecture, settings, extra = REFUSED[named]
    write(tmp_path / "odd.gguf", built(architecture), architecture, settings=settings, extra=extra)
    with pytest.raises(WeightsError) as error:
        loaded(tmp_path / "odd.gguf")
    assert named in str(error.value)
    assert "\n" not in str(error.value)


def native_refusal(path: Path) -> str:
    """What the native engine says; nothing where it takes the file."""
    try:
        NativeModel.load(path)
    except WeightsError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("named", REFUSED)
def test_the_native_engine_sends_nobody_here_in_vain(tmp_path: Path, named: str) -> None:
    architecture, settings, extra = REFUSED[named]
    write(tmp_path / "odd.gguf", built(architecture), architecture, settings=settings, extra=extra)
    said = native_refusal(tmp_path / "odd.gguf")
    assert "--engine hf" not in said or architecture == "gemma2"  # which it does not know


@pytest.mark.parametrize("name", HONOURED)
def test_the_native_engine_sends_here_what_it_cannot(tmp_path: Path, name: str) -> None:
    architecture, kind, own, settings = HONOURED[name]
    write(tmp_path / "tiny.gguf", built(kind, **own), architecture, settings=settings)
    said = native_refusal(tmp_path / "tiny.gguf")
    assert not said or said.endswith("choose --engine hf")


def test_the_native_engine_sends_biases_of_hidden_layers_here(tmp_path: Path) -> None:
    stock = built("llama", mlp_bias=True)
    write(tmp_path / "biased.gguf", stock, "llama")
    np.testing.assert_allclose(logits(loaded(tmp_path / "biased.gguf")), told(stock), rtol=0, atol=1e-4)
    with pytest.raises(Unsupported, match="--engine hf$"):
        NativeModel.load(tmp_path / "biased.gguf")


# --- architectures that transformers reads ----------------------------------------------------------------------------

# What the sentence names -> architecture, settings, further tensors; None: nothing is lost.
THEIRS: dict[str | None, tuple[str, dict[str, Any], dict[str, Any]]] = {
    None: ("phi3", {"attention.sliding_window": 0, "rope.dimension_count": 16, "rope.scaling.type": "none"}, {}),
    "phi3.attention.sliding_window": ("phi3", WINDOW, {}),
    "phi3.rope.dimension_count": ("phi3", {"rope.dimension_count": 8}, {}),
    "phi3.attention.scale": ("phi3", {"attention.scale": 0.5}, {}),
    "'linear'": ("phi3", {"rope.scaling.type": "linear", "rope.scaling.factor": 2.0}, {}),
    "phi3.rope.scaling.factor": ("phi3", {"rope.scaling.factor": 2.0}, {}),
    "128 numbers": ("phi3", {}, {"blk.0.attn_qkv.bias": floats(128)}),
    "starcoder2.rope.freq_base": ("starcoder2", {"rope.freq_base": 500.0}, {}),
}


@pytest.mark.parametrize("named", THEIRS)
def test_what_transformers_reader_drops_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], named: str | None
) -> None:
    architecture, settings, extra = THEIRS[named]
    stock = built(architecture)
    write(tmp_path / "other.gguf", stock, architecture, settings=settings, extra=extra)
    if named is None:
        np.testing.assert_allclose(logits(loaded(tmp_path / "other.gguf")), told(stock), rtol=0, atol=1e-4)
        assert capfd.readouterr() == ("", "")
        return
    with pytest.raises(WeightsError) as error:
        loaded(tmp_path / "other.gguf")
    assert named in str(error.value)
