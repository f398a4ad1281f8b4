"""A table of successors counted from what a target said: what the drafter `recycling` begins with.

For contexts of one, two and three tokens, how often which token followed in the target's own texts. The chance of one
that was seen n times of N is (n - 1/2) / N: half a sighting is kept back for what was not seen (absolute discounting,
Ney et al. 1994). The contexts met most often are kept; what was met a few times says little, and takes as much room.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from foredraft.core.errors import UsageError
from foredraft.draft.files import vocabulary_of
from foredraft.draft.shipped import SAMPLE
from foredraft.draft.successor_file import save
from foredraft.draft.successors import CONTEXTS, Context
from foredraft.models.tokenizer import Tokenizer
from foredraft.models.tokens import PlainTokens
from foredraft.train.corpus import Text, read, speaker_of

LONGEST = 3  # tokens of a context: of four a request learns its own
WIDEST = 64  # as `recycling` has them
DISCOUNT = 0.5
Counted = tuple[Context, tuple[int, ...], tuple[float, ...]]


def counted(texts: Iterable[Text], *, contexts: int, width: int) -> list[Counted]:
    """The `contexts` contexts met most often in responses, the rarest first, with their `width` likeliest successors.

    What follows the prompt's last tokens counts too. Of equals the smaller ids come first.
    """
    followed: dict[Context, Counter[int]] = defaultdict(Counter)
    for text in texts:
        said = (*text.prompt[-LONGEST:], *text.response)
        begin = len(said) - len(text.response)
        for end in range(begin, len(said)):
            for size in range(1, min(LONGEST, end) + 1):
                followed[said[end - size : end]][said[end]] += 1
    ranked = sorted(followed, key=lambda context: (-followed[context].total(), context))[:contexts]
    return [_row(context, followed[context], width) for context in reversed(ranked)]


def make(texts: Path, tokenizer: Tokenizer, out: Path, *, target: str, contexts: int, width: int) -> int:
    """Writes the table of the texts in a file; how many rows it has. Raises UsageError.

    target: who said them, where the file does not say.
    """
    if not 1 <= contexts <= CONTEXTS:
        raise UsageError(f"contexts must be from 1 to {CONTEXTS}, not {contexts}")
    if not 1 <= width <= WIDEST:
        raise UsageError(f"width must be from 1 to {WIDEST}, not {width}")
    found, speaker = read(texts), speaker_of(texts)
    _check(found, texts, tokenizer.size)
    rows, tokens = counted(found, contexts=contexts, width=width), PlainTokens(tokenizer)
    facts = {
        "target": speaker.target if speaker is not None else target,
        "texts": str(len(found)),
        "tokens": str(sum(len(text.response) for text in found)),
        "sample": vocabulary_of(tokens, SAMPLE),
        "texts_sha256": hashlib.sha256(texts.read_bytes()).hexdigest(),
    }
    save(out, rows, vocabulary_of(tokens), facts)
    return len(rows)


def _row(context: Context, counts: Counter[int], width: int) -> Counted:
    total = counts.total()
    likeliest = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:width]
    return context, tuple(token for token, _ in likeliest), tuple((n - DISCOUNT) / total for _, n in likeliest)


def _check(texts: Sequence[Text], path: Path, size: int) -> None:
    if not any(text.response for text in texts):
        raise UsageError(f"there are no texts in {path}: make some by `foredraft train data`")
    most = max(max((*text.prompt[-LONGEST:], *text.response), default=0) for text in texts)
    if most >= size:
        raise UsageError(f"{path} has token {most}, which the target's {size} tokens lack: give the model that spoke")
