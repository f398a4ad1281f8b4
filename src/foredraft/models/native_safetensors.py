"""Hugging Face directories as the native engine's weights: safetensors as they are, or quantised while they are read.

Only header, configuration and raw numbers are read, by our own code. A directory must hold exactly the tensors that its
configuration asks for: one too few is an error, and one too many is refused by name, so nothing is made up or dropped.
Tensors are read, quantised and packed one after another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foredraft.core.errors import UnknownName, WeightsError
from foredraft.models.directories import check_directory, read_json, safetensors_header, shards_of
from foredraft.models.native_config import architecture_of, is_tied, names_of, shape_of
from foredraft.models.native_parts import Names, Shape, Unsupported, assemble, pack, sentences
from foredraft.models.quantise import FORMS, QUANTIZATIONS, Quantize, Reduced, quantise

NUMPY: dict[str, Any] = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}
# What matrices become: those of layers, then the embedding and the head, which are more easily hurt.
KINDS: dict[str | None, tuple[str | None, str | None]] = {
    None: (None, None),
    "int8": (FORMS["int8"], FORMS["int8"]),
    "int4": (FORMS["int4"], FORMS["int8"]),
}
FREQUENCIES = "rotary_emb.inv_freq"  # in old files; a model's configuration says the same


@dataclass(frozen=True)
class Stored:
    """A tensor in a file. shape: slowest dimension first. offset: bytes from the file's start."""

    path: Path
    kind: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


