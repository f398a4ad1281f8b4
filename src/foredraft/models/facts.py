"""Facts about a model's files, read from their headers: what `foredraft models show` prints."""

from __future__ import annotations

import math
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foredraft.core.errors import WeightsError
from foredraft.models.directories import read_json, safetensors_header, shards_of
from foredraft.models.gguf_header import GGUFHeader, read_header
from foredraft.models.known import KNOWN, Known
from foredraft.models.sources import Source, models_folder
from foredraft.models.tokenizer import Tokenizer

# Embeddings are looked up, not read whole, unless they serve as the output head too. Larger models prefix both.
EMBEDDINGS = re.compile(r"token_embd\.weight|(.*\.)?embed_tokens\.weight")
HEADS = re.compile(r"output\.weight|(.*\.)?lm_head\.weight")


@dataclass(frozen=True)
class Facts:
    """bytes_per_token: as stored, of all tensors that a pass of one row reads. weights_per_token: how many numbers that
    is, which every row is multiplied with. types: tensor type -> how many.
    """

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
    weights_per_token: int
    chat_template: bool


def facts(source: Source) -> Facts:
    """Reads the headers of a model's files. Raises WeightsError when they are damaged."""
    found = _of_gguf(read_header(source.path)) if source.kind == "gguf" else _of_directory(source)
    architecture, layers, width, context, words, tensors = found
    template = False
    with suppress(WeightsError):  # a tokenizer of a kind that is not read yet hides nothing else
        tokenizer = Tokenizer.from_source(source)
        words, template = tokenizer.size, tokenizer.chat_template is not None
    tied = not any(map(HEADS.fullmatch, tensors))
    read = {name: entry for name, entry in tensors.items() if tied or not EMBEDDINGS.fullmatch(name)}
    return Facts(
        source.name,
        str(source.path),
        architecture,
        sum(count for _, count, _ in tensors.values()),
        layers,
        width,
        context,
        words,
        dict(Counter(kind for kind, _, _ in tensors.values())),
        sum(nbytes for _, _, nbytes in read.values()),
        sum(count for _, count, _ in read.values()),
        template,
    )


Tensors = dict[str, tuple[str, int, int]]
"""name -> type, elements, bytes."""


def _of_gguf(header: GGUFHeader) -> tuple[str, int, int, int, int, Tensors]:
    tensors = {tensor.name: (tensor.kind, tensor.count, tensor.nbytes) for tensor in header.tensors}
    layers, width, context = map(_count, map(header.setting, ("block_count", "embedding_length", "context_length")))
    words = header.metadata.get("tokenizer.ggml.tokens")
    return header.architecture, layers, width, context, len(words) if isinstance(words, list) else 0, tensors


def _of_directory(source: Source) -> tuple[str, int, int, int, int, Tensors]:
    config = read_json(source.path / "config.json")
    tensors: Tensors = {}
    for shard in shards_of(source.path):
        for name, entry in safetensors_header(shard).items():
            begin, end = entry["data_offsets"]
            tensors[name] = (str(entry["dtype"]), math.prod(entry["shape"]), end - begin)
    text = config["text_config"] if isinstance(config.get("text_config"), dict) else config
    sizes = ("num_hidden_layers", "hidden_size", "max_position_embeddings", "vocab_size")
    layers, width, context, words = map(_count, map(text.get, sizes))
    return str(config.get("model_type") or "unknown"), layers, width, context, words, tensors


def _count(setting: Any) -> int:
    """A whole number out of a model's settings, 0 for anything else."""
    return setting if isinstance(setting, int) else 0


def on_disk(known: Known, folder: Path | None = None) -> Path | None:
    """The file of a known model, None when it has not been fetched."""
    path = (folder or models_folder()) / known.file
    return path if path.is_file() else None


def listing() -> list[tuple[Known, Path | None]]:
    """Every known model, and where it is on disk."""
    return [(known, on_disk(known)) for known in KNOWN.values()]
