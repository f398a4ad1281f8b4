"""GGUF files as the native engine's weights: which architectures it computes, and what their settings mean.

Every tensor is packed as it is stored (`native/src/packed.hpp`). What a file holds beyond what is read here is refused
by name, so nothing that would change the result is dropped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foredraft import _native
from foredraft.core.errors import WeightsError
from foredraft.models.gguf_header import GGUFHeader, TensorInfo, read_header, shown
from foredraft.models.native_parts import (
    LARGEST_HEAD,
    Names,
    Shape,
    Unsupported,
    assemble,
    count,
    number,
    pack,
    rotations,
    sentences,
)
from foredraft.models.quantise import FORMS, Quantize, Reduced, quantise, quantised_size

# Tensors of a layer: the engine's part -> its name in a file.
MATRICES = {
    "query": "attn_q.weight",
    "key": "attn_k.weight",
    "value": "attn_v.weight",
    "out": "attn_output.weight",
    "gate": "ffn_gate.weight",
    "up": "ffn_up.weight",
    "down": "ffn_down.weight",
}
VECTORS = {
    "attention_norm": "attn_norm.weight",
    "hidden_norm": "ffn_norm.weight",
    "query_norm": "attn_q_norm.weight",
    "key_norm": "attn_k_norm.weight",
    "query_bias": "attn_q.bias",
    "key_bias": "attn_k.bias",
    "value_bias": "attn_v.bias",
    "out_bias": "attn_output.bias",
}
GEMMA_NORMS = {"after_attention_norm": "post_attention_norm.weight", "after_hidden_norm": "post_ffw_norm.weight"}
HEAD_NORMS = ("attn_q_norm.weight", "attn_k_norm.weight")
BIASES = ("attn_q.bias", "attn_k.bias", "attn_v.bias")
WINDOW = "attention.sliding_window"
EMBEDDING, NORM, HEAD = "token_embd.weight", "output_norm.weight", "output.weight"
FACTORS = "rope_freqs.weight"
# The settings of an architecture that are understood; a file with any other is refused.
SETTINGS = frozenset(
    {"context_length", "embedding_length", "block_count", "feed_forward_length", "vocab_size"}
    | {"rope.dimension_count", "rope.freq_base", "rope.scaling.type", "rope.scaling.factor"}
    | {"rope.scaling.original_context_length", "rope.scaling.finetuned"}
    | {"attention.layer_norm_rms_epsilon", WINDOW}
    | {f"attention.{key}" for key in ("head_count", "head_count_kv", "key_length", "value_length")}
)
GEMMA_SETTINGS = frozenset({"rope.freq_base_swa"})
# What the hf backend reads beside that: settings of Gemmas, and biases of the hidden layers of Llamas.
HF_SETTINGS = frozenset({"final_logit_softcapping", "attention.sliding_window_pattern"})
HF_TENSORS = frozenset(f"ffn_{part}.bias" for part in ("gate", "up", "down"))
GEMMA_PATTERN = 6  # every sixth layer of Gemma 3 sees everything
GEMMA_LOCAL_BASE = 10000.0
SMOLLM3_PATTERN = 4  # every fourth layer of SmolLM3 has no positions


@dataclass(frozen=True)
class Architecture:
    """halves: rotations pair component i with i + half, where the others pair neighbours.

    vectors: tensors of every layer beside its matrices and the two norms that all have.
    """

    halves: bool
    vectors: tuple[str, ...] = ()
    gemma: bool = False


ARCHITECTURES = {
    "llama": Architecture(halves=False),
    "smollm3": Architecture(halves=False),
    "qwen2": Architecture(halves=True, vectors=BIASES),
    "qwen3": Architecture(halves=True, vectors=HEAD_NORMS),
    "gemma3": Architecture(halves=True, vectors=(*HEAD_NORMS, *GEMMA_NORMS.values()), gemma=True),
}


def read_weights(
    path: Path,
    pool: Any,
    vocab_size: int | None = None,
    context: int | None = None,
    reduced: Reduced | None = None,
) -> tuple[Any, Shape]:
    """The packed weights of a GGUF file. vocab_size: the tokenizer's, where the tables are padded beyond it.

    reduced: made cheaper for drafting; by default everything stays as it is stored. Raises WeightsError for a damaged
    file and Unsupported for a sound one that the engine does not compute.
    """
    header = read_header(path)
    infos = {info.name: info for info in header.tensors}
    _check_known(header, infos)
    reader = _Reader(path, infos, pool, reduced.quantize if reduced is not None else None)
    try:
        shape = _shape(header, infos, reader, vocab_size, context)
    except (KeyError, TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
        raise WeightsError(f"{path.name} lacks or garbles its settings ({error}): fetch it again") from error
    _check_layers(header, infos, shape.layers)
    parts = VECTORS | (GEMMA_NORMS if ARCHITECTURES[header.architecture].gemma else {})
    matrices, vectors = ({part: f"blk.{{}}.{name}" for part, name in own.items()} for own in (MATRICES, parts))
    return assemble(shape, reader, Names(matrices, vectors, EMBEDDING, NORM, HEAD), reduced), shape


def _check_known(header: GGUFHeader, infos: dict[str, TensorInfo]) -> None:
    """Raises Unsupported for an architecture, a setting or a tensor that is not read here."""
    name, architecture = header.path.name, header.architecture
    kind = ARCHITECTURES.get(architecture)
    if kind is None:
        known, other = ", ".join(sorted(ARCHITECTURES)), shown(architecture)
        raise Unsupported(f"{name} is of architecture {other}, and native are {known}: choose --engine hf")
    prefix = f"{architecture}."
    own = {key.removeprefix(prefix) for key in header.metadata if key.startswith(prefix)}
    scaling = str(header.setting("rope.scaling.type", "none"))
    if unknown := sorted(own - SETTINGS - (GEMMA_SETTINGS if kind.gemma else set())):
        remedy = _remedy(kind.gemma and HF_SETTINGS.issuperset(unknown))
        raise Unsupported(f"{name} has a setting {shown(unknown[0])} unknown to the native engine: {remedy}")
    if scaling not in ("none", "linear"):
        raise Unsupported(f"{name} stretches its positions by {shown(scaling)}, unknown here: load it from safetensors")
    layer = {*MATRICES.values(), *VECTORS.values()}
    if kind.gemma:
        layer |= {*GEMMA_NORMS.values()}
    outer = {EMBEDDING, NORM, HEAD} | ({FACTORS} if architecture == "llama" else set())
    for tensor in infos:
        parts = tensor.split(".", 2)
        if tensor not in outer and not (parts[0] == "blk" and len(parts) == 3 and parts[2] in layer):
            remedy = _remedy(architecture == "llama" and parts[-1] in HF_TENSORS)
            raise Unsupported(f"{name} has a tensor {shown(tensor)} unknown to the native engine: {remedy}")


def _remedy(hf_reads: bool) -> str:
    return "choose --engine hf" if hf_reads else "load it from safetensors"


def _check_layers(header: GGUFHeader, infos: dict[str, TensorInfo], layers: int) -> None:
    """Raises WeightsError unless there are as many layers as the settings say, all with the same parts.

    A layer that is left out, and a bias or norm that one layer lacks, change every result and fail nothing.
    """
    numbers, found = {str(number) for number in range(layers)}, dict[str, set[str]]()
    for part in ARCHITECTURES[header.architecture].vectors:
        found[part] = set()
    for tensor in infos:
        if tensor.startswith("blk."):
            _, number, part = tensor.split(".", 2)
            found.setdefault(part, set()).add(number)
    for part, those in found.items():
        if other := sorted(those - numbers):
            extra = shown(f"blk.{other[0]}.{part}")
            raise WeightsError(f"{header.path.name} has a tensor {extra} and {layers} layers: fetch it again, whole")
        if missing := sorted(numbers - those):
            raise WeightsError(f"{header.path.name} lacks its tensor blk.{missing[0]}.{part}: fetch it again, whole")


def _shape(
    header: GGUFHeader, infos: dict[str, TensorInfo], reader: _Reader, vocab_size: int | None, context: int | None
) -> Shape:
    own, kind = header.setting, ARCHITECTURES[header.architecture]
    config = _native.Config()
    config.width, layers, config.heads, config.hidden = (
        count(own(key), key)
        for key in ("embedding_length", "block_count", "attention.head_count", "feed_forward_length")
    )
    if layers > len(infos):  # before anything is made for each of them
        raise WeightsError(f"{header.path.name} lacks tensors of its {layers} layers: fetch it again, whole")
    config.kv_heads = count(own("attention.head_count_kv", config.heads), "attention.head_count_kv")
    rotated = own("rope.dimension_count")
    config.head_size = count(own("attention.key_length") or rotated or config.width // config.heads, "key_length")
    if own("attention.value_length", config.head_size) != config.head_size:
        raise Unsupported(f"{header.path.name} has values of another size than its keys: {_remedy(False)}")
    config.rotated = count(rotated or config.head_size, "rope.dimension_count")
    config.context = count(own("context_length"), "context_length")
    if context is not None:
        config.context = min(config.context, context)
    if max(config.head_size, config.rotated) > LARGEST_HEAD:
        raise Unsupported(f"{header.path.name} has heads of more than {LARGEST_HEAD}: choose --engine hf")
    rows = infos[EMBEDDING].shape[-1]  # what is no matrix is refused when it is packed
    config.vocabulary = count(min(rows, vocab_size) if vocab_size else rows, EMBEDDING)
    config.epsilon = number(own("attention.layer_norm_rms_epsilon", 1e-6), "attention.layer_norm_rms_epsilon")
    config.halves, config.gelu = kind.halves, kind.gemma
    size = config.width // config.heads if kind.gemma and layers == 62 else config.head_size
    config.score_scale = 1.0 / math.sqrt(size)  # the largest Gemma 3 alone scores by width per head
    if kind.gemma:
        config.embedding_scale = math.sqrt(config.width)
    return Shape(config, layers, _windows(header, layers), _frequencies(header, layers, config.rotated, reader))


def _windows(header: GGUFHeader, layers: int) -> tuple[int, ...]:
    """Positions that each layer sees, 0 for all. A Mistral, which is a llama in files, has one window everywhere.

    Of the others some layers have one, or none has; no file says which, and llama.cpp reads no window of theirs.
    """
    if not ARCHITECTURES[header.architecture].gemma:
        window = count(header.setting(WINDOW, 0), WINDOW, least=0, most=math.inf)
        if header.architecture != "llama" and 0 < window < count(header.setting("context_length"), "context_length"):
            raise Unsupported(f"{header.path.name} has a window but not of which layers: {_remedy(False)}")
        return (window,) * layers
    window = count(header.setting(WINDOW), WINDOW, most=math.inf)
    return tuple(0 if (layer + 1) % GEMMA_PATTERN == 0 else window for layer in range(layers))


def _frequencies(header: GGUFHeader, layers: int, rotated: int, reader: _Reader) -> tuple[tuple[float, ...], ...]:
    """Radians a position, for each pair of components of each layer (2104.09864, section 3.4.2; rounded to f32)."""
    base = number(header.setting("rope.freq_base", 10000.0), "rope.freq_base")
    stretch = 1.0
    linear = header.setting("rope.scaling.type", "linear") == "linear"  # as a factor alone is
    if linear and header.setting("rope.scaling.factor", 0) not in (0, 1):
        stretch = number(header.setting("rope.scaling.factor"), "rope.scaling.factor")
    factors = reader.vector(FACTORS) if FACTORS in reader.infos else [1.0] * (rotated // 2)
    full = rotations(base, rotated, [stretch * factor for factor in factors])
    if header.architecture == "smollm3":
        still = (0.0,) * (rotated // 2)
        return tuple(still if (layer + 1) % SMOLLM3_PATTERN == 0 else full for layer in range(layers))
    if not ARCHITECTURES[header.architecture].gemma:
        return (full,) * layers
    local_base = number(header.setting("rope.freq_base_swa", GEMMA_LOCAL_BASE), "rope.freq_base_swa")
    local = rotations(local_base, rotated, [1.0] * (rotated // 2))
    return tuple(full if (layer + 1) % GEMMA_PATTERN == 0 else local for layer in range(layers))


class _Reader:
    """Tensors of one mapped file, packed one after another. quantize: what matrices become, where that is smaller."""

    def __init__(self, path: Path, infos: dict[str, TensorInfo], pool: Any, quantize: Quantize | None) -> None:
        self.name, self.infos, self.pool, self.quantize = path.name, infos, pool, quantize
        self.data: NDArray[np.uint8] = np.memmap(path, dtype=np.uint8, mode="r")

    def __contains__(self, name: str) -> bool:
        return name in self.infos

    def matrix(self, name: str, *, rows: Sequence[int] | None = None) -> Any:
        info = self._matrix(name)
        inputs, outputs = info.shape
        packed = self._packed(info, outputs, inputs, rows)
        kind = FORMS.get(self.quantize)
        if kind is None or quantised_size(kind, info.count) >= info.nbytes:
            return packed
        with sentences(f"{self.name}: {name}"):
            weights = packed.expand()
            return _native.Packed.of(kind, *weights.shape, quantise(kind, weights, self.pool.threads), self.pool)

    def table(self, name: str) -> Any:
        info = self._matrix(name)
        return self._packed(info, info.shape[1], info.shape[0])

    def vector(self, name: str) -> list[float]:
        info = self._info(name)
        values: list[float] = self._packed(info, 1, math.prod(info.shape)).expand()[0].tolist()
        return values

    def _matrix(self, name: str) -> TensorInfo:
        info = self._info(name)
        if len(info.shape) != 2:
            raise WeightsError(f"{self.name}: {info.name} is no matrix: fetch the file again")
        return info

    def _info(self, name: str) -> TensorInfo:
        if name not in self.infos:
            raise WeightsError(f"{self.name} lacks its tensor {name}: fetch it again, whole")
        return self.infos[name]

    def _packed(self, info: TensorInfo, outputs: int, inputs: int, rows: Sequence[int] | None = None) -> Any:
        with sentences(f"{self.name}: {info.name}"):
            stored = self.data[info.offset : info.offset + info.nbytes]
            if rows is None:
                return pack(info.kind, outputs, inputs, stored, self.pool)
            kept = stored.reshape(outputs, -1)[list(rows)].reshape(-1)
            return pack(info.kind, len(rows), inputs, kept, self.pool)
