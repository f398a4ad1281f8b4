"""Tables of successors that come with the package: which vocabularies have one.

They are counted from what one target said (`foredraft train successors`), and serve every model of its vocabulary: the
table is where drafts begin, and what the model itself holds likely comes over it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from foredraft.core.tokens import Tokens

FOLDER = Path(__file__).parent / "shipped"
SAMPLE = 256  # tokens whose spelling stands for a vocabulary's

TABLES: dict[str, str] = {
    "a6809e390fb6f5742d057c9f18df8a734341be139c288ee248a6b84de4c2f3d3": "smollm2.successors",
    "64d53edc27e0e8feed0d395d746da325eddb262ee06a34add6bb6057015b5c2e": "qwen2.5-coder-1.5b.successors",
}
"""Sketch of a vocabulary -> the file of its table in draft/shipped/."""


def shipped_table(vocabulary: Tokens) -> Path | None:
    """The file of the table for a vocabulary; None where there is none."""
    name = TABLES.get(sketch(vocabulary))
    return FOLDER / name if name is not None else None


def sketch(vocabulary: Tokens) -> str:
    """Tells vocabularies apart by their size and the spelling of some tokens.

    Every start of a model asks for it, and to spell them all takes half a second. Were one taken for another, drafts
    would be wrong, and the text as ever.
    """
    found = hashlib.sha256(str(vocabulary.size).encode())
    for token in range(0, vocabulary.size, max(1, vocabulary.size // SAMPLE)):
        spelt = vocabulary.token_bytes(token)
        found.update(b"-" if spelt is None else b"+" + len(spelt).to_bytes(4, "little") + spelt)
    return found.hexdigest()
