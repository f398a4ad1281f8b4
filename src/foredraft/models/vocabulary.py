"""Byte-level BPE vocabularies from GGUF metadata: of the gpt2, smollm, qwen2 and llama3 kinds.

The file names how text is cut before merging (`tokenizer.ggml.pre`); the patterns are those the models were trained
with, as their published tokenizer.json files state them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

from foredraft.core.errors import WeightsError
from foredraft.models.gguf_header import GGUFHeader

# Token types of the format.
UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 2, 3, 4, 5

# One word, with the contractions and the runs of space that its pattern lets through; digits singly or up to three.
CUT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """core: the tokenizer without added tokens. added: literal -> id. control: ids that are not text."""

    core: tokenizers.Tokenizer
    size: int
    added: Mapping[str, int]
    control: frozenset[int]


def read(header: GGUFHeader) -> Vocabulary:
    """The vocabulary in the metadata. Raises WeightsError for what is missing or of another kind."""
    data = header.metadata
    kind = data.get("tokenizer.ggml.model")
    if kind != "gpt2":
        raise WeightsError(f"{header.path} has a tokenizer of kind {kind!r}: use the model's Hugging Face directory")
    words, merges = data.get("tokenizer.ggml.tokens"), data.get("tokenizer.ggml.merges")
    if not isinstance(words, list) or not isinstance(merges, list) or not words:
        raise WeightsError(f"{header.path} has no whole tokenizer: fetch it again")
    types = data.get("tokenizer.ggml.token_type") or [1] * len(words)
    if len(types) != len(words):
        raise WeightsError(f"{header.path} has {len(words)} tokens and {len(types)} token types: fetch it again")
    ids = {word: token for token, word in enumerate(words)}
    if len(ids) != len(words):
        raise WeightsError(f"{header.path} has the same token twice: fetch it again")
    added = {word: token for word, token in ids.items() if types[token] in (CONTROL, USER_DEFINED, UNKNOWN)}
    control = frozenset(token for token in added.values() if types[token] != USER_DEFINED)
    core = _core(header, ids, [tuple(merge.split(" ", 1)) for merge in merges])
    return Vocabulary(core, len(words), added, control)


def _core(header: GGUFHeader, ids: dict[str, int], merges: list[Any]) -> tokenizers.Tokenizer:
    pre = str(header.metadata.get("tokenizer.ggml.pre", "default"))
    try:
        core = tokenizers.Tokenizer(models.BPE(vocab=ids, merges=merges, ignore_merges=pre == "llama-bpe"))
    except Exception as error:  # the library raises bare Exception
        raise WeightsError(f"{header.path} has a tokenizer that is not whole ({error}): fetch it again") from None
    core.decoder = decoders.ByteLevel()
    if pre in ("default", "gpt-2"):
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    elif pre == "smollm":
        cuts = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        core.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    elif pre in ("qwen2", "llama-bpe"):
        pattern = Regex(CUT % ("" if pre == "qwen2" else "{1,3}"))
        split = pre_tokenizers.Split(pattern, behavior="isolated")
        plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        core.pre_tokenizer = pre_tokenizers.Sequence([split, plain])
        if pre == "qwen2":
            core.normalizer = normalizers.NFC()
    else:
        raise WeightsError(f"{header.path} cuts text as {pre!r}, unknown here: use the model's Hugging Face directory")
    return core
