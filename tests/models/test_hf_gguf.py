"""GGUF files for the hf backend: our reader gives the model that was written, and what transformers' reader gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import gguf  # noqa: E402

from foredraft.core.errors import WeightsError  # noqa: E402
from foredraft.models import hf_gguf  # noqa: E402
from foredraft.models.hf import HFModel  # noqa: E402
from hf_gguf_files import built, logits, told, write  # noqa: E402


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


def test_rotation_factors_are_applied(tmp_path: Path) -> None:
    stock = built("llama")
    factors = np.linspace(1, 8, 8, dtype=np.float32)
    write(tmp_path / "long.gguf", stock, "llama", extra={"rope_freqs.weight": factors})
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
        settings={"rope.scaling.type": "linear", "rope.scaling.factor": 8.0},
    )
    read = hf_gguf.read(path)
    assert read is not None
    assert read.config.rope_parameters["full_attention"]["factor"] == 8.0
    assert read.config.rope_parameters["sliding_attention"]["rope_type"] == "default"
    write(path, built("qwen2"), "qwen2", settings={"rope.scaling.type": "yarn"})
    with pytest.raises(WeightsError, match="safetensors"):
        HFModel.load(path, "gguf")
    write(path, built("qwen2"), "qwen2", extra={"rope_freqs.weight": np.ones(8, dtype=np.float32)})
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
    write(path, built("qwen3"), "qwen3", general={"split.count": 3})
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
    ours = read.tensors(theirs, torch.float32)
    expected = dict(theirs.named_parameters())
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[name], expected[name].data) for name in ours)
    same = ("rope_parameters", "rms_norm_eps", "head_dim", "max_position_embeddings", "tie_word_embeddings")
    for key in same:
        assert getattr(read.config, key) == getattr(theirs.config, key), key
