"""Tables of successors that come with the package: which vocabularies have one.

They are counted from what one target said (`foredraft train successors`), and serve every model of its vocabulary: the
table is where drafts begin, and what the model itself holds likely comes over it.
"""

from __future__ import annotations

from pathlib import Path

from foredraft.core.tokens import Tokens
from foredraft.draft.files import vocabulary_of

FOLDER = Path(__file__).parent / "shipped"
SAMPLE = 256  # tokens whose spelling stands for a vocabulary's

TABLES: dict[str, str] = {
    "994a39619c48faa2c8a8b911092bdbf46b289220e711f7948811ae4ba6161aca": "smollm2.successors",
    "9668a2d9a57d69d321e78118df7f2440dac39730489ab888c9deea54ac5dd8bf": "qwen2.5-coder-1.5b.successors",
}
"""Hash of a sample of a vocabulary -> the file of its table in draft/shipped/."""


def shipped_table(vocabulary: Tokens) -> Path | None:
    """The file of the table for a vocabulary; None where there is none.

    Every start of a model asks for it, so a sample of the spellings has to do. Were one vocabulary taken for another,
    drafts would be wrong, and the text as ever.
    """
    name = TABLES.get(vocabulary_of(vocabulary, SAMPLE))
    return FOLDER / name if name is not None else None
