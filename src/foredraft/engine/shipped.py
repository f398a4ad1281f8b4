"""Trained heads that come with the package: which targets have one."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from foredraft.core.protocols import Model

HEADS: dict[str, str] = {}
"""Fingerprint of a target -> the file of its head in heads/shipped/."""


def shipped_head(target: Model) -> Path | None:
    """The file of the head that was trained for this model; None where there is none."""
    name = HEADS.get(dict(target.about.details).get("fingerprint", ""))
    return Path(str(files("foredraft"))) / "heads" / "shipped" / name if name is not None else None
