"""What a figure was measured with: processor, system, version, commit, weights. Goes into every result."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from pathlib import Path
from typing import Any

import foredraft
from foredraft.engine.backends import Loaded
from foredraft.engine.threads import available_threads
from foredraft.models.sources import Source


def machine() -> dict[str, Any]:
    """The processor, how many threads the process may use, the system, Python."""
    return {
        "processor": _processor(),
        "available_threads": available_threads(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def isa_of(loaded: Loaded) -> str:
    """The instruction set that computes: torch chooses its own; an engine of ours says which in its details."""
    return "torch" if loaded.engine == "hf" else dict(loaded.model.about.details).get("isa", "unknown")


def commit() -> str | None:
    """The commit of the checkout that foredraft runs from, with `-dirty` where it was changed; None when installed."""
    here = Path(foredraft.__file__).parent
    tracked = _git(here, "ls-files", "--error-unmatch", "__init__.py")
    return _git(here, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*") if tracked else None


def weights_hash(source: Source) -> str:
    """sha256 of the weight file; of a directory, of its weight files one after another by name."""
    files = [source.path] if source.kind == "gguf" else sorted(source.path.glob("*.safetensors"))
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
