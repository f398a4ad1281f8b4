"""Small tokenizers of the families in use, as Hugging Face directories and as GGUF files with the same vocabulary."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MARKUP = ("<tool_call>", "<think>", "</think>")
CORPUS = (
    "The quick brown fox jumps over the lazy dog, doesn't it? I'll say it's 12345 times better than 678.",
    "def main(argv):\n    return [value ** 2 for value in range(100)]\n\n\nif True:\n\tmain([])\r\n",
    "Größe, naïve café, Ünïcödé e\u0301; 日本語のテキスト。 Привет мир! 👩‍👩‍👧 123",
    "<im end> im_start | im_end |> <| tool_call think endoftext" * 3,
)
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def cutter(family: str) -> Any:
    """What the published tokenizer.json of the family cuts text with."""
    if family == "gpt-2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if family == "smollm":
        spelt = pre_tokenizers.ByteLevel(add_prefix_space=False)
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), spelt])
    split = pre_tokenizers.Split(Regex(WORDS % ("" if family == "qwen2" else "{1,3}")), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


@cache
def trained(family: str) -> str:
    """tokenizer.json of a byte-level BPE with control tokens first, as SmolLM2 has them, and markup last."""
    tokenizer = tokenizers.Tokenizer(models.BPE(ignore_merges=family == "llama-bpe"))
    tokenizer.pre_tokenizer = cutter(family)
    tokenizer.decoder = decoders.ByteLevel()
    if family == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=list(CONTROL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    tokenizer.add_tokens([AddedToken(literal, special=False, normalized=False) for literal in MARKUP])
    return tokenizer.to_str()


def write_directory(folder: Path, family: str, **settings: Any) -> tokenizers.Tokenizer:
    """A directory with the tokenizer of a family; returns the library's own tokenizer, the reference."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(trained(family), encoding="utf-8")
    settings = {"bos_token": "<|im_start|>", "eos_token": {"content": "<|im_end|>"}, "add_bos_token": False} | settings
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return tokenizers.Tokenizer.from_str(trained(family))


def write_gguf(path: Path, family: str, *, padding: int = 0, **metadata: Any) -> Path:
    """A GGUF file with the same vocabulary and one small tensor. metadata: tokenizer.ggml keys, None to drop."""
    data = json.loads(trained(family))
    ids = dict(data["model"]["vocab"]) | {entry["content"]: entry["id"] for entry in data["added_tokens"]}
    special = {entry["content"]: entry["special"] for entry in data["added_tokens"]}
    words = sorted(ids, key=ids.__getitem__)
    kinds = {None: gguf.TokenType.NORMAL, True: gguf.TokenType.CONTROL, False: gguf.TokenType.USER_DEFINED}
    merges = data["model"]["merges"]
    fields: dict[str, Any] = {
        "model": "gpt2",
        "pre": family,
        "tokens": words + [f"[PAD{len(words) + at}]" for at in range(padding)],
        "token_type": [int(kinds[special.get(word)]) for word in words] + [int(gguf.TokenType.UNUSED)] * padding,
        "merges": [merge if isinstance(merge, str) else " ".join(merge) for merge in merges],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "add_bos_token": False,
    }
    return write_metadata(path, {f"tokenizer.ggml.{key}": value for key, value in (fields | metadata).items()})


GEMMA = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")
GEMMA_WORDS = ("\n", "\n\n", "\n\n\n", "  ", "   ", "\t", "<b>", "</b>", "<s>", "</s>", "<table>")
GEMMA_MARKUP = ("<start_of_image>", "[multimodal]")
GEMMA_CHAT = (
    "{{ bos_token }}{% for message in messages %}{{ '<start_of_turn>' }}"
    "{{ 'model' if message.role == 'assistant' else message.role }}\n"
    "{{ message.content | trim }}{{ '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


@cache
def pieces() -> tuple[str, ...]:
    """What a BPE of characters finds in the corpus, in the order of its merges; then the characters themselves."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="never")
    trainer = trainers.BpeTrainer(vocab_size=420, show_progress=False)
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    merges = [left + right for left, right in json.loads(tokenizer.to_str())["model"]["merges"]]
    letters = sorted(word for word in tokenizer.get_vocab() if len(word) == 1)
    return tuple(piece for piece in dict.fromkeys([*merges, *letters]) if piece not in GEMMA_WORDS)


def sentencepiece_metadata(**metadata: Any) -> dict[str, Any]:
    """GGUF metadata of a small vocabulary as Gemma's: control, user-defined, bytes, pieces. metadata: None to drop."""
    spelt = tuple(f"<0x{byte:02X}>" for byte in range(256))
    sorts = [(GEMMA, 3), (GEMMA_WORDS + GEMMA_MARKUP, 4), (spelt, 6), (pieces(), 1), (("[PAD1]", "[PAD2]"), 5)]
    types = [kind for words, kind in sorts for _ in words]
    fields: dict[str, Any] = {
        "model": "llama",
        "pre": "default",
        "tokens": [word for words, _ in sorts for word in words],
        "token_type": types,
        "scores": [-float(at) if kind == 1 else 0.0 if kind == 6 else -1000.0 for at, kind in enumerate(types)],
        "bos_token_id": 2,
        "eos_token_id": 1,
        "unknown_token_id": 3,
        "add_space_prefix": False,
    }
    named = {f"tokenizer.ggml.{key}": value for key, value in (fields | metadata).items()}
    return {key: value for key, value in named.items() if value is not None}


def write_metadata(path: Path, metadata: dict[str, Any], architecture: str = "llama") -> Path:
    """A GGUF file with these keys (None: left out) and one tensor of 4 by 32 zeros."""
    import numpy as np

    writer = gguf.GGUFWriter(path, architecture)
    for key, value in metadata.items():
        match value:
            case bool():
                writer.add_bool(key, value)
            case int():
                writer.add_uint32(key, value)
            case str():
                writer.add_string(key, value)
            case list():
                writer.add_array(key, value)
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
