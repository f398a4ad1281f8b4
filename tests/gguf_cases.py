"""Tiny random GGUF files of every architecture, rope variant and storage type that the native engine reads.

    written = write_gguf(tmp_path / "tiny.gguf", "qwen2", "Q4_K_M")
    written.path                            # llama.cpp's tensor names and keys, a tokenizer, a chat template
    written.tensors["blk.0.attn_q.weight"]  # [rows, columns] float32: what gguf.quants makes of the stored bytes
    written.kinds["blk.0.attn_q.weight"]    # "Q4_K"

    told = Twin(written).run(tokens)        # native_twin.py, needs torch: reference logits and hidden states

CASES names what there is: smollm (tied), llama, llama3, llama-linear, llama-factor, llama-local-base, llama-yarn,
mistral, mistral-window, qwen2, qwen2-tied, qwen2-window, qwen3, qwen3-window, gemma3, gemma3-linear, gemma3-bases. The
second argument is one of KINDS, for every matrix, or of MIXES. Rows are short (96 or 64 numbers) unless the type needs
blocks of 256; with `size="uneven"` rows have 288 and 512 numbers, so that a K type falls back in one matrix and not in
the next, as in the files of Gemma 3 270M. The same arguments always give the same file. Needs neither torch nor the
engine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import gguf
import numpy as np
from gguf.constants import GGMLQuantizationType

import vocabularies
from foredraft.models.gguf_header import read_header
from native_blocks import KINDS, Floats, expanded, fitting, random_tensor
from tiny import TEMPLATE

Size = Literal["narrow", "wide", "uneven"]
CONTEXT = 2048
# Standard deviation of a matrix's product with a vector of ones: scores of attention spread, but do not saturate.
GAIN = 1.3

# Mix -> leaf -> type; "" stands for every other leaf. As llama.cpp's recipes of that name, in short.
MIXES: dict[str, dict[str, str]] = {
    "Q4_K_M": {"": "Q4_K", "attn_v": "Q6_K", "ffn_down": "Q6_K", "output": "Q6_K"},
    "Q5_K_M": {"": "Q5_K", "attn_v": "Q6_K", "ffn_down": "Q6_K", "output": "Q6_K"},
    "Q4_1+Q8_0": {"": "Q4_1", "token_embd": "Q8_0"},
    # Every matrix of another type than its neighbours, those that may be multiplied together included.
    "patchwork": {},
}


@dataclass(frozen=True)
class Shape:
    """head: the size of one; heads * head may differ from width."""

    width: int
    ffn: int
    heads: int
    kv_heads: int
    head: int
    layers: int = 2


@dataclass(frozen=True)
class Case:
    """An architecture and a variant of it. keys: further metadata, the architecture's prefix left out.

    window: positions that a sliding layer sees; pattern: every so-manieth layer is global (0: none is). llama3: factor,
    low and high frequency factors and original context, which the file states as a tensor of frequency divisors.
    refused: the engine says no, in a sentence with this in it.
    """

    name: str
    architecture: str
    shapes: dict[Size, Shape]
    tied: bool = False
    theta: float = 10000.0
    epsilon: float = 1e-5
    window: int | None = None
    pattern: int = 0
    llama3: tuple[float, float, float, int] | None = None
    keys: dict[str, Any] = field(default_factory=dict)
    refused: str = ""

    @property
    def global_layers(self) -> tuple[bool, ...]:
        """Whether a layer sees everything."""
        layers = self.shapes["narrow"].layers
        if self.window is None:
            return (True,) * layers
        return tuple(self.pattern > 0 and (layer + 1) % self.pattern == 0 for layer in range(layers))


def shapes(narrow: Shape, wide: Shape, uneven: Shape) -> dict[Size, Shape]:
    return {"narrow": narrow, "wide": wide, "uneven": uneven}


EVEN = shapes(Shape(96, 160, 3, 1, 32), Shape(256, 512, 4, 2, 64), Shape(288, 512, 9, 3, 32))
QWEN2 = shapes(Shape(64, 96, 4, 2, 16), Shape(256, 512, 4, 2, 64), Shape(288, 512, 9, 3, 32))
APART = shapes(Shape(64, 96, 4, 2, 32), Shape(256, 512, 4, 2, 128), Shape(288, 512, 4, 2, 64))
GEMMA = shapes(Shape(64, 96, 2, 1, 64, 7), Shape(256, 256, 2, 1, 128, 7), Shape(160, 256, 4, 1, 64, 7))
STRETCHED = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 512}
LINEAR = {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}
FACTOR = {"rope.scaling.factor": 4.0}  # a factor alone is a linear one
LOCAL = {"rope.freq_base_swa": 20000.0}
SLIDING: dict[str, Any] = {"architecture": "gemma3", "tied": True, "theta": 1e6, "epsilon": 1e-6, "window": 24}

CASES = {
    case.name: case
    for case in (
        Case("smollm", "llama", EVEN, tied=True, theta=100000.0),
        Case("llama", "llama", EVEN),
        Case("llama3", "llama", EVEN, llama3=(8.0, 1.0, 4.0, 64)),
        Case("llama-linear", "llama", EVEN, keys=LINEAR),
        Case("llama-factor", "llama", EVEN, keys=FACTOR),
        Case("llama-local-base", "llama", EVEN, keys=LOCAL, refused="rope.freq_base_swa"),
        Case("llama-yarn", "llama", EVEN, keys=STRETCHED, refused="yarn"),
        Case("mistral", "llama", APART, theta=1e6),
        Case("mistral-window", "llama", QWEN2, window=24),
        Case("qwen2", "qwen2", QWEN2, theta=1e6, epsilon=1e-6),
        Case("qwen2-tied", "qwen2", QWEN2, tied=True, theta=1e6, epsilon=1e-6),
        Case("qwen2-window", "qwen2", QWEN2, theta=1e6, epsilon=1e-6, window=24, refused="window"),
        Case("qwen3", "qwen3", APART, tied=True, theta=1e6, epsilon=1e-6),
        Case("qwen3-window", "qwen3", APART, theta=1e6, epsilon=1e-6, window=24, refused="window"),
        Case("gemma3", shapes=GEMMA, pattern=6, **SLIDING),
        Case("gemma3-linear", shapes=GEMMA, pattern=6, keys=LINEAR, **SLIDING),
        Case("gemma3-bases", shapes=GEMMA, pattern=6, keys=LOCAL, **SLIDING),
    )
}


@dataclass(frozen=True)
class Written:
    """A file and what it holds. tensors: name -> weights as stored, [rows, columns] or [columns], expanded."""

    path: Path
    case: Case
    shape: Shape
    vocab_size: int
    tensors: dict[str, Floats]
    kinds: dict[str, str]


def write_gguf(
    path: Path, name: str = "llama", kind: str = "Q8_0", *, seed: int = 0, size: Size | None = None, **changes: Any
) -> Written:
    """Writes the case `name` of CASES with matrices of a type of KINDS or a mix of MIXES.

    changes: fields of the case to change; the weights stay the same.
    """
    case = replace(CASES[name], **changes)
    blocks_of_256 = kind.endswith("K") or kind in ("patchwork", "Q4_K_M", "Q5_K_M")
    shape = case.shapes[size or ("wide" if blocks_of_256 else "narrow")]
    words = tokenizer_metadata()
    vocab_size = len(words["tokenizer.ggml.tokens"])
    rng = np.random.default_rng([seed, *name.encode(), *kind.encode()])
    writer = gguf.GGUFWriter(path, case.architecture)
    for key, value in {**settings(case, shape, vocab_size), **words}.items():
        writer.add_key_value(key, value, _value_type(value), *_item_type(value))
    tensors, kinds = {}, {}
    for index, (tensor, rows, columns) in enumerate(matrices(case, shape, vocab_size)):
        kinds[tensor] = fitting(kind_of(kind, tensor, index), columns)
        stored = random_tensor(kinds[tensor], rows, columns, GAIN / math.sqrt(columns), rng)
        writer.add_tensor(tensor, stored, raw_dtype=GGMLQuantizationType[kinds[tensor]])
        tensors[tensor] = expanded(kinds[tensor], stored)
    for tensor, values in vectors(case, shape, rng):
        writer.add_tensor(tensor, values)
        tensors[tensor], kinds[tensor] = values, "F32"
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return Written(path, case, shape, vocab_size, tensors, kinds)


def kind_of(kind: str, tensor: str, index: int) -> str:
    """The type that a tensor is asked to have; index: its place in the file."""
    if kind == "patchwork":
        return KINDS[index % len(KINDS)]
    leaf = tensor.split(".")[-2]
    return MIXES[kind].get(leaf, MIXES[kind][""]) if kind in MIXES else kind


def matrices(case: Case, shape: Shape, vocab_size: int) -> Iterator[tuple[str, int, int]]:
    """Name, outputs and inputs of every matrix."""
    width, ffn, of_heads, of_kv = shape.width, shape.ffn, shape.heads * shape.head, shape.kv_heads * shape.head
    yield "token_embd.weight", vocab_size, width
    if not case.tied:
        yield "output.weight", vocab_size, width
    for layer in range(shape.layers):
        yield f"blk.{layer}.attn_q.weight", of_heads, width
        yield f"blk.{layer}.attn_k.weight", of_kv, width
        yield f"blk.{layer}.attn_v.weight", of_kv, width
        yield f"blk.{layer}.attn_output.weight", width, of_heads
        yield f"blk.{layer}.ffn_gate.weight", ffn, width
        yield f"blk.{layer}.ffn_up.weight", ffn, width
        yield f"blk.{layer}.ffn_down.weight", width, ffn


def vectors(case: Case, shape: Shape, rng: np.random.Generator) -> Iterator[tuple[str, Floats]]:
    """Norms (stored as the factor, for Gemma too), biases and the frequency divisors of Llama 3."""
    yield "output_norm.weight", _norm(shape.width, rng)
    norms = {"attn_norm": shape.width, "ffn_norm": shape.width}
    if case.architecture in ("qwen3", "gemma3"):
        norms |= {"attn_q_norm": shape.head, "attn_k_norm": shape.head}
    if case.architecture == "gemma3":
        norms |= {"post_attention_norm": shape.width, "post_ffw_norm": shape.width}
    for layer in range(shape.layers):
        for leaf, columns in norms.items():
            yield f"blk.{layer}.{leaf}.weight", _norm(columns, rng)
        if case.architecture == "qwen2":
            yield f"blk.{layer}.attn_q.bias", rng.normal(size=shape.heads * shape.head).astype(np.float32)
            key = rng.normal(size=shape.kv_heads * shape.head).astype(np.float32)
            key[:2] = 30, -11  # real ones reach 354
            yield f"blk.{layer}.attn_k.bias", key
            yield f"blk.{layer}.attn_v.bias", rng.normal(size=shape.kv_heads * shape.head).astype(np.float32)
    if case.llama3:
        yield "rope_freqs.weight", divisors(case, shape.head)


def divisors(case: Case, head: int) -> Floats:
    """[head / 2]: what llama.cpp's converter divides each frequency by, for Llama 3.1 and later."""
    assert case.llama3 is not None
    factor, low, high, original = case.llama3
    wavelengths = 2 * math.pi * case.theta ** (np.arange(0, head, 2) / head)
    smooth = (original / wavelengths - low) / (high - low)
    between = 1 / ((1 - smooth) / factor + smooth)
    found = np.where(wavelengths < original / high, 1.0, np.where(wavelengths > original / low, factor, between))
    return found.astype(np.float32)


