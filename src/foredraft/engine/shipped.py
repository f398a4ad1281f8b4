"""Trained heads that come with the package: which targets have one."""

from __future__ import annotations

from pathlib import Path

from foredraft import heads
from foredraft.core.protocols import Model

SHIPPED = Path(heads.__file__).parent / "shipped"

HEADS: dict[str, str] = {
    "3b87f8e27335e67fc08f159cabfd2d18f205d6c5b225a6f978153552bf01d559": "smollm2.safetensors",
}
"""Fingerprint of a target -> the file of its head in heads/shipped/."""


def shipped_head(target: Model) -> Path | None:
    """The file of the head that was trained for this model; None where there is none."""
    name = HEADS.get(dict(target.about.details).get("fingerprint", ""))
    return SHIPPED / name if name is not None else None
