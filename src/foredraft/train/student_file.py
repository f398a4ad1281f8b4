"""A distilled model as others read it: a GGUF file for a target that is one, else a Hugging Face directory.

The vocabulary is the target's, copied as it stands. Matrices of a GGUF file are Q8_0, norms and biases F32.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
from gguf.quants import quantize
from numpy.typing import NDArray

from foredraft.core.errors import UsageError
from foredraft.heads.files import Target, beside, room
from foredraft.models.gguf_header import read_header
from foredraft.models.hf_gguf import INNER, OUTER
from foredraft.models.sources import Source

Arrays = Mapping[str, NDArray[np.float32]]
WRITTEN = ("llama", "qwen2", "qwen3")
FILE, FOLDER, NOTES = "model.gguf", "model", "foredraft.json"
NAMES = {theirs: ours for ours, theirs in (OUTER | INNER).items()}


@dataclass(frozen=True)
class About:
    """What is kept beside a student."""

    target: Target
    settings: Any
    parameters: int
    provenance: dict[str, Any] = field(default_factory=dict)
    method: str = "distill"

    def json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


def check_written(model: Any, source: Source) -> None:
    """Raises UsageError for a model that could not be written when it is trained."""
    if source.kind == "hf":
        return
    stretched = any(info.name.startswith("rope_") for info in read_header(source.path).tensors)
    if (
        model.config.model_type not in WRITTEN
        or _rope(model.config).get("rope_type", "default") != "default"
        or stretched
    ):
        raise UsageError(
            f"a {model.config.model_type} like this is not written as GGUF: give --student a shape, as in 4x192"
        )


def write_student(model: Any, source: Source, out: Path, notes: Mapping[str, str]) -> Path:
    """Writes beside the place and then puts it there; its path. Killed at any moment, a whole file is there; of folders
    see `replace_folder`. Raises ForedraftError where it cannot be written.

    source: the target's, whose vocabulary it gets. notes: kept with it.
    """
    out.mkdir(parents=True, exist_ok=True)
    if source.kind == "hf":
        return _directory(model, source.path, out / FOLDER, notes)
    with beside(out / FILE) as part:
        _gguf(model, source.path, part, notes)
    return out / FILE


def _directory(model: Any, target: Path, folder: Path, notes: Mapping[str, str]) -> Path:
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    with room(part):
        model.save_pretrained(part)
        (part / "generation_config.json").unlink(missing_ok=True)  # the target's, with its end tokens
        (part / NOTES).write_text(json.dumps(dict(notes)), encoding="utf-8")
        copy_words(target, part)
        replace_folder(part, folder)
    return folder


def copy_words(target: Path, folder: Path) -> None:
    """How a target's text becomes tokens and ends, never its weights; what the folder has already stays."""
    for path in target.iterdir():
        words = path.suffix in (".json", ".jinja", ".txt", ".model") and not path.name.endswith(".index.json")
        if words and not (folder / path.name).exists():
            shutil.copy(path, folder / path.name)


def replace_folder(part: Path, folder: Path) -> None:
    """Puts a whole folder in the place of another. Folders are not exchanged at once: killed between two steps, the one
    before stands beside under `.old`, and comes back the next time."""
    old = folder.with_name(folder.name + ".old")
    if old.exists() and not folder.exists():
        os.replace(old, folder)
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(part, folder)
    shutil.rmtree(old, ignore_errors=True)


def _gguf(model: Any, target: Path, path: Path, notes: Mapping[str, str]) -> None:
    with closing(GGUFWriter(path, model.config.model_type)) as writer:
        _filled(writer, model, target, notes)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()


def _filled(writer: GGUFWriter, model: Any, target: Path, notes: Mapping[str, str]) -> None:
    config = model.config
    for key, value in _settings(config).items():
        kind = GGUFValueType.FLOAT32 if isinstance(value, float) else GGUFValueType.UINT32
        writer.add_key_value(f"{config.model_type}.{key}", value, kind)
    for key, text in notes.items():
        writer.add_string(f"foredraft.{key}", text)
    for name, told in GGUFReader(target).fields.items():
        if name.startswith("tokenizer."):
            writer.add_key_value(name, told.contents(), told.types[0], told.types[-1] if len(told.types) > 1 else None)
    for parameter, weights in model.named_parameters():
        name, values = _named(config, parameter, weights.detach().float().cpu().numpy())
        if values.ndim == 2 and values.shape[1] % 32 == 0:
            kind = GGMLQuantizationType.Q8_0
            writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, values)


def _rope(config: Any) -> dict[str, Any]:
    found: dict[str, Any] = config.rope_parameters
    return found


def _settings(config: Any) -> dict[str, int | float]:
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": size,
        "attention.value_length": size,
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "rope.freq_base": float(_rope(config)["rope_theta"]),
        "rope.dimension_count": size,
        "vocab_size": config.vocab_size,
    }


def _named(config: Any, parameter: str, values: NDArray[np.float32]) -> tuple[str, NDArray[np.float32]]:
    """The tensor under its name in GGUF files; of a llama, the two halves that a rotation pairs side by side."""
    stem, _, kind = parameter.rpartition(".")
    if stem in NAMES:
        return f"{NAMES[stem]}.{kind}", values
    layer, _, inner = stem.removeprefix("model.layers.").partition(".")
    heads = {"self_attn.q_proj": config.num_attention_heads, "self_attn.k_proj": config.num_key_value_heads}.get(inner)
    if config.model_type == "llama" and heads:
        paired = values.reshape(heads, 2, -1, *values.shape[1:]).swapaxes(1, 2)
        values = np.ascontiguousarray(paired).reshape(values.shape)
    return f"blk.{layer}.{NAMES[inner]}.{kind}", values
