"""Directories of safetensors on the native engine: every architecture against torch, and quantising."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from gguf.constants import GGMLQuantizationType  # noqa: E402
from gguf.quants import dequantize  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from foredraft.core.protocols import Model, Query  # noqa: E402
from foredraft.models.quantise import quantise  # noqa: E402
from foredraft.testing.models import ModelChecks  # noqa: E402
from foredraft.testing.recompute import branch, line  # noqa: E402
from hf_directories import CASES, CONTEXT, LLAMA3_NEW, VOCAB, edit, stock_model, write_directory  # noqa: E402
from native_loaders import load_native, load_reference  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")

TOLERANCE = 1e-4  # of the largest logit, as in test_architectures.py
LENGTH = 150
Array = NDArray[Any]
Directories = Callable[..., Path]


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> Directories:
    """directories(name, dtype): the case, written once; not to be changed."""
    folder, known = tmp_path_factory.mktemp("directories"), dict[str, Path]()

    def directory(name: str, dtype: str = "float32") -> Path:
        key = f"{name}-{dtype}"
        if key not in known:
            known[key] = write_directory(folder / key, name, dtype=dtype)
        return known[key]

    return directory


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A llama that a test may spoil."""
    return write_directory(tmp_path / "own", "llama")


def text_of(seed: int, length: int) -> tuple[int, ...]:
    return tuple(np.random.default_rng(seed).integers(VOCAB, size=length).tolist())


@torch.inference_mode()
def recomputed(stock: Any, text: tuple[int, ...]) -> Array:
    logits: Array = stock(torch.tensor([text]), use_cache=False).logits[0].numpy()
    return logits


def scored(model: Model, text: tuple[int, ...], chunk: int = 64) -> Array:
    """[tokens, vocab]: logits of a text, fed in chunks."""
    cache, found = model.open(), []
    for start in range(0, len(text), chunk):
        tokens, parents = line(text[start : start + chunk])
        [scores] = model.score([Query(cache, tokens, parents, tuple(range(len(tokens))))])
        found += [scores.logits(row).copy() for row in range(len(tokens))]
        cache.keep(range(len(tokens)))
    cache.close()
    return np.stack(found)


def off(found: Array, wanted: Array) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


# --- as they are stored -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_a_directory_is_what_torch_says(directories: Directories, name: str) -> None:
    folder = directories(name)
    model, stock, text = load_reference(folder), stock_model(folder), text_of(1, LENGTH)
    assert off(scored(model, text), recomputed(stock, text)) <= TOLERANCE
    cache, stem = model.open(), text[:60]  # a tree behind more than two sliding windows
    model.score([Query(cache, *line(stem))])
    cache.keep(range(len(stem)))
    tokens, parents = branch((7, 8), (-1, 0, -1, 2), (3, 4, 5, 6))
    [scores] = model.score([Query(cache, tokens, parents, (3, 5))])
    for row, path in ((3, (7, 8, 3, 4)), (5, (7, 8, 5, 6))):
        assert off(scores.logits(row), recomputed(stock, stem + path)[-1]) <= TOLERANCE
    model.close()


@pytest.mark.parametrize("name", ["llama3", "llama-linear-old", "qwen2-window", "smollm3", "gemma3-ropes"])
def test_far_positions(directories: Directories, name: str) -> None:
    folder, text = directories(name), text_of(2, 1100)
    model = load_reference(folder)
    assert off(scored(model, text, 512), recomputed(stock_model(folder), text)) <= TOLERANCE
    model.close()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", ["llama-bias-tied", "qwen2", "gemma3"])
