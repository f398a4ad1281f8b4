"""Token ids of real and of small vocabularies, against the published algorithms written out slowly, and transformers.

Where transformers' own reading of these files differs it is the one that is wrong, so its strings are chosen:

- it turns control literals in text into control ids, which text here never becomes;
- of SmolLM2 it does not know that digits stand alone, and of Qwen that text is composed (NFC) first, though the
  tokenizers published with both say so;
- Gemma's runs of spaces are not found as words but merged pairwise, so that 40 spaces become 16 and 24 of them and not,
  as in SentencePiece, 31 and 9.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foredraft.models.gguf_header import read_header
from foredraft.models.sources import models_folder
from foredraft.models.text import TextState
from foredraft.models.tokenizer import Tokenizer, from_gguf
from spelling import Pieces, Words
from texts import texts
from vocabularies import write_gguf

SMALL = ("gpt-2", "smollm", "qwen2", "llama-bpe")
FILES = {
    "smollm2": "SmolLM2-135M-Instruct.Q4_1.gguf",
    "qwen2.5-coder": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    "gemma3": "gemma-3-270m-q4_k_m.gguf",
}
IMAGES = ("[multimodal]", "<start_of_image>", "<end_of_image>")
"""User-defined tokens of Gemma that stand for what is no text, and so are not made of it."""


def opened(path: Path) -> tuple[Tokenizer, Words | Pieces]:
    """(ours, the slow reference)."""
    if not path.is_file():
        pytest.skip(f"{path.name} is not here")
    header = read_header(path)
    if header.metadata["tokenizer.ggml.model"] == "llama":
        return from_gguf(header), Pieces.of(header.metadata, IMAGES)
    return from_gguf(header), Words.of(header.metadata)


def literals(tokenizer: Tokenizer) -> list[str]:
    """Some of the spellings that are not text."""
    return [*[literal for literal in tokenizer.added if "unused" not in literal], *list(tokenizer.added)[:10]]


def composed(tokenizer: Tokenizer, text: str) -> str:
    """A text as its family reads it."""
    normalizer = tokenizer.core.normalizer
    return text if normalizer is None else str(normalizer.normalize_str(text))


def check(tokenizer: Tokenizer, reference: Words | Pieces, count: int, seed: int) -> None:
    structure = set(tokenizer.added.values())
    for text in texts(count, seed, literals(tokenizer)):
        ids = tokenizer.encode(text, add_bos=False)
        assert ids == reference.spell(text), text
        assert structure.isdisjoint(ids)
        assert tokenizer.decode(ids) == reference.text(ids)
        if isinstance(reference, Pieces):
            assert tokenizer.decode(ids) == text.replace("▁", " ")
        elif all(letter in reference.ids for letter in spelt_bytes(tokenizer, text)):
            assert tokenizer.decode(ids) == composed(tokenizer, text)


def spelt_bytes(tokenizer: Tokenizer, text: str) -> str:
    """The letters that stand for the bytes of a text."""
    return "".join(word for word, _ in tokenizer.core.pre_tokenizer.pre_tokenize_str(composed(tokenizer, text)))


def check_streams(tokenizer: Tokenizer, count: int, seed: int) -> None:
    for text in texts(count, seed, literals(tokenizer)):
        ids = tokenizer.encode(text, add_bos=False)
        state, pieces = TextState.of(tokenizer.decode), []
        for token in ids:
            state, piece = state.push(token)
            pieces.append(piece)
        assert "".join(pieces) + state.flush() == tokenizer.decode(ids)
        assert "\N{REPLACEMENT CHARACTER}" in tokenizer.decode(ids) or not any(
            piece.endswith("\N{REPLACEMENT CHARACTER}") for piece in pieces
        )


@pytest.mark.parametrize("family", SMALL)
def test_small_vocabularies(tmp_path: Path, family: str) -> None:
    tokenizer, reference = opened(write_gguf(tmp_path / "m.gguf", family))
    check(tokenizer, reference, 500, seed=1)
    check_streams(tokenizer, 60, seed=2)


@pytest.mark.model
def test_the_default_model() -> None:
    tokenizer, reference = opened(models_folder() / FILES["smollm2"])
    check(tokenizer, reference, 500, seed=1)
    check_streams(tokenizer, 60, seed=2)


@pytest.mark.slow
@pytest.mark.parametrize("family", SMALL)
def test_small_vocabularies_on_ten_thousand_strings(tmp_path: Path, family: str) -> None:
    tokenizer, reference = opened(write_gguf(tmp_path / "m.gguf", family))
    check(tokenizer, reference, 10_000, seed=3)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_real_vocabularies_on_ten_thousand_strings(name: str) -> None:
    tokenizer, reference = opened(models_folder() / FILES[name])
    check(tokenizer, reference, 10_000, seed=3)
    check_streams(tokenizer, 1_000, seed=4)


@pytest.mark.slow
def test_gemmas_words_are_those_of_its_vocabulary() -> None:
    tokenizer, _ = opened(models_folder() / FILES["gemma3"])
    assert (tokenizer.bos, tokenizer.add_bos, tokenizer.prefix) == (2, True, "")
    assert tokenizer.stop_ids == {1, 106}
    assert tokenizer.size == 262_144
    ids = tokenizer.encode("<table>\n\n" + " " * 40 + "x<start_of_turn>", add_bos=False)
    assert ids[:4] == [168, 108, 167, 145]
    assert 105 not in ids
    assert tokenizer.encode("<start_of_turn>user\n", control=True) == [2, 105, 2364, 107]


CHOSEN: dict[str, Callable[[str], bool]] = {
    "smollm2": lambda text: not any(letter.isnumeric() for letter in text),
    "qwen2.5-coder": lambda text: unicodedata.is_normalized("NFC", text),
    "gemma3": lambda text: " " * 32 not in text,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_transformers_reads_the_same_ids(name: str) -> None:
    transformers = pytest.importorskip("transformers")
    path = models_folder() / FILES[name]
    tokenizer, _ = opened(path)
    other: Any = transformers.AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
    compared = 0
    for text in texts(10_000, 5, literals(tokenizer)):
        if CHOSEN[name](text) and not any(literal in text for literal in tokenizer.added):
            assert tokenizer.encode(text, add_bos=False) == other.encode(text, add_special_tokens=False), text
            compared += 1
    assert compared > 3_000
