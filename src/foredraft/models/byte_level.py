"""Byte-level BPE vocabularies from GGUF metadata: of the gpt2, smollm, qwen2 and llama3 kinds.

The file names how text is cut before merging (`tokenizer.ggml.pre`); the patterns are those the models were trained
with, as their published tokenizer.json files state them.
"""

from __future__ import annotations

from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from foredraft.core.errors import WeightsError
from foredraft.models.gguf_header import GGUFHeader
from foredraft.models.vocabulary import Vocabulary, are_texts, listing

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


def read(header: GGUFHeader) -> Vocabulary:
    """The vocabulary in the metadata. Raises WeightsError for what is missing, or cut in an unknown way."""
    pre = str(header.metadata.get("tokenizer.ggml.pre", "default"))
    if pre not in CUTS:
        raise WeightsError(f"{header.path} cuts text as {pre!r}, unknown here: use the model's Hugging Face directory")
    merges = header.metadata.get("tokenizer.ggml.merges")
    if not are_texts(merges):
        raise WeightsError(f"{header.path} has no whole tokenizer: fetch it again")
    listed = listing(header)
    # A merge that makes a token which is not text would make it of text, so it goes.
    hidden = listed.hidden
    pairs = [tuple(merge.split(" ", 1)) for merge in merges]
    kept = [pair for pair in pairs if hidden.isdisjoint(pair) and "".join(pair) not in hidden]
    cut = CUTS[pre]
    core = _core(header, cut, {**listed.normal, **listed.bytes, **listed.words}, kept)
    core.add_tokens([AddedToken(word, special=False, normalized=False) for word in listed.words])
    return Vocabulary(core, listed.size, listed.added, listed.control, cut == "llama3", listed.words)


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
