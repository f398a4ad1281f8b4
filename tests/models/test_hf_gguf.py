"""GGUF files for the hf backend: our reader gives the model that was written, and what transformers' reader gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import gguf  # noqa: E402
from gguf.quants import dequantize, quantize  # noqa: E402

from foredraft.core.errors import WeightsError  # noqa: E402
from foredraft.core.protocols import Query  # noqa: E402
from foredraft.models import hf_gguf  # noqa: E402
from foredraft.models.hf import HFModel  # noqa: E402

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
PARTS = {parameter: tensor for tensor, parameter in (hf_gguf.INNER | hf_gguf.OUTER).items()}
GEMMA_PARTS = PARTS | {parameter: tensor for tensor, parameter in hf_gguf.GEMMA.items()}


def built(architecture: str) -> Any:
    torch.manual_seed(3)
    own: dict[str, Any] = {}
    if architecture == "gemma3":
        own = {"sliding_window": 4, "query_pre_attn_scalar": 16}
    if architecture == "llama":
        own = {"attention_bias": True, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}
    config = hf_gguf.CONFIGS[architecture](**SMALL, **own)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def stored(architecture: str, name: str, weights: np.ndarray, kv_heads: int) -> np.ndarray:
    """What llama.cpp's converter makes of a parameter."""
    if architecture == "gemma3" and name.endswith("norm.weight"):
        return weights + 1
    heads = 4 if ".q_proj." in name else kv_heads if ".k_proj." in name else 0
    if architecture == "llama" and heads:
        return weights.reshape(heads, 2, -1, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape).copy()
    return weights


