"""Tokenizers of Hugging Face directories: settings, added tokens and odd files, as the library reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers

from foredraft.core.errors import WeightsError
from foredraft.models.sources import Source
from foredraft.models.text import TextState
from foredraft.models.tokenizer import Tokenizer, from_directory
from vocabularies import CONTROL, CORPUS, MARKUP, trained, write_directory


def write_spaced(folder: Path, prepend: str = "first", **added: Any) -> tokenizers.Tokenizer:
    """A tokenizer as Llama's and Mistral's: words begin with a space mark, bytes are the fall-back."""
    words = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        *"abcdehilnrt",
        "▁a",
        "▁the",
        "th",
    ]
    words += ["the"]
    merges = [("▁", "a"), ("t", "h"), ("th", "e"), ("▁", "the")]
    ids = {word: token for token, word in enumerate(words)}
    library = tokenizers.Tokenizer(models.BPE(ids, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if prepend == "normalizer":
        library.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        library.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme=prepend, split=False)
    stages = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    library.decoder = decoders.Sequence(stages)
    library.add_special_tokens([AddedToken(word, normalized=False) for word in ("<unk>", "<s>", "</s>")])
    library.add_tokens([AddedToken("[INST]", special=False, normalized=False, **added)])
    library.add_tokens([AddedToken("\n\n", special=False, normalized=False)])
    folder.mkdir(exist_ok=True)
    library.save(str(folder / "tokenizer.json"))
    settings = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return library


@pytest.mark.parametrize("prepend", ["first", "always", "never", "normalizer"])
@pytest.mark.parametrize("added", [{}, {"rstrip": True}, {"lstrip": True}])
def test_spaces_around_control_tokens_follow_the_library(tmp_path: Path, prepend: str, added: dict[str, bool]) -> None:
    reference = write_spaced(tmp_path, prepend, **added)
    ours = from_directory(tmp_path)
    for text in ("the a", " the", "<s>the a</s> the", "a [INST] the [INST]the", "the\n\na\n\n\n the", "", "[INST]  "):
        parsed = reference.encode(text, add_special_tokens=False).ids
        assert ours.encode(text, control=True, add_bos=False) == parsed, text
        assert ours.decode(parsed) == reference.decode(parsed, skip_special_tokens=True)
        assert ours.decode(parsed, skip_special=False) == reference.decode(parsed, skip_special_tokens=False)


@given(st.lists(st.integers(0, 283), max_size=40))
@example([1, 260, 5, 271, 2, 272, 272])
def test_streams_of_a_spaced_vocabulary_equal_decode(tmp_path_factory: pytest.TempPathFactory, ids: list[int]) -> None:
    folder = tmp_path_factory.getbasetemp() / "spaced"
    if not folder.exists():
        write_spaced(folder)
    ours = from_directory(folder)
    ids = [token for token in ids if token < ours.size and not 3 <= token < 131]  # bytes over 127 would be broken
    ids = [token for token in ids if not 131 <= token < 259]
    state, streamed = TextState.of(ours.decode), ""
    for token in ids:
        state, piece = state.push(token)
        streamed += piece
    assert streamed + state.flush() == ours.decode(ids)


def test_special_words_of_other_kinds_of_tokenizer_are_text_too(tmp_path: Path) -> None:
    words = {"[UNK]": 0, "</s>": 1, "hello": 2, "gap": 9}
    library = tokenizers.Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    library.enable_truncation(2)
    library.enable_padding(length=8)
    library.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"eos_token": {"content": "</s>"}}))
    ours = from_directory(tmp_path)
    assert ours.encode("hello </s> hello hello") == [2, 0, 2, 2]
    assert ours.encode("hello</s>", control=True) == [2, 1]
    assert ours.decode([2, 1]) == "hello"
    assert (ours.size, ours.stop_ids) == (10, {1})


def test_unigram_pieces_that_are_control_tokens_are_not_made_of_text(tmp_path: Path) -> None:
    pieces = [("<unk>", 0.0), ("</s>", 0.0), *((letter, -3.0) for letter in "</s>"), ("a", -1.0)]
    library = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=0))
    library.add_special_tokens(["<unk>", "</s>"])
    library.save(str(tmp_path / "tokenizer.json"))
    ours = from_directory(tmp_path)
    assert ours.encode("a</s>") == [6, 2, 3, 4, 5]
    assert 1 not in ours.encode("a\x001b")  # nor of what stands in for it
    assert ours.encode("a</s>", control=True) == [6, 1]
    assert ours.decode([6, 1], skip_special=False).replace(" ", "") == "a</s>"


@pytest.mark.parametrize("normalized", [False, True])
def test_added_tokens_that_are_text_are_found_in_any_text(tmp_path: Path, normalized: bool) -> None:
    library = tokenizers.Tokenizer.from_str(trained("gpt-2"))
    words = ("   ", "\n\n\n\n", "<table>", "</h1>", "brown fox", "\u2581\u2581", "é")
    library.add_tokens([AddedToken(word, special=False, normalized=normalized) for word in words])
    library.save(str(tmp_path / "tokenizer.json"))
    ours = from_directory(tmp_path)
    assert set(ours.added) == {*CONTROL, *MARKUP}
    assert ours.size == library.get_vocab_size()
    for text in (
        *CORPUS,
        *words,
        "a   \n\n\n\n\n<table><h1>quick brown fox</h1>\u2581\u2581\u2581é",
        "<table>",
        "<ta ble>",
    ):
        ids = ours.encode(text)
        assert ids == library.encode(text).ids
        assert ours.decode(ids) == text
    assert [ours.piece(token) for token in ours.encode("<table>\n")][0] == "<table>"


def test_settings_add_what_the_tokenizer_file_lacks(tmp_path: Path) -> None:
    extra = {"500": {"content": "<|eot_id|>", "special": True}, "2": {"content": "ignored"}}
    write_directory(tmp_path, "qwen2", added_tokens_decoder=extra, chat_template="old")
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 7, 9999]}))
    (tmp_path / "config.json").write_text(json.dumps({"text_config": {"eos_token_id": 8}}))
    ours = from_directory(tmp_path)
    assert ours.encode("<|eot_id|>", control=True) == [500]
    assert ours.size == 501
    assert ours.stop_ids == {0, 2, 7, 8, 500}  # 9999 is no id
    assert ours.chat_template == "old"
    (tmp_path / "chat_template.jinja").write_text("new")
    assert from_directory(tmp_path).chat_template == "new"


def test_of_several_templates_the_default_is_taken(tmp_path: Path) -> None:
    write_directory(
        tmp_path, "qwen2", chat_template=[{"name": "tool", "template": "t"}, {"name": "default", "template": "d"}]
    )
    assert from_directory(tmp_path).chat_template == "d"


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"added_tokens": [{}]}', '{"added_tokens": 3, "model": {}}'])
def test_garbled_tokenizers_are_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(WeightsError, match="again"):
        from_directory(tmp_path)


def test_a_directory_without_tokenizer_json_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="save the model's fast tokenizer there"):
        Tokenizer.from_source(Source("m", tmp_path, "hf"))
