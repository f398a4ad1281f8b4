"""Byte-level BPE vocabularies from GGUF metadata: of the gpt2, smollm, qwen2 and llama3 kinds.

The file names how text is cut before merging (`tokenizer.ggml.pre`); the patterns are those the models were trained
with, as their published tokenizer.json files state them. Tokens that are not text (control, user-defined, unused) are
left out of the tokenizer that is built, so no text can become one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

from foredraft.core.errors import WeightsError
from foredraft.models.gguf_header import GGUFHeader

# Token types of the format.
UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 2, 3, 4, 5

# The names that llama.cpp gives to cuts that are the same.
CUTS = {
    "default": "gpt-2",
    "gpt-2": "gpt-2",
    "smollm": "smollm",
    "qwen2": "qwen2",
    "deepseek-r1-qwen": "qwen2",
    "llama-bpe": "llama3",
    "llama3": "llama3",
    "llama-v3": "llama3",
}

# One word, with the contractions and the runs of space that its pattern lets through; digits singly or up to three.
CUT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """core: the tokenizer of plain text. size: ids in use; the padding behind them is not counted. added: literal -> id
    of all that is not plain text. control: ids that decode to nothing. add_bos: what files that do not say mean.
    """

    core: tokenizers.Tokenizer
    size: int
    added: Mapping[str, int]
    control: frozenset[int]
    add_bos: bool


def read(header: GGUFHeader) -> Vocabulary:
    """The vocabulary in the metadata. Raises WeightsError for what is missing or of another kind."""
    data = header.metadata
    kind, pre = data.get("tokenizer.ggml.model"), str(data.get("tokenizer.ggml.pre", "default"))
    if kind != "gpt2":
        raise WeightsError(f"{header.path} has a tokenizer of kind {kind!r}: use the model's Hugging Face directory")
    if pre not in CUTS:
        raise WeightsError(f"{header.path} cuts text as {pre!r}, unknown here: use the model's Hugging Face directory")
    words, merges = data.get("tokenizer.ggml.tokens"), data.get("tokenizer.ggml.merges")
    if not _texts(words) or not _texts(merges) or not words:
        raise WeightsError(f"{header.path} has no whole tokenizer: fetch it again")
    types = data.get("tokenizer.ggml.token_type") or [1] * len(words)
    if not isinstance(types, list) or len(types) != len(words):
        count = len(types) if isinstance(types, list) else "no list of"
        raise WeightsError(f"{header.path} has {len(words)} tokens and {count} token types: fetch it again")
    size = next((last for last in range(len(words), 0, -1) if types[last - 1] != UNUSED), 0)
    ids = {word: token for token, word in enumerate(words[:size])}
    if len(ids) != size:
        raise WeightsError(f"{header.path} has the same token twice: fetch it again")
    added = {word: token for word, token in ids.items() if types[token] in (CONTROL, USER_DEFINED, UNKNOWN)}
    control = frozenset(token for token in added.values() if types[token] != USER_DEFINED)
    plain = {word: token for word, token in ids.items() if word not in added and types[token] != UNUSED}
    # A merge that makes a token which is not text would make it of text, so it goes too.
    hidden = set(words) - plain.keys()
    pairs = [tuple(merge.split(" ", 1)) for merge in merges]
    core = _core(header, CUTS[pre], plain, [pair for pair in pairs if hidden.isdisjoint((*pair, "".join(pair)))])
    return Vocabulary(core, size, added, control, CUTS[pre] == "llama3")


def _texts(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _core(header: GGUFHeader, cut: str, ids: dict[str, int], merges: list[Any]) -> tokenizers.Tokenizer:
    try:
        core = tokenizers.Tokenizer(models.BPE(vocab=ids, merges=merges, ignore_merges=cut == "llama3"))
    except Exception as error:  # the library raises bare Exception
        raise WeightsError(f"{header.path} has a tokenizer that is not whole ({error}): fetch it again") from None
    core.decoder = decoders.ByteLevel()
    core.pre_tokenizer = _cutter(cut)
    if cut == "qwen2":
        core.normalizer = normalizers.NFC()
    return core


def _cutter(cut: str) -> pre_tokenizers.PreTokenizer:
    """What cuts text into words and spells them in bytes."""
    if cut == "gpt-2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if cut == "smollm":
        digits = pre_tokenizers.Digits(individual_digits=True)
        return pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    words = pre_tokenizers.Split(Regex(CUT % ("" if cut == "qwen2" else "{1,3}")), behavior="isolated")
    return pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
