"""Loading for the hf backend: what is read, and what is refused because it could not be scored exactly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from foredraft.core.errors import UnknownName, UsageError, WeightsError  # noqa: E402
from foredraft.core.protocols import Query  # noqa: E402
from foredraft.models.hf import HFModel  # noqa: E402
from foredraft.models.hf_cache import Part  # noqa: E402
from hf_cases import GROUPED, MIXED, VOCAB, Run, build, recompute  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Any, Path]:
    stock = build("llama", torch.float32)
    stock.save_pretrained(tmp_path / "tiny", max_shard_size="20KB")
    return stock, tmp_path / "tiny"


def test_a_directory_loads_quietly(saved: tuple[Any, Path], capfd: pytest.CaptureFixture[str]) -> None:
    stock, path = saved
    model = HFModel.load(path, "hf", device="cpu", threads=1)
    assert capfd.readouterr() == ("", "")
    assert model.about.name == "tiny"
    assert torch.get_num_threads() == 1
    run = Run(stock, model, seed=8, tolerance=1e-4)
    for _ in range(3):
        run.step()
    half = HFModel.load(path, "hf", device="cpu", dtype="bfloat16")
    [scores] = half.score([Query(half.open(), (1, 2, 3), (-1, 0, 1), (2,), 1, (3,))])
    assert scores.logits(2).dtype == scores.taps(3).dtype == np.float32
    np.testing.assert_allclose(scores.logits(2), recompute(stock, (1, 2, 3)), rtol=0, atol=1.0)


def test_a_missing_shard_is_refused(saved: tuple[Any, Path]) -> None:
    _, path = saved
    sorted(path.glob("*.safetensors"))[1].unlink()
    with pytest.raises(WeightsError, match="tiny"):
        HFModel.load(path, "hf")


def test_a_missing_tensor_is_refused(saved: tuple[Any, Path]) -> None:
    stock, path = saved
    weights = {name: tensor for name, tensor in stock.state_dict().items() if "layers.1.mlp.up" not in name}
    for file in path.glob("*.safetensors*"):
        file.unlink()
    from safetensors.torch import save_file

    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"lacks 1 tensors, such as model.layers.1.mlp.up_proj.weight"):
        HFModel.load(path, "hf")


def test_corrupt_and_pickled_weights_are_refused(saved: tuple[Any, Path]) -> None:
    stock, path = saved
    for file in path.glob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(WeightsError, match="fetch it again"):
        HFModel.load(path, "hf")
    for file in path.glob("*.safetensors*"):
        file.unlink()
    torch.save(stock.state_dict(), path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="pickled"):
        HFModel.load(path, "hf")
    with pytest.raises(WeightsError, match="config.json"):
        HFModel.load(path / "nowhere", "hf")


def test_code_from_a_directory_is_never_run(saved: tuple[Any, Path], tmp_path: Path) -> None:
    _, path = saved
    config = json.loads((path / "config.json").read_text())
    config |= {"model_type": "homemade"}
    (path / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    for extra in ({}, {"auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}}):
        (path / "config.json").write_text(json.dumps(config | extra))
        with pytest.raises(WeightsError, match="tiny"):
            HFModel.load(path, "hf")
    assert not (tmp_path / "ran").exists()


def test_wrong_use_names_what_would_do(saved: tuple[Any, Path]) -> None:
    _, path = saved
    with pytest.raises(UnknownName, match="bfloat16, float16, float32, float64"):
        HFModel.load(path, "hf", dtype="int4")
    with pytest.raises(UsageError, match="at least 1"):
        HFModel.load(path, "hf", threads=0)
    with pytest.raises(UsageError, match="choose cpu"):
        HFModel.load(path, "hf", device="cuda:99")


REFUSED: dict[str, Any] = {
    "linear_attention layers": lambda: transformers.MambaConfig(vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2),
    "conv layers": lambda: transformers.Lfm2Config(**GROUPED, layer_types=["conv", "full_attention", "conv"]),
    "fixed context": lambda: transformers.BloomConfig(vocab_size=VOCAB, hidden_size=32, n_layer=2, n_head=2),
    "attention of its own": lambda: transformers.GPTNeoConfig(
        vocab_size=VOCAB, hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]]
    ),
    "setting layer_types": lambda: transformers.MistralConfig(**GROUPED, sliding_window=5, layer_types=MIXED),
    "sliding windows": lambda: transformers.Starcoder2Config(**GROUPED, sliding_window=4),
    "length of the text": lambda: transformers.LlamaConfig(
        **GROUPED, rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    ),
    "does not run": lambda: transformers.GptOssConfig(
        **GROUPED, head_dim=8, num_local_experts=2, num_experts_per_tok=1, layer_types=["full_attention"] * 3,
        sliding_window=None, rope_parameters={"rope_type": "default", "rope_theta": 1e4},
    ),
}  # fmt: skip


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_exact_is_refused(reason: str) -> None:
    model = transformers.AutoModelForCausalLM.from_config(REFUSED[reason]()).eval()
    with pytest.raises(WeightsError, match=reason):
        HFModel(model, name="odd")


def test_an_untested_architecture_must_agree_with_transformers_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_before(part: Part, window: Any, groups: int, like: Any) -> Any:
        rows, kept = len(part.parents), part.cache.length
        return torch.full((rows, kept + rows), -torch.inf, dtype=like.dtype).triu(kept + 1).repeat(groups, 1)

    HFModel(build("olmo2"), name="good")
    monkeypatch.setattr(Part, "_mask", all_before)
    with pytest.raises(WeightsError, match="scores draft trees wrongly"):
        HFModel(build("olmo2"), name="odd")


def test_a_missing_extra_names_the_install() -> None:
    code = "import sys; sys.modules['torch'] = None\nimport foredraft.models.hf"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'foredraft[torch]'" in ran.stderr
