"""Tables of successors that come with the package: which vocabularies have one.

They are counted from what one target said (`foredraft train successors`), and serve every model of its vocabulary: the
table is where drafts begin, and what the model itself holds likely comes over it.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "shipped"

TABLES: dict[str, str] = {
    "d1011beb264e25352b5ca3f031446cb8860cfa308c113373df63ddce69da293c": "smollm2.successors",
    "b98ee34f850f1d341e7a4d92e2bad8fe0b4b4adf7bbbd19040fa48949473a11d": "qwen2.5-coder-1.5b.successors",
}
"""Fingerprint of a vocabulary (`draft/successor_file.py`) -> the file of its table in draft/shipped/."""


def shipped_table(vocabulary: str) -> Path | None:
    """The file of the table for a vocabulary; None where there is none."""
    name = TABLES.get(vocabulary)
    return FOLDER / name if name is not None else None