def test_floats_stay_as_they_are(directories: Directories, name: str, dtype: str) -> None:
    folder, text = directories(name, dtype), text_of(3, 60)
    model, weights = load_reference(folder), load_file(folder / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {getattr(torch, dtype)}
    table = weights["model.embed_tokens.weight"].float().numpy()
    scale = np.float32(8) if name == "gemma3" else np.float32(1)  # the root of 64
    assert np.array_equal(model.embed(range(VOCAB)), table * scale)
    matrices = [tensor for tensor in weights.values() if tensor.ndim == 2]
    assert model.nbytes == sum(tensor.nbytes for tensor in matrices)  # all sizes are multiples of a panel
    assert off(scored(model, text), recomputed(stock_model(folder), text)) <= TOLERANCE
    model.close()


MISTAKES: dict[str, tuple[str, dict[str, Any]]] = {
    "epsilon": ("llama-bias-tied", {"rms_norm_eps": 2e-4}),
    "base": ("mistral-window", {"rope_theta": 5.1e5}),
    "window": ("mistral-window", {"sliding_window": 25}),
    "first window": ("qwen2-window-old", {"max_window_layers": 1}),
    "layer types": ("qwen3-window-bias", {"layer_types": ["sliding_attention", "full_attention", "full_attention"]}),
    "positions of layers": ("smollm3-window", {"no_rope_layers": [1, 1, 0]}),
    "stretched": ("llama-linear-old", {"rope_scaling": {"type": "linear", "factor": 4.1}}),
    "long waves": ("llama3", {"rope_parameters": LLAMA3_NEW | {"factor": 7.0}}),
    "waves between": ("llama3", {"rope_parameters": LLAMA3_NEW | {"high_freq_factor": 3.0}}),
    "score": ("gemma3", {"query_pre_attn_scalar": 21}),
    "local base": ("gemma3-old", {"rope_local_base_freq": 5500.0}),
    "pattern": ("gemma3-old", {"sliding_window_pattern": 4}),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_small_mistakes_show(directories: Directories, tmp_path: Path, mistake: str) -> None:
    """One setting read wrong must be seen by the comparison, or it could not find such a bug."""
    name, changes = MISTAKES[mistake]
    wrong, text = write_directory(tmp_path / "wrong", name), text_of(1, LENGTH)
    edit(wrong, **changes)
    model = load_reference(wrong)
    assert off(scored(model, text), recomputed(stock_model(directories(name)), text)) > 10 * TOLERANCE
    model.close()


def test_shards_are_one_model(directories: Directories, tmp_path: Path) -> None:
    folder = write_directory(tmp_path / "parts", "qwen3", shards="40KB")
    assert len(list(folder.glob("*.safetensors"))) > 3
    text = text_of(4, 40)
    assert np.array_equal(scored(load_native(folder), text), scored(load_native(directories("qwen3")), text))


def test_a_tied_head_that_is_stored_too(tmp_path: Path) -> None:
    """The same as the embedding it is no second table; another one counts, which is how transformers sees it."""
    folder, text = write_directory(tmp_path / "tied", "llama-bias-tied"), text_of(5, 40)
    file = folder / "model.safetensors"
    weights, alone = load_file(file), load_reference(folder)
    save_file(weights | {"lm_head.weight": weights["model.embed_tokens.weight"].clone()}, file, {"format": "pt"})
    twice = load_reference(folder)
    assert twice.nbytes == alone.nbytes
    assert np.array_equal(scored(twice, text), scored(alone, text))
    save_file(weights | {"lm_head.weight": weights["model.embed_tokens.weight"].flip(0)}, file, {"format": "pt"})
    model = load_reference(folder)
    assert model.nbytes == alone.nbytes + VOCAB * 64 * 4
    assert off(scored(model, text), recomputed(stock_model(folder), text)) <= TOLERANCE


def test_tables_padded_beyond_the_tokenizer(directories: Directories) -> None:
    model = load_native(directories("llama"), vocab_size=90, context=40)
    assert (model.about.vocab_size, model.about.context, model.about.name) == (90, 40, "llama-float32")
    assert scored(model, (1, 2, 3)).shape == (3, 90)
    whole = load_native(directories("llama"))
    assert np.array_equal(scored(whole, (1, 2, 3))[:, :90], scored(model, (1, 2, 3)))
    assert whole.about.context == CONTEXT


# --- quantised --------------------------------------------------------------------------------------------------------

BYTES = {"Q8_0": 34, "Q4_1": 20}  # of 32 weights
KINDS = {"int8": ("Q8_0", "Q8_0"), "int4": ("Q4_1", "Q8_0")}  # of layers; of the embedding and the head


def rounded(folder: Path, quantize: str) -> tuple[dict[str, Any], int]:
    """A directory's weights as quantising leaves them, and the bytes of its matrices."""
    weights, size = load_file(folder / "model.safetensors"), 0
    for name, tensor in weights.items():
        if tensor.ndim == 2:
            kind = KINDS[quantize][name in ("model.embed_tokens.weight", "lm_head.weight")]
            blocks = quantise(kind, tensor.float().numpy())
            expanded = dequantize(blocks.reshape(len(tensor), -1), GGMLQuantizationType[kind])
            weights[name], size = torch.from_numpy(expanded), size + tensor.numel() // 32 * BYTES[kind]
    return weights, size


@pytest.mark.parametrize("quantize", KINDS)
@pytest.mark.parametrize("name", ["llama-bias-tied", "mistral", "qwen2", "qwen3", "smollm3", "gemma3"])
def test_quantised_weights_are_the_expanded_blocks(
    directories: Directories, tmp_path: Path, name: str, quantize: str
) -> None:
    """The same as torch on the weights that the blocks stand for: each tensor, in the right form, and no other."""
    folder, text = directories(name), text_of(6, LENGTH)
    weights, size = rounded(folder, quantize)
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    model = load_native(folder, quantize=quantize, activations="f32", kv="f32")
    table = weights["model.embed_tokens.weight"].numpy() * np.float32(8 if name == "gemma3" else 1)
    assert np.array_equal(model.embed(range(VOCAB)), table)
    assert model.nbytes == size
    assert off(scored(model, text), recomputed(stock_model(tmp_path), text)) <= TOLERANCE
    model.close()


def divergence(found: Array, wanted: Array) -> float:
    """Mean Kullback-Leibler divergence, in nats."""
    laws = torch.log_softmax(torch.from_numpy(np.stack([wanted, found]).astype(np.float64)), dim=-1)
    return float((laws[0].exp() * (laws[0] - laws[1])).sum(-1).mean())


def test_threads_do_not_change_a_bit(directories: Directories) -> None:
    folder, text = directories("qwen2", "float16"), text_of(8, 30)
    one, three = (scored(load_native(folder, quantize="int4", threads=count), text) for count in (1, 3))
    assert np.array_equal(one, three)


@pytest.fixture(scope="module", params=["gemma3", "qwen2"])
def tight(request: pytest.FixtureRequest, directories: Directories) -> Iterator[Model]:
    model = load_native(directories(request.param), quantize="int4", context=96, threads=2)
    yield model
    model.close()


class TestKit(ModelChecks):
    """The conformance kit, exact: rows are invariant here too."""

    @pytest.fixture
    def model(self, tight: Model) -> Model:
        return tight