def write(path: Path, model: Any, architecture: str, *, kind: Any = None, settings: Any = (), extra: Any = ()) -> None:
    """A GGUF file of the model; `kind` also rounds the model's own matrices to what the file can hold."""
    config, writer = model.config, gguf.GGUFWriter(path, architecture)
    for key, value in {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": config.head_dim,
        "vocab_size": config.vocab_size,
    }.items():
        writer.add_uint32(f"{architecture}.{key}", value)
    rope = config.rope_parameters.get("full_attention", config.rope_parameters)
    writer.add_float32(f"{architecture}.rope.freq_base", rope["rope_theta"])
    writer.add_float32(f"{architecture}.attention.layer_norm_rms_epsilon", config.rms_norm_eps)
    if architecture == "gemma3":
        writer.add_uint32("gemma3.attention.sliding_window", config.sliding_window)
    if architecture == "llama":
        writer.add_uint32("llama.rope.dimension_count", config.head_dim)
    writer.add_array("tokenizer.ggml.tokens", [f"t{index}" for index in range(config.vocab_size)])
    for key, value in settings:
        writer.add_key_value(key, value, gguf.GGUFValueType.get_type(value))
    parts = GEMMA_PARTS if architecture == "gemma3" else PARTS
    for name, parameter in model.named_parameters():
        stem, _, what = name.rpartition(".")
        layer = stem.split(".")[2] if stem.startswith("model.layers.") else None
        inner = parts[stem.split(".", 3)[3]] if layer else parts[stem]
        weights = stored(architecture, name, parameter.detach().numpy(), config.num_key_value_heads)
        tensor = f"blk.{layer}.{inner}.{what}" if layer else f"{inner}.{what}"
        if kind is not None and weights.ndim == 2:
            packed = quantize(weights, kind)
            exact = stored(architecture, name, dequantize(quantize(parameter.detach().numpy(), kind), kind), 2)
            assert np.array_equal(dequantize(packed, kind), exact)
            parameter.data = torch.from_numpy(dequantize(quantize(parameter.detach().numpy(), kind), kind).copy())
            writer.add_tensor(tensor, packed, raw_dtype=kind)
        else:
            writer.add_tensor(tensor, weights)
    for name, weights in extra:
        writer.add_tensor(name, weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def logits(model: HFModel) -> Any:
    tokens = tuple(range(20))
    [scores] = model.score([Query(model.open(), tokens, tuple(range(-1, 19)), tokens)])
    return np.stack([scores.logits(row) for row in tokens])


@torch.inference_mode()
def told(stock: Any) -> Any:
    return stock(torch.arange(20)[None], use_cache=False).logits[0].numpy()


@pytest.mark.parametrize("architecture", hf_gguf.CONFIGS)
def test_the_model_read_is_the_model_written(
    architecture: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stock = built(architecture)
    write(tmp_path / "tiny.gguf", stock, architecture, kind=gguf.GGMLQuantizationType.Q8_0)
    assert hf_gguf.read(tmp_path / "tiny.gguf") is not None
    model = HFModel.load(tmp_path / "tiny.gguf", "gguf", device="cpu")
    assert capfd.readouterr() == ("", "")
    assert (model.about.name, model.about.vocab_size, model.about.context) == ("tiny", 64, 64)
    # Norms of Gemma are stored plus one, which costs their last bits.
    np.testing.assert_allclose(logits(model), told(stock), rtol=0, atol=1e-4)


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_an_unknown_setting_leaves_the_file_to_transformers(
    architecture: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stock = built(architecture)
    write(tmp_path / "odd.gguf", stock, architecture, settings=[(f"{architecture}.tensor_data_layout", "any")])
    assert hf_gguf.read(tmp_path / "odd.gguf") is None
    model = HFModel.load(tmp_path / "odd.gguf", "gguf", device="cpu")
    assert capfd.readouterr() == ("", "")
    if architecture == "qwen2":  # transformers loses the biases of a Llama, of which no released file has any
        np.testing.assert_allclose(logits(model), told(stock), rtol=0, atol=1e-4)


def test_rotation_factors_are_applied(tmp_path: Path) -> None:
    stock = built("llama")
    factors = np.linspace(1, 8, 8, dtype=np.float32)
    write(tmp_path / "long.gguf", stock, "llama", extra=[("rope_freqs.weight", factors)])
    model = HFModel.load(tmp_path / "long.gguf", "gguf", device="cpu")
    plain = told(stock)
    stock.model.rotary_emb.inv_freq.div_(torch.from_numpy(factors))
    expected = told(stock)
    assert np.abs(plain - expected).max() > 1e-2
    np.testing.assert_allclose(logits(model), expected, rtol=0, atol=1e-4)


def test_stretched_positions_are_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "far.gguf"
    write(
        path,
        built("gemma3"),
        "gemma3",
        settings=[("gemma3.rope.scaling.type", "linear"), ("gemma3.rope.scaling.factor", 8.0)],
    )
    read = hf_gguf.read(path)
    assert read is not None
    assert read.config.rope_parameters["full_attention"]["factor"] == 8.0
    assert read.config.rope_parameters["sliding_attention"]["rope_type"] == "default"
    write(path, built("qwen2"), "qwen2", settings=[("qwen2.rope.scaling.type", "yarn")])
    with pytest.raises(WeightsError, match="safetensors"):
        HFModel.load(path, "gguf")
    write(path, built("qwen2"), "qwen2", extra=[("rope_freqs.weight", np.ones(8, dtype=np.float32))])
    with pytest.raises(WeightsError, match="safetensors"):
        HFModel.load(path, "gguf")


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write(path, built("qwen3"), "qwen3")
    whole = path.read_bytes()
    for broken in (b"", b"GGUF", whole[:200], whole[:-2000], b"JUNK" + whole[4:]):
        path.write_bytes(broken)
        with pytest.raises(WeightsError):
            HFModel.load(path, "gguf")
    with pytest.raises(WeightsError):
        HFModel.load(tmp_path / "none.gguf", "gguf")
    write(path, built("qwen3"), "qwen3", settings=[("split.count", 3)])
    with pytest.raises(WeightsError, match="llama-gguf-split"):
        HFModel.load(path, "gguf")


def test_a_file_without_a_tensor_or_a_setting_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    stock = built("qwen3")
    del stock.model.layers[1].mlp.up_proj
    write(path, stock, "qwen3")
    with pytest.raises(WeightsError, match=r"lacks 1 tensors, such as model.layers.1.mlp.up_proj.weight"):
        HFModel.load(path, "gguf")
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("token_embd.weight", np.zeros((4, 4), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(WeightsError, match="settings"):
        HFModel.load(path, "gguf")


@pytest.mark.slow
@pytest.mark.model
def test_the_default_model_is_read_as_transformers_reads_it() -> None:
    path = Path.home() / ".cache/foredraft/models/SmolLM2-135M-Instruct.Q4_1.gguf"
    if not path.is_file():
        pytest.skip("the default model is not here")
    from foredraft.models.hf_load import quiet

    read = hf_gguf.read(path)
    assert read is not None
    with quiet():
        theirs = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name)
    ours = read.tensors(torch.float32)
    expected = dict(theirs.named_parameters())
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[name], expected[name].data) for name in ours)
    same = ("rope_parameters", "rms_norm_eps", "head_dim", "max_position_embeddings", "tie_word_embeddings")
    for key in same:
        assert getattr(read.config, key) == getattr(theirs.config, key), key