def read_directory(
    folder: Path,
    pool: Any,
    quantize: Quantize | None = None,
    vocab_size: int | None = None,
    context: int | None = None,
    reduced: Reduced | None = None,
) -> tuple[Any, Shape]:
    """The packed weights of a directory. quantize: the form of its matrices, by default as they are stored.

    Vectors stay float32. vocab_size: the tokenizer's, where the tables are padded beyond it. reduced: made cheaper for
    drafting; its own quantize comes first. Raises WeightsError for what is damaged, Unsupported for what is sound and
    not computed here, UnknownName for an unknown quantisation.
    """
    if reduced is not None:
        quantize = reduced.quantize or quantize
    if quantize not in (None, *QUANTIZATIONS):
        raise UnknownName("quantisation", str(quantize), QUANTIZATIONS)
    check_directory(folder)
    name, told = folder.resolve().name, read_json(folder / "config.json")
    kind = architecture_of(told, name)
    stored = tensors_of(folder)
    _check_layers(told.get("num_hidden_layers"), stored, name)
    try:
        shape, names, tied = shape_of(kind, told, name), names_of(kind, told), is_tied(kind, told)
    except (KeyError, TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
        raise WeightsError(f"{name} lacks or garbles its settings ({error}): fetch it again") from error
    stored = _check_tensors(stored, names, shape.layers, tied, name)
    rows = math.prod(stored[names.embedding].shape[:1])
    if rows != shape.config.vocabulary or (vocab_size or 0) > rows:
        wanted = max(shape.config.vocabulary, vocab_size or 0)
        raise WeightsError(f"{name} has {rows} embeddings for a vocabulary of {wanted}: fetch it again, whole")
    shape.config.vocabulary = vocab_size or rows
    shape.config.context = min(shape.config.context, context or shape.config.context)
    spared = None if reduced is not None else names.head
    return assemble(shape, _Reader(name, stored, spared, pool, quantize, add_one=kind.gemma), names, reduced), shape


def tensors_of(folder: Path) -> dict[str, Stored]:
    """Every tensor of every shard. Raises WeightsError when two shards hold one of the same name."""
    found: dict[str, Stored] = {}
    for path in shards_of(folder):
        tensors = safetensors_header(path)
        data = path.stat().st_size - max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
        for name, entry in tensors.items():
            if name in found:
                raise WeightsError(f"{folder} has two tensors {name}: remove the files that do not belong to it")
            begin, end = entry["data_offsets"]
            found[name] = Stored(path, entry["dtype"], tuple(entry["shape"]), data + begin, end - begin)
    return found


def _check_layers(layers: Any, stored: dict[str, Stored], name: str) -> None:
    """Raises WeightsError for more layers than there are tensors: before anything is made for each of them."""
    if isinstance(layers, int) and layers > len(stored):
        raise WeightsError(f"{name} lacks tensors of its {layers} layers: fetch it again, whole")


def _check_tensors(stored: dict[str, Stored], names: Names, layers: int, tied: bool, name: str) -> dict[str, Stored]:
    """The tensors that take part. Raises WeightsError for one too few and Unsupported for one too many."""
    parts = (*names.matrices.values(), *names.vectors.values())
    wanted = {part.format(layer) for part in parts for layer in range(layers)} | {names.embedding, names.norm}
    if not tied:
        wanted.add(names.head)
    if missing := sorted(wanted - set(stored)):
        raise WeightsError(f"{name} lacks {len(missing)} tensors, such as {missing[0]}: fetch it again, whole")
    extra = {one for one in set(stored) - wanted if not one.endswith(FREQUENCIES)}
    if tied and names.head in extra:
        # As transformers has it: a head that differs from the embedding is not tied to it after all.
        extra.remove(names.head)
        if not _equal(stored[names.head], stored[names.embedding]):
            wanted.add(names.head)
    if extra:
        raise Unsupported(f"{name} has a tensor {min(extra)!r} unknown to the native engine: choose --engine hf")
    return {one: stored[one] for one in wanted}


def _equal(a: Stored, b: Stored) -> bool:
    return (a.kind, a.shape) == (b.kind, b.shape) and _bytes(a).data == _bytes(b).data


def _bytes(stored: Stored) -> NDArray[np.uint8]:
    if not stored.nbytes:  # which cannot be mapped
        return np.empty(0, dtype=np.uint8)
    return np.memmap(stored.path, np.uint8, "r", stored.offset, stored.nbytes)


class _Reader:
    """Tensors of mapped files. spared: the matrix that is not made as small as the others.

    add_one: a norm is stored as its difference from one, as Gemma has it.
    """

    def __init__(
        self,
        name: str,
        stored: dict[str, Stored],
        spared: str | None,
        pool: Any,
        quantize: Quantize | None,
        *,
        add_one: bool,
    ) -> None:
        self.name, self.stored, self.pool, self.add_one = name, stored, pool, add_one
        self.kinds, self.spared = KINDS[quantize], spared

    def __contains__(self, name: str) -> bool:
        return name in self.stored

    def matrix(self, name: str, *, rows: Sequence[int] | None = None) -> Any:
        outputs, inputs = self._sizes(name)
        return self._packed(name, outputs, inputs, self.kinds[name == self.spared], rows)

    def table(self, name: str) -> Any:
        outputs, inputs = self._sizes(name)
        return self._packed(name, outputs, inputs, self.kinds[1])

    def _sizes(self, name: str) -> tuple[int, int]:
        if len(self.stored[name].shape) != 2:
            raise WeightsError(f"{self.name}: {name} is no matrix: fetch it again, whole")
        outputs, inputs = self.stored[name].shape
        return outputs, inputs

    def vector(self, name: str) -> list[float]:
        if len(self.stored[name].shape) != 1:
            raise WeightsError(f"{self.name}: {name} is no vector: fetch it again, whole")
        values = self._packed(name, 1, self.stored[name].shape[0], None).expand()[0]
        if self.add_one and name.endswith("norm.weight"):
            values = values + np.float32(1)
        return values.tolist()  # type: ignore[no-any-return]

    def _packed(self, name: str, outputs: int, inputs: int, kind: str | None, rows: Sequence[int] | None = None) -> Any:
        stored = self.stored[name]
        if stored.kind not in NUMPY:
            raise Unsupported(f"{self.name}: {name} is stored as {stored.kind}, unknown here: choose --engine hf")
        with sentences(f"{self.name}: {name}"):
            numbers = _bytes(stored)
            if rows is not None:
                outputs, numbers = len(rows), numbers.reshape(outputs, -1)[list(rows)].reshape(-1)
            if kind is not None:
                floats = numbers.view(NUMPY[stored.kind]).reshape(outputs, inputs)
                numbers = quantise(kind, floats, self.pool.threads)
            return pack(kind or stored.kind, outputs, inputs, numbers, self.pool)
