"""`foredraft models`: what is known and on disk, fetching, facts about one."""

from __future__ import annotations

import dataclasses
import json as jsonlib

from foredraft.cli.show import loading
from foredraft.models.facts import facts, listing
from foredraft.models.sources import models_folder, resolve


def list_models() -> None:
    """Prints the known models."""
    for known, path in listing():
        size = path.stat().st_size if path is not None else known.size
        where = "on disk" if path is not None else "not fetched"
        amount = f"{size / 1e6:.0f} MB, " if size else ""
        print(f"{known.name:20} {known.summary} ({amount}{known.licence}, {where})")
    print(f"\nFiles are kept in {models_folder()}.")
    print("A path to a GGUF file or a Hugging Face directory, or a hub id, will also do.")


def pull(name: str) -> None:
    """Fetches a model unless it is there, and prints where it is."""
    with loading(name) as progress:
        source = resolve(name, progress)
    print(source.path)


def show(model: str, json: bool) -> None:
    """Prints the facts of a model's files."""
    with loading(model) as progress:
        found = facts(resolve(model, progress))
    if json:
        print(jsonlib.dumps(dataclasses.asdict(found), ensure_ascii=False))
        return
    types = ", ".join(f"{kind} x {count}" for kind, count in sorted(found.types.items(), key=lambda item: -item[1]))
    rows = {
        "path": found.path,
        "architecture": found.architecture,
        "parameters": f"{found.parameters / 1e6:.1f} million",
        "layers x width": f"{found.layers} x {found.width}",
        "context": f"{found.context} tokens",
        "vocabulary": str(found.vocabulary),
        "tensors": types,
        "read per token": f"{found.bytes_per_token / 1e6:.1f} MB",
        "chat template": "yes" if found.chat_template else "no",
    }
    print(found.name)
    for key, value in rows.items():
        print(f"  {key:15} {value}")
