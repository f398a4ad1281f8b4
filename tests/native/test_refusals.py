"""Sound headers around a model that cannot be: refused in one sentence, before it costs memory, and nothing is kept."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from safetensors.numpy import save_file

import vocabularies
from damage import MEGABYTE, memory_for
from foredraft import _native
from foredraft.core.errors import UsageError, WeightsError
from foredraft.core.protocols import Query
from foredraft.models.gguf_header import read_header
from foredraft.models.native import NativeModel
from foredraft.models.native_weights import EMBEDDING
from native_loaders import load_native


@pytest.fixture(scope="module")
def pool() -> Any:
    return _native.Pool(1)


def matrix(outputs: int, inputs: int, pool: Any) -> Any:
    return _native.Packed.of("F32", outputs, inputs, np.zeros(4 * outputs * inputs, np.uint8), pool)


def test_what_is_refused_is_let_go_of(pool: Any) -> None:
    """A model is hundreds of megabytes: a program that tries one file after another must not keep each."""
    table, config = matrix(32, 64, pool), _native.Config()
    before = sys.getrefcount(table)
    for _ in range(3):
        with pytest.raises(ValueError, match="a size of the model is impossible"):
            _native.Weights(config, [], [], table, table, pool)
    assert sys.getrefcount(table) == before


def tiny(pool: Any, **changes: Any) -> tuple[Any, ...]:
    """What the weights of a model of one layer and one head of 512 are made of; changes: settings."""
    config = _native.Config()
    sizes = {"width": 64, "heads": 1, "kv_heads": 1, "head_size": 512, "hidden": 64, "vocabulary": 16, "context": 8}
    for name, value in (sizes | changes).items():
        setattr(config, name, value)
    layer = _native.Layer()
    for part, outputs, inputs in (
        *((part, 512, 64) for part in ("query", "key", "value")),
        *((part, 64, 64) for part in ("gate", "up", "down")),
        ("out", 64, 512),
    ):
        setattr(layer, part, matrix(outputs, inputs, pool))
    layer.attention_norm = layer.hidden_norm = [1.0] * 64
    table = matrix(16, 64, pool)
    return config, [layer], [1.0] * 64, table, table, pool


def test_what_fits_is_taken(pool: Any) -> None:
    _native.Weights(*tiny(pool))


@pytest.mark.parametrize("changes", [{"heads": 2**23 + 1}, {"heads": 2**23 + 1, "kv_heads": 2**23 + 1}], ids=str)
def test_sizes_whose_product_is_small_again_are_refused(pool: Any, changes: dict[str, Any]) -> None:
    """(2^23 + 1) * 512 is 512 in 32 bits: such a model fits its matrices, and a row of it takes gigabytes."""
    with pytest.raises(ValueError, match="impossible"):
        _native.Weights(*tiny(pool, **changes))


@pytest.mark.parametrize("name", ["epsilon", "embedding_scale", "score_scale"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 0.0])
def test_settings_that_are_no_positive_numbers_are_refused(pool: Any, name: str, value: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        _native.Weights(*tiny(pool, **{name: value}))


@pytest.mark.parametrize("says", [[2, 1], [1, 1], [-1, 3], [3, 16], list(range(17))], ids=str)
def test_a_head_whose_tokens_do_not_ascend_is_refused(pool: Any, says: list[int]) -> None:
    with pytest.raises(ValueError, match="do not ascend|does not fit"):
        _native.Weights(*tiny(pool), says)


def test_more_threads_than_there_can_be_are_wrong_use(files: Any) -> None:
    with pytest.raises(UsageError, match="5000 threads are too many: ask for at most 1024"):
        NativeModel.load(files("llama").path, threads=5000)


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1, 2**40, 2**80])
def test_numbers_beyond_32_bits_are_as_wrong_as_others(files: Any, number: int) -> None:
    model = NativeModel.load(files("llama").path)
    cache = model.open()
    for query in (Query(cache, (number,), (-1,)), Query(cache, (1,), (number,)), Query(cache, (1,), (-1,), (number,))):
        with pytest.raises(ValueError, match="32 bits"):
            model.score([query])
    model.score([Query(cache, (1, 2), (-1, 0))])
    with pytest.raises(ValueError, match="no such row"):
        cache.keep((0, number))
    cache.keep((0, 1))
    with pytest.raises(ValueError, match="trimmed"):
        cache.trim(number)
    with pytest.raises(ValueError, match="vocabulary"):
        model.embed((1, number))
    assert cache.length == 2


# --- GGUF files whose parts do not fit together ---------------------------------------------------------------------


def rewritten(path: Path, source: Path, drop: str = "", extra: str = "", weights: Any = None, **settings: Any) -> Path:
    """A copy of a GGUF file without the tensor `drop`, with one more that is called `extra`, and other settings.

    weights: of that one; by default those of the first there is.
    """
    header, tensors = read_header(source), list(gguf.GGUFReader(source).tensors)
    prefix = f"{header.architecture}."
    own = {key: value for key, value in header.metadata.items() if key.startswith(prefix)}
    writer = gguf.GGUFWriter(path, header.architecture)
    for key, value in (own | {prefix + key: value for key, value in settings.items()}).items():
        whole = gguf.GGUFValueType.INT64 if type(value) is int else gguf.GGUFValueType.get_type(value)
        writer.add_key_value(key, value, whole)
    stored: dict[str, Any] = {one.name: (one.data, one.tensor_type) for one in tensors if one.name != drop}
    if extra:
        stored[extra] = (tensors[0].data, tensors[0].tensor_type) if weights is None else (weights, None)
    for name, (data, kind) in stored.items():
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "gemma3"])
def test_a_file_that_is_only_copied_is_taken(files: Any, tmp_path: Path, name: str) -> None:
    NativeModel.load(rewritten(tmp_path / "m.gguf", files(name).path)).close()


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("llama", "blk.1.attn_q.weight"),
        ("llama", "blk.1.ffn_norm.weight"),
        ("qwen2", "blk.0.attn_q.bias"),
        ("qwen2", "blk.1.attn_v.bias"),
        ("qwen3", "blk.1.attn_k_norm.weight"),
        ("gemma3", "blk.3.attn_q_norm.weight"),
        ("gemma3", "blk.6.post_ffw_norm.weight"),
    ],
)
def test_a_layer_that_lacks_a_part_is_refused(files: Any, tmp_path: Path, name: str, tensor: str) -> None:
    """Also one that other architectures do without: what is missing would be left out of every sum."""
    with pytest.raises(WeightsError, match=f"lacks its tensor {tensor}"):
        NativeModel.load(rewritten(tmp_path / "m.gguf", files(name).path, drop=tensor))


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_layers_beyond_those_that_are_counted_are_refused(files: Any, tmp_path: Path, name: str) -> None:
    """The others would make a model that says something else."""
    with pytest.raises(WeightsError, match=r"has a tensor 'blk\.1\..*' and 1 layers"):
        NativeModel.load(rewritten(tmp_path / "fewer.gguf", files(name).path, block_count=1))
    with pytest.raises(WeightsError, match=r"has a tensor 'blk\.9\.attn_q\.weight' and"):
        NativeModel.load(rewritten(tmp_path / "more.gguf", files(name).path, extra="blk.9.attn_q.weight"))


GARBLED: dict[str, list[Any]] = {
    "context_length": [2**31, True, 0],
    "attention.head_count": [2**40, True, -1],
    "attention.sliding_window": [-1, 0.5, True],
    "attention.layer_norm_rms_epsilon": [math.nan, math.inf, -1e-5, 0.0, "1e-5"],
    "rope.freq_base": [math.nan, math.inf, -5.0, 0.0],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in GARBLED.items() for value in values])
def test_settings_that_cannot_be_are_named(files: Any, tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(WeightsError) as caught:
        NativeModel.load(rewritten(tmp_path / "m.gguf", files("llama").path, **{key: value}))
    assert str(caught.value) == f"m.gguf lacks or garbles its settings ('{key}'): fetch it again"


@pytest.mark.parametrize("shape", [(3 * 96,), (1, 3, 96)], ids=str)
def test_a_table_that_is_no_matrix_is_refused(files: Any, tmp_path: Path, shape: tuple[int, ...]) -> None:
    table = np.zeros(shape, np.float32)
    path = rewritten(tmp_path / "m.gguf", files("llama").path, drop=EMBEDDING, extra=EMBEDDING, weights=table)
    with pytest.raises(WeightsError, match=f"{EMBEDDING} is no matrix"):
        NativeModel.load(path)


@pytest.mark.parametrize(("name", "shape"), [("output_norm.weight", (1 << 22,)), ("output.weight", (1, 1 << 22))])
def test_a_few_rows_without_end_take_no_memory(files: Any, tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    """Packed as sixteen they would take sixteen times what the file does."""
    path = rewritten(
        tmp_path / "m.gguf", files("llama").path, drop=name, extra=name, weights=np.zeros(shape, np.float32)
    )
    with memory_for(128 * MEGABYTE), pytest.raises(WeightsError, match=f"{name}: rows of 4194304 numbers"):
        NativeModel.load(path)


def test_names_cannot_act_on_the_terminal_or_fill_it(files: Any, tmp_path: Path) -> None:
    name = "\x1b[2J\r\n" + "x" * 10_000
    for number, changes in enumerate(
        ({"extra": f"blk.0.{name}"}, {"extra": f"blk.{name}.attn_q.weight"}, {name: 1}, {"rope.scaling.type": name})
    ):
        source = rewritten(tmp_path / f"{number}.gguf", files("llama").path, **changes)
        with pytest.raises(WeightsError) as caught:
            NativeModel.load(source)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 250


# --- directories ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "smollm3", "gemma3_text"])
@pytest.mark.parametrize("layers", [10**9, 10**12])
def test_layers_that_are_only_claimed_take_no_memory(tmp_path: Path, kind: str, layers: int) -> None:
    told = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 4, "max_position_embeddings": 64}
    told |= {"vocab_size": 4, "num_hidden_layers": layers}
    (tmp_path / "config.json").write_text(json.dumps(told | {"model_type": kind}))
    save_file({"model.norm.weight": np.zeros(64, np.float32)}, tmp_path / "model.safetensors")
    with memory_for(64 * MEGABYTE), pytest.raises(WeightsError, match=f"lacks tensors of its {layers} layers"):
        NativeModel.load(tmp_path)


def test_another_architecture_names_the_backend_that_may_read_it(tmp_path: Path) -> None:
    path = vocabularies.write_metadata(tmp_path / "other.gguf", {"phi3.block_count": 1}, "phi3")
    with pytest.raises(WeightsError, match="phi3.*hf"):
        load_native(path)
