"""A small known file, what is installed of it, and weights: for tests of where models come from."""

from __future__ import annotations

import hashlib
from pathlib import Path

from foredraft.models.known import Known

CONTENT = bytes(range(256)) * 5000
TINY = Known(
    "tiny",
    "tiny.gguf",
    hashlib.sha256(CONTENT).hexdigest(),
    len(CONTENT),
    "org/tiny-GGUF",
    "Apache-2.0",
    "a test's",
    wheel="tiny-model==1.0",
)
INSTALLED = {"tiny.gguf", "tiny.gguf.sha256"}
WEIGHTS = (57).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}   ' + bytes(8)


def contents(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()
