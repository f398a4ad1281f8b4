"""Where weights come from: known names, paths and hub ids, each resolved to a checked file or directory.

A name is tried as a known model, then as a path, then as a hub id. Pickled weights and remote code are never touched.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from foredraft.core.errors import UnknownName, UsageError, WeightsError
from foredraft.models.directories import check_directory
from foredraft.models.fetch import known_file, models_folder
from foredraft.models.gguf_header import read_header
from foredraft.models.hub import Hub, Listing, Progress, Unreachable
from foredraft.models.known import KNOWN

__all__ = ["Progress", "Source", "models_folder", "resolve"]

HUB_ID = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(:(?P<file>[^:]+\.gguf))?")
WANTED = (".safetensors", ".json", ".jinja")
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


@dataclass(frozen=True)
class Source:
    """Where a model is. name: as it was asked for. path: a GGUF file or a Hugging Face directory."""

    name: str
    path: Path
    kind: Literal["gguf", "hf"]


def resolve(name: str, progress: Progress | None = None, *, hub: Hub | None = None) -> Source:
    """Finds a model, fetching it when it is known or on the hub and not yet here.

    Raises UnknownName, UsageError (no such path), SourceError (not to be had, or not what it should be) or
    WeightsError (damaged or unsafe).
    """
    if name in KNOWN:
        return Source(name, known_file(KNOWN[name], progress=progress), "gguf")
    found = _local(name) if name else None
    if found is not None:
        return found
    match = HUB_ID.fullmatch(name)
    if match is None or (name.endswith(".gguf") and match["file"] is None) or name.startswith("."):
        if any(mark in name for mark in ("/", os.sep, "~")) or name.endswith(".gguf"):
            raise UsageError(f"there is no file or directory {name}: check the path")
        hint = "a path to a GGUF file or Hugging Face directory or a hub id will also do"
        raise UnknownName("model", name, KNOWN, hint)
    return _from_hub(name, match["repository"], match["file"], progress, hub or Hub())


def _local(name: str) -> Source | None:
    """What is at the path `name`, checked; None when nothing is."""
    try:
        path = Path(name).expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError, ValueError):  # too long for a path, or no such home directory
        return None
    if is_folder:
        check_directory(path)
        return Source(name, path, "hf")
    if is_file:
        if path.suffix in PICKLED:
            raise WeightsError(f"{path} holds pickled weights, which can run code: convert them to safetensors or GGUF")
        if path.suffix == ".safetensors":
            raise UsageError(f"{path} is one file of a model: give its directory")
        read_header(path)
        return Source(name, path, "gguf")
    return None


def _from_hub(name: str, repository: str, file: str | None, progress: Progress | None, hub: Hub) -> Source:
    """`org/name`: a repository's safetensors; `org/name:file.gguf`: one file of it. Kept in the hub's own cache."""
    if file is not None:
        path = hub.file(repository, file, progress=progress)
        read_header(path)
        return Source(name, path, "gguf")
    try:
        listing = hub.listing(repository)
    except Unreachable:
        folder = hub.cached(repository)
    else:
        folder = _fetched(repository, listing, progress, hub)
    check_directory(folder)
    return Source(name, folder, "hf")


def _fetched(repository: str, listing: Listing, progress: Progress | None, hub: Hub) -> Path:
    """The directory of a repository's weights and settings, fetched file by file where they are not in the cache."""
    wanted = _wanted(repository, listing)
    whole, before = sum(listing.files[name] for name in wanted), 0
    folder: Path | None = None
    for name in wanted:

        def report(done: int, _: int, before: int = before) -> None:
            if progress is not None:
                progress(min(before + done, whole), whole)

        path = hub.file(repository, name, revision=listing.revision, progress=report)
        folder, before = path.parent, before + listing.files[name]
    if folder is None or not (folder / "config.json").is_file():
        raise WeightsError(f"{repository} has no config.json: choose the repository of a Hugging Face model")
    hub.file(repository, "config.json")  # by its branch, so that it is found again without a network
    return folder


def _wanted(repository: str, listing: Listing) -> list[str]:
    """The files to fetch: settings first. Raises WeightsError for a repository without weights that may be read."""
    own = [name for name in listing.files if "/" not in name]
    weights = [name for name in own if name.endswith(".safetensors")]
    if not weights:
        ggufs = [name for name in listing.files if name.endswith(".gguf")]
        if ggufs:
            raise UsageError(f"{repository} has GGUF files: choose one, such as `{repository}:{ggufs[0]}`")
        if any(name.endswith(PICKLED) for name in own):
            raise WeightsError(
                f"{repository} has pickled weights only, which can run code: convert them to safetensors first"
            )
        raise WeightsError(f"{repository} has no weights: choose a repository with safetensors")
    # Some repositories carry the same weights twice, once under the names of the original code.
    original = {name for name in weights if name.startswith("consolidated")}
    skipped = original if len(original) < len(weights) else set()
    files = [name for name in own if name.endswith(WANTED) and name not in skipped]
    return sorted(files, key=lambda name: (name.endswith(".safetensors"), name))
