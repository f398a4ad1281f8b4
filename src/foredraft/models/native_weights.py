"""GGUF files as the native engine's weights: which architectures it computes, and what their settings mean.

Every tensor is packed as it is stored (`native/src/packed.hpp`). What a file holds beyond what is read here is refused
by name, so nothing that would change the result is dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foredraft import _native
from foredraft.core.errors import WeightsError
from foredraft.models.gguf_header import GGUFHeader, TensorInfo, read_header

# Tensors of a layer: their name in a file -> their name in the engine.
MATRICES = {
    "attn_q": "query",
    "attn_k": "key",
    "attn_v": "value",
    "attn_output": "out",
    "ffn_gate": "gate",
    "ffn_up": "up",
    "ffn_down": "down",
}
NORMS = {
    "attn_norm": "attention_norm",
    "ffn_norm": "hidden_norm",
    "attn_q_norm": "query_norm",
    "attn_k_norm": "key_norm",
}
GEMMA_NORMS = {"post_attention_norm": "after_attention_norm", "post_ffw_norm": "after_hidden_norm"}
BIASES = {"attn_q": "query_bias", "attn_k": "key_bias", "attn_v": "value_bias", "attn_output": "out_bias"}
FACTORS = "rope_freqs.weight"
# The settings of an architecture that are understood; a file with any other is refused.
SETTINGS = frozenset(
    {"context_length", "embedding_length", "block_count", "feed_forward_length", "vocab_size"}
    | {"rope.dimension_count", "rope.freq_base", "rope.freq_base_swa", "rope.scaling.type", "rope.scaling.factor"}
    | {"rope.scaling.original_context_length", "rope.scaling.finetuned"}
    | {"attention.layer_norm_rms_epsilon", "attention.sliding_window"}
    | {f"attention.{key}" for key in ("head_count", "head_count_kv", "key_length", "value_length")}
)
GEMMA_PATTERN = 6  # every sixth layer of Gemma 3 sees everything
GEMMA_LOCAL_BASE = 10000.0
SMOLLM3_PATTERN = 4  # every fourth layer of SmolLM3 has no positions


class Unsupported(WeightsError):
    """A sound file that the native engine does not compute; another engine may."""


@dataclass(frozen=True)
class Architecture:
    """halves: rotations pair component i with i + half, where the others pair neighbours."""

    halves: bool
    gemma: bool = False


ARCHITECTURES = {
    "llama": Architecture(halves=False),
    "smollm3": Architecture(halves=False),
    "qwen2": Architecture(halves=True),
    "qwen3": Architecture(halves=True),
    "gemma3": Architecture(halves=True, gemma=True),
}

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Shape:
    """The settings of a file. bases: the base of the rotations of each layer, None where positions play no part."""

    config: Any
    layers: int
    windows: tuple[int, ...]
    frequencies: tuple[tuple[float, ...], ...]


def read_weights(path: Path, pool: Any, vocab_size: int | None = None, context: int | None = None) -> tuple[Any, Shape]:
    """The packed weights of a GGUF file. vocab_size: the tokenizer's, where the tables are padded beyond it.

    Raises WeightsError for a damaged file and Unsupported for a sound one that the engine does not compute.
    """
    header = read_header(path)
    infos = {info.name: info for info in header.tensors}
    _check_known(header, infos)
    reader = _Reader(path, infos, pool)
    try:
        shape = _shape(header, infos, reader, vocab_size, context)
    except (KeyError, TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
        raise WeightsError(f"{path.name} lacks or garbles its settings ({error}): fetch it again") from error
    layers = [_layer(number, shape, reader) for number in range(shape.layers)]
    embedding = reader.matrix("token_embd")
    head = reader.matrix("output") if "output.weight" in infos else embedding
    try:
        return _native.Weights(shape.config, layers, reader.vector("output_norm.weight"), embedding, head), shape
    except ValueError as error:
        raise Unsupported(f"{path.name}: {error}; choose --engine hf") from error


def _check_known(header: GGUFHeader, infos: dict[str, TensorInfo]) -> None:
    """Raises Unsupported for an architecture, a setting or a tensor that is not read here."""
    name, architecture = header.path.name, header.architecture
    if architecture not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise Unsupported(f"{name} is of architecture {architecture!r}, and native are {known}: choose --engine hf")
    prefix = f"{architecture}."
    own = {key.removeprefix(prefix) for key in header.metadata if key.startswith(prefix)}
    scaling = header.setting("rope.scaling.type", "none")
    if unknown := sorted(own - SETTINGS):
        raise Unsupported(f"{name} has a setting {unknown[0]!r} unknown to the native engine: choose --engine hf")
    if scaling not in ("none", "linear"):
        raise Unsupported(f"{name} stretches its positions by {scaling!r}, unknown here: load it from safetensors")
    layer = {f"{leaf}.weight" for leaf in (*MATRICES, *NORMS)} | {f"{leaf}.bias" for leaf in BIASES}
    if ARCHITECTURES[architecture].gemma:
        layer |= {f"{leaf}.weight" for leaf in GEMMA_NORMS}
    outer = {"token_embd.weight", "output_norm.weight", "output.weight"} | (
        {FACTORS} if architecture == "llama" else set()
    )
    for tensor in infos:
        parts = tensor.split(".", 2)
        if tensor not in outer and not (parts[0] == "blk" and len(parts) == 3 and parts[2] in layer):
            raise Unsupported(f"{name} has a tensor {tensor!r} unknown to the native engine: choose --engine hf")


def _shape(
    header: GGUFHeader, infos: dict[str, TensorInfo], reader: _Reader, vocab_size: int | None, context: int | None
) -> Shape:
    own, kind = header.setting, ARCHITECTURES[header.architecture]
    config = _native.Config()
    config.width, layers, config.heads, config.hidden = (
        _count(own(key), key)
        for key in ("embedding_length", "block_count", "attention.head_count", "feed_forward_length")
    )
    config.kv_heads = _count(own("attention.head_count_kv", config.heads), "attention.head_count_kv")
    rotated = own("rope.dimension_count")
    config.head_size = _count(own("attention.key_length") or rotated or config.width // config.heads, "key_length")
    if own("attention.value_length", config.head_size) != config.head_size:
        raise Unsupported(f"{header.path.name} has values of another size than its keys: choose --engine hf")
    config.rotated = _count(rotated or config.head_size, "rope.dimension_count")
    config.context = _count(own("context_length"), "context_length")
    if context is not None:
        config.context = min(config.context, context)
    rows = infos["token_embd.weight"].shape[1]
    config.vocabulary = min(rows, vocab_size) if vocab_size else rows
    config.epsilon = float(own("attention.layer_norm_rms_epsilon", 1e-6))
    config.halves, config.gelu = kind.halves, kind.gemma
    size = config.width // config.heads if kind.gemma and layers == 62 else config.head_size
    config.score_scale = 1.0 / math.sqrt(size)  # the largest Gemma 3 alone scores by width per head
    if kind.gemma:
        config.embedding_scale = math.sqrt(config.width)
    return Shape(config, layers, _windows(header, layers), _frequencies(header, layers, config.rotated, reader))


def _windows(header: GGUFHeader, layers: int) -> tuple[int, ...]:
    """Positions that each layer sees, 0 for all. Llama files may state a window that no layer of theirs has."""
    if not ARCHITECTURES[header.architecture].gemma:
        window = int(header.setting("attention.sliding_window", 0))
        return (window,) * layers
    window = _count(header.setting("attention.sliding_window"), "attention.sliding_window")
    return tuple(0 if (layer + 1) % GEMMA_PATTERN == 0 else window for layer in range(layers))


def _frequencies(header: GGUFHeader, layers: int, rotated: int, reader: _Reader) -> tuple[tuple[float, ...], ...]:
    """Radians a position, for each pair of components of each layer (2104.09864, section 3.4.2; rounded to f32)."""
    base = float(header.setting("rope.freq_base", 10000.0))
    stretch = 1.0
    if header.setting("rope.scaling.type", "none") == "linear":
        stretch = float(header.setting("rope.scaling.factor", 1.0))
    factors = reader.vector(FACTORS) if FACTORS in reader.infos else [1.0] * (rotated // 2)
    if len(factors) != rotated // 2:
        raise ValueError(f"{len(factors)} factors for {rotated // 2} rotations")
    full = _rotations(base, rotated, [stretch * factor for factor in factors])
    if header.architecture == "smollm3":
        still = (0.0,) * (rotated // 2)
        return tuple(still if (layer + 1) % SMOLLM3_PATTERN == 0 else full for layer in range(layers))
    if not ARCHITECTURES[header.architecture].gemma:
        return (full,) * layers
    local_base = float(header.setting("rope.freq_base_swa", GEMMA_LOCAL_BASE))
    local = _rotations(local_base, rotated, [1.0] * (rotated // 2))
    return tuple(full if (layer + 1) % GEMMA_PATTERN == 0 else local for layer in range(layers))


def _rotations(base: float, rotated: int, factors: Sequence[float]) -> tuple[float, ...]:
    plain = (np.float32(1.0 / base ** (2 * pair / rotated)) for pair in range(rotated // 2))
    return tuple(float(np.float32(one) / np.float32(factor)) for one, factor in zip(plain, factors, strict=True))


def _layer(number: int, shape: Shape, reader: _Reader) -> Any:
    layer, prefix = _native.Layer(), f"blk.{number}."
    for stored, name in MATRICES.items():
        setattr(layer, name, reader.matrix(prefix + stored))
    for stored, name in (NORMS | GEMMA_NORMS).items():
        if f"{prefix}{stored}.weight" in reader.infos:
            setattr(layer, name, reader.vector(f"{prefix}{stored}.weight"))
    for stored, name in BIASES.items():
        if f"{prefix}{stored}.bias" in reader.infos:
            setattr(layer, name, reader.vector(f"{prefix}{stored}.bias"))
    layer.window, layer.frequencies = shape.windows[number], list(shape.frequencies[number])
    return layer


class _Reader:
    """Tensors of one mapped file, packed one after another."""

    def __init__(self, path: Path, infos: dict[str, TensorInfo], pool: Any) -> None:
        self.path, self.infos, self.pool = path, infos, pool
        self.data: NDArray[np.uint8] = np.memmap(path, dtype=np.uint8, mode="r")

    def matrix(self, name: str) -> Any:
        info = self._info(f"{name}.weight")
        if len(info.shape) != 2:
            raise WeightsError(f"{self.path.name}: {info.name} is no matrix: fetch the file again")
        return self._packed(info, info.shape[1], info.shape[0])

    def vector(self, name: str) -> list[float]:
        info = self._info(name)
        values: list[float] = self._packed(info, 1, math.prod(info.shape)).expand()[0].tolist()
        return values

    def _info(self, name: str) -> TensorInfo:
        if name not in self.infos:
            raise WeightsError(f"{self.path.name} lacks its tensor {name}: fetch it again, whole")
        return self.infos[name]

    def _packed(self, info: TensorInfo, outputs: int, inputs: int) -> Any:
        stored = self.data[info.offset : info.offset + info.nbytes]
        try:
            return _native.Packed.of(info.kind, outputs, inputs, stored, self.pool)
        except ArithmeticError as error:
            raise WeightsError(f"{self.path.name}: in {info.name} {error}: fetch it again") from error
        except ValueError as error:
            raise Unsupported(f"{self.path.name}: {info.name}: {error}; choose --engine hf") from error


def _count(value: Any, key: str) -> int:
    if not isinstance(value, int) or value < 1:
        raise KeyError(key)
    return value
