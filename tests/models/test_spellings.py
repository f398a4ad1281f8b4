"""The bytes of tokens: whatever the vocabulary, they join to what the tokenizer decodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tokenizers

from foredraft.core.errors import UsageError
from foredraft.models.gguf_header import read_header
from foredraft.models.sources import resolve
from foredraft.models.spellings import plain_ids, spellings
from foredraft.models.tokenizer import Tokenizer, from_directory, from_gguf
from vocabularies import CORPUS, sentencepiece_metadata, write_directory, write_gguf, write_metadata

FAMILIES = ("gpt-2", "smollm", "qwen2", "llama-bpe", "gemma", "llama", "directory")


def tokenizer_of(family: str, folder: Path) -> Tokenizer:
    if family == "directory":
        write_directory(folder, "qwen2")
        return from_directory(folder)
    if family in ("gemma", "llama"):
        more = {"tokenizer.ggml.add_space_prefix": family == "llama"}
        return from_gguf(read_header(write_metadata(folder / "x.gguf", sentencepiece_metadata() | more)))
    return from_gguf(read_header(write_gguf(folder / "x.gguf", family, padding=3)))


def check(tokenizer: Tokenizer, padding: int = 0) -> None:
    """Random tokens, and the tokens of real text."""
    generator = np.random.default_rng(2)
    spelt = spellings(tokenizer, tokenizer.size + padding)
    assert spelt[tokenizer.size :] == [b""] * padding
    assert [spelt[token] for token in tokenizer.added.values()] == [literal.encode() for literal in tokenizer.added]
    plain = sorted(set(range(tokenizer.size)) - set(tokenizer.added.values()))
    texts = [[int(token) for token in generator.choice(plain, size=3)] for _ in range(1000)]
    compared = 0
    for ids in [*texts, *(plain_ids(tokenizer, text) for text in CORPUS)]:
        joined = b"".join(spelt[token] for token in ids).decode("utf-8", "replace")
        decoded = tokenizer.decode(ids)
        if "\N{REPLACEMENT CHARACTER}" not in joined + decoded:  # broken bytes are shown in more than one way
            # A tokenizer that puts a space before a text takes one away when it decodes.
            assert joined == decoded or (tokenizer.prefix and joined == " " + decoded), (joined, decoded)
            compared += 1
    assert compared > 100


@pytest.mark.parametrize("family", FAMILIES)
def test_spellings_join_to_the_decoded_text(family: str, tmp_path: Path) -> None:
    check(tokenizer_of(family, tmp_path), padding=5)


@pytest.mark.parametrize("family", FAMILIES)
def test_text_in_the_middle_is_spelt_without_a_space_before_it(family: str, tmp_path: Path) -> None:
    tokenizer = tokenizer_of(family, tmp_path)
    spelt = spellings(tokenizer, tokenizer.size)
    for text in ("quick", " quick", "brown fox", "123"):
        assert b"".join(spelt[token] for token in plain_ids(tokenizer, text)).decode() == text


def test_other_kinds_are_refused(tmp_path: Path) -> None:
    words = tokenizers.Tokenizer(tokenizers.models.WordPiece({"[UNK]": 0, "a": 1, "##b": 2}, unk_token="[UNK]"))
    words.decoder = tokenizers.decoders.WordPiece()
    words.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UsageError, match="choose another model"):
        spellings(from_directory(tmp_path), 3)


@pytest.mark.model
def test_the_default_model() -> None:
    check(Tokenizer.from_source(resolve("smollm2", None)))
