"""Facts about a model's files, read from their headers: what `foredraft models show` prints."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from foredraft.models.directories import read_json, safetensors_header, shards_of
from foredraft.models.gguf_header import GGUFHeader, read_header
from foredraft.models.known import KNOWN, Known
from foredraft.models.sources import Source, models_folder
from foredraft.models.tokenizer import Tokenizer

# Embeddings are looked up, not read whole, unless they serve as the output head too.
EMBEDDINGS = ("token_embd.weight", "model.embed_tokens.weight")
HEADS = ("output.weight", "lm_head.weight")


@dataclass(frozen=True)
class Facts:
    """bytes_per_token: as stored, of all tensors that a pass of one row reads. types: tensor type -> how many."""

    name: str
    path: str
    architecture: str
    parameters: int
    layers: int
    width: int
    context: int
    vocabulary: int
    types: dict[str, int]
    bytes_per_token: int
    chat_template: bool


def facts(source: Source) -> Facts:
    """Reads the headers of a model's files. Raises WeightsError when they are damaged."""
    tokenizer = Tokenizer.from_source(source)
    found = _of_gguf(source, read_header(source.path)) if source.kind == "gguf" else _of_directory(source)
    architecture, layers, width, context, tensors = found
    tied = not any(name in tensors for name in HEADS)
    read = {name: entry for name, entry in tensors.items() if tied or name not in EMBEDDINGS}
    return Facts(
        source.name,
        str(source.path),
        architecture,
        sum(count for _, count, _ in tensors.values()),
        layers,
        width,
        context,
        tokenizer.size,
        dict(Counter(kind for kind, _, _ in tensors.values())),
        sum(nbytes for _, _, nbytes in read.values()),
        tokenizer.chat_template is not None,
    )


Tensors = dict[str, tuple[str, int, int]]
"""name -> type, elements, bytes."""


def _of_gguf(source: Source, header: GGUFHeader) -> tuple[str, int, int, int, Tensors]:
    tensors = {tensor.name: (tensor.kind, tensor.count, tensor.nbytes) for tensor in header.tensors}
    sizes = (int(header.setting(key, 0)) for key in ("block_count", "embedding_length", "context_length"))
    layers, width, context = sizes
    return header.architecture, layers, width, context, tensors


def _of_directory(source: Source) -> tuple[str, int, int, int, Tensors]:
    config = read_json(source.path / "config.json")
    tensors: Tensors = {}
    for shard in shards_of(source.path):
        for name, entry in safetensors_header(shard).items():
            begin, end = entry["data_offsets"]
            tensors[name] = (str(entry["dtype"]), math.prod(entry["shape"]), end - begin)
    text = config.get("text_config", config)
    sizes = (int(text.get(key, 0)) for key in ("num_hidden_layers", "hidden_size", "max_position_embeddings"))
    layers, width, context = sizes
    return str(config.get("model_type", "unknown")), layers, width, context, tensors


def on_disk(known: Known, folder: Path | None = None) -> Path | None:
    """The file of a known model, None when it has not been fetched."""
    path = (folder or models_folder()) / known.file
    return path if path.is_file() else None


def listing() -> list[tuple[Known, Path | None]]:
    """Every known model, and where it is on disk."""
    return [(known, on_disk(known)) for known in KNOWN.values()]
