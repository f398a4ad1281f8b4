"""SentencePiece BPE vocabularies from GGUF metadata: of the llama, mistral and gemma kinds.

SentencePiece spells a text in characters and joins the two neighbours whose union is the piece of the best score, the
leftmost of equals, until no union is a piece; characters that are no piece fall back to their bytes. The tokenizers
library wants merges instead: which two parts become one, in order. Whatever surrounds a piece, it is joined from the
same two parts, since all joins before happened inside it and nothing outside can change their order. So its merge is
the last join when it is spelt alone, and one merge a piece, the best score first, says all there is to say; a merge for
every way to split it would not: which of them comes first cannot depend on where they are in the text.

What cannot be said: pieces of equal score go by their order in the vocabulary instead of their place in the text, and a
piece with a character that is none is never joined. No published vocabulary has either.

Source: Kudo and Richardson, SentencePiece (2018); Sennrich et al. (2016) for BPE.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers

from foredraft.core.errors import WeightsError
from foredraft.models.gguf_header import GGUFHeader
from foredraft.models.vocabulary import SPACE, Listing, Vocabulary, listing

BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))

NONE = -math.inf
"""The score of what is no piece."""

LONGEST = 500_000_000
"""What the squares of the pieces' lengths may add up to: thirty times Gemma's, and still a matter of seconds."""


def read(header: GGUFHeader) -> Vocabulary:
    """The vocabulary in the metadata. Raises WeightsError for what is missing or does not fit together."""
    data = header.metadata
    scores, types = data.get("tokenizer.ggml.scores"), data.get("tokenizer.ggml.token_type")
    listed = listing(header)
    if not _are_numbers(scores) or not types or len(scores) != len(types):
        raise WeightsError(f"{header.path} has no whole tokenizer: fetch it again")
    if data.get("tokenizer.ggml.precompiled_charsmap"):
        raise WeightsError(f"{header.path} rewrites text before it is cut: use the model's Hugging Face directory")
    if sum(len(piece) ** 2 for piece in listed.normal) > LONGEST:
        raise WeightsError(f"{header.path} has tokens far longer than words: fetch it again")
    prefix = " " if data.get("tokenizer.ggml.add_space_prefix", True) else ""
    core = _core(header, listed, {piece: scores[token] for piece, token in listed.normal.items()}, prefix)
    return Vocabulary(core, listed.size, listed.added, listed.control, add_bos=True, prefix=prefix)


def _are_numbers(value: Any) -> TypeGuard[list[float]]:
    return isinstance(value, list) and all(isinstance(one, float | int) and math.isfinite(one) for one in value)


def _core(header: GGUFHeader, listed: Listing, scores: Mapping[str, float], prefix: str) -> tokenizers.Tokenizer:
    # The format spells spaces in user-defined tokens as spaces, and in all others as SentencePiece does.
    words = {word.replace(" ", SPACE): token for word, token in listed.words.items()}
    ids = {**listed.normal, **listed.bytes, **words}
    unknown = None if all(byte in listed.bytes for byte in BYTES) else _unknown(header, listed)
    if unknown is not None:
        ids[unknown] = listed.added[unknown]
    try:
        model = models.BPE(vocab=ids, merges=merges(scores), byte_fallback=True, unk_token=unknown, fuse_unk=True)
    except Exception as error:  # the library raises bare Exception
        raise WeightsError(f"{header.path} has a tokenizer that is not whole ({error}): fetch it again") from None
    core = tokenizers.Tokenizer(model)
    core.normalizer = normalizers.Replace(" ", SPACE)
    core.add_tokens([AddedToken(word, special=False, normalized=True) for word in words])
    spelt = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    core.decoder = decoders.Sequence([*spelt, decoders.Strip(" ", 1, 0)] if prefix else spelt)
    return core


def _unknown(header: GGUFHeader, listed: Listing) -> str:
    """The token of characters that the vocabulary cannot spell."""
    token = header.metadata.get("tokenizer.ggml.unknown_token_id", 0)
    literal = next((literal for literal, one in listed.added.items() if one == token), None)
    if literal is None:
        raise WeightsError(f"{header.path} can spell neither every byte nor what is unknown: fetch it again")
    return literal


def merges(scores: Mapping[str, float]) -> list[tuple[str, str]]:
    """The merges that stand for `scores`, in order: of each piece that spelling leads to, its two last parts."""
    best_first = sorted(scores, key=scores.__getitem__, reverse=True)
    found = (last_join(piece, scores) for piece in best_first if len(piece) > 1)
    return [pair for pair in found if pair is not None]


def last_join(piece: str, scores: Mapping[str, float]) -> tuple[str, str] | None:
    """The two parts that spelling `piece` joins last; None when spelling does not end in it."""
    parts = list(piece)
    if not all(map(scores.__contains__, parts)):
        return None
    score = scores.get
    unions = [score(left + right, NONE) for left, right in zip(parts, parts[1:])]
    while len(unions) > 1:
        best = max(unions)
        if best == NONE:
            return None
        at = unions.index(best)  # the leftmost of equals
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
        del unions[at]
        if at > 0:
            unions[at - 1] = score(parts[at - 1] + parts[at], NONE)
        if at < len(unions):
            unions[at] = score(parts[at] + parts[at + 1], NONE)
    return parts[0], parts[1]
