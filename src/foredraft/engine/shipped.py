"""Trained heads that come with the package: which targets have one."""

from __future__ import annotations

from pathlib import Path

from foredraft import heads
from foredraft.core.native import module
from foredraft.core.protocols import Model
from foredraft.draft import TRAINED
from foredraft.heads.files import read_config

SHIPPED = Path(heads.__file__).parent / "shipped"

HEADS: dict[str, str] = {
    "3b87f8e27335e67fc08f159cabfd2d18f205d6c5b225a6f978153552bf01d559": "smollm2.safetensors",
}
"""Fingerprint of a target -> the file of its head in heads/shipped/."""


def shipped_head(target: Model, method: str = TRAINED) -> Path | None:
    """The file of the head of a method that was trained for this model; None where there is none.

    A model that was trained further may keep the norm that it is known by; with another vocabulary it is another model.
    Without the native module heads are too slow to be used unasked.
    """
    about = target.about
    name = HEADS.get(dict(about.details).get("fingerprint", ""))
    if name is None or module(None) is None or not (SHIPPED / name).is_file():
        return None
    config = read_config(SHIPPED / name)
    own = config.target
    fits = (own.width, own.layers, own.vocab_size) == (about.width, about.layers, about.vocab_size)
    return SHIPPED / name if fits and config.method == method else None