def settings(case: Case, shape: Shape, vocab_size: int) -> dict[str, Any]:
    """The keys that llama.cpp's converter writes for the architecture."""
    own: dict[str, Any] = {
        "block_count": shape.layers,
        "context_length": CONTEXT,
        "embedding_length": shape.width,
        "feed_forward_length": shape.ffn,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv_heads,
        "attention.layer_norm_rms_epsilon": case.epsilon,
        "rope.freq_base": case.theta,
    }
    if case.architecture == "llama":
        own |= {"vocab_size": vocab_size, "rope.dimension_count": shape.head}
    if shape.heads * shape.head != shape.width or case.architecture in ("qwen3", "gemma3"):
        own |= {"attention.key_length": shape.head, "attention.value_length": shape.head}
    if case.window is not None:
        own["attention.sliding_window"] = case.window
    general = {"general.name": f"tiny {case.name}", "general.quantization_version": 2}
    return general | {f"{case.architecture}.{key}": value for key, value in (own | case.keys).items()}


@cache
def tokenizer_metadata() -> dict[str, Any]:
    """tokenizer.* keys of a byte-level tokenizer of some five hundred words, and a chat template."""
    with TemporaryDirectory() as folder:
        header = read_header(vocabularies.write_gguf(Path(folder) / "words.gguf", "smollm"))
    words = {key: value for key, value in header.metadata.items() if key.startswith("tokenizer.")}
    return words | {"tokenizer.chat_template": TEMPLATE}


def _norm(columns: int, rng: np.random.Generator) -> Floats:
    return rng.uniform(0.6, 1.6, columns).astype(np.float32)


def _value_type(value: Any) -> gguf.GGUFValueType:
    """Counts are unsigned, which is what llama.cpp's reader asks for."""
    return gguf.GGUFValueType.UINT32 if type(value) is int else gguf.GGUFValueType.get_type(value)


def _item_type(value: Any) -> tuple[gguf.GGUFValueType, ...]:
    return (gguf.GGUFValueType.get_type(value[0]),) if isinstance(value, list) else ()
