"""Tokenizers: text to ids and back, with the control tokens kept apart.

What a user writes is text: a control token's literal in it is spelt out in ordinary tokens. Only `control=True`, which
chat templates use for their own part, turns literals into control ids. Both are segmented here, so a user's text can
never become structure, whatever the tokenizer library does with its added tokens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from foredraft.core.errors import UsageError, WeightsError
from foredraft.models import vocabulary
from foredraft.models.directories import read_json
from foredraft.models.gguf_header import GGUFHeader, read_header
from foredraft.models.sources import Source

# Control tokens that end a turn or a text in the families in use, by their literal.
ENDS = frozenset(
    (
        "<|im_end|>",
        "<|endoftext|>",
        "<|eot_id|>",
        "<|eom_id|>",
        "<|end_of_text|>",
        "<end_of_turn>",
        "<eos>",
        "<|end|>",
        "<|return|>",
        "</s>",
    )
)


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """core: a tokenizer without added tokens. added: literal -> id of those that control=True parses out of text, of
    which `special` are left out of decoded text; `spaces`, runs of white space, are words of any text. stop_ids: every
    id that ends the model's text. names: what templates call bos_token and eos_token.
    """

    core: tokenizers.Tokenizer
    size: int
    added: Mapping[str, int]
    special: frozenset[int]
    stop_ids: frozenset[int]
    bos: int | None = None
    add_bos: bool = False
    chat_template: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    spaces: Mapping[str, int] = field(default_factory=dict)

    @staticmethod
    def from_source(source: Source) -> Tokenizer:
        """The tokenizer that belongs to a model."""
        return from_directory(source.path) if source.kind == "hf" else from_gguf(read_header(source.path))

    def encode(self, text: str, *, control: bool = False, add_bos: bool | None = None) -> list[int]:
        """Token ids of `text`. control: literals of added tokens become ids. add_bos: None does as the model wants.

        A BOS that the text begins with (control only) is not doubled.
        """
        ids: list[int] = []
        for literal, piece in self.segments(text) if control else [(False, text)]:
            ids += [self.added[piece]] if literal else self._plain(piece)
        if (self.add_bos if add_bos is None else add_bos) and self.bos is not None and ids[:1] != [self.bos]:
            ids.insert(0, self.bos)
        return ids

    def segments(self, text: str) -> list[tuple[bool, str]]:
        """(is it the literal of an added token?, piece), in order; the longest literal wins."""
        pieces = self._literals.split(text) if self.added else [text]
        return [(piece in self.added and bool(index % 2), piece) for index, piece in enumerate(pieces) if piece]

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """The text of `ids`, nothing cleaned up. Raises UsageError for an id outside the vocabulary."""
        text: list[str] = []
        run: list[int] = []
        for token in ids:
            if not 0 <= token < self.size:
                raise UsageError(f"token id {token} is not in the vocabulary: use ids from 0 to {self.size - 1}")
            if token in self._literal_of:
                text.append(self.core.decode(run, skip_special_tokens=False) if run else "")
                text.append("" if skip_special and token in self.special else self._literal_of[token])
                run = []
            else:
                run.append(token)
        text.append(self.core.decode(run, skip_special_tokens=False) if run else "")
        return "".join(text)

    def piece(self, token: int) -> str | None:
        """The token as the vocabulary spells it; None for an id without one (padding)."""
        return self._literal_of.get(token) or self.core.id_to_token(token)

    def _plain(self, text: str) -> list[int]:
        if not self.spaces:
            return list(self.core.encode(text, add_special_tokens=False).ids)
        ids: list[int] = []
        for index, piece in enumerate(_pattern(self.spaces).split(text)):
            ids += [self.spaces[piece]] if index % 2 else self.core.encode(piece, add_special_tokens=False).ids
        return ids

    @cached_property
    def _literal_of(self) -> dict[int, str]:
        return {token: literal for literal, token in self.added.items()}

    @cached_property
    def _literals(self) -> re.Pattern[str]:
        return _pattern(self.added)


def _pattern(literals: Iterable[str]) -> re.Pattern[str]:
    """Splits text so that every other piece is a literal, the longest where several match."""
    longest_first = sorted(literals, key=len, reverse=True)
    return re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")


def from_gguf(header: GGUFHeader) -> Tokenizer:
    """The tokenizer in a GGUF file's metadata. Raises WeightsError for kinds that are not byte-level BPE."""
    found = vocabulary.read(header)
    data = header.metadata
    bos = data.get("tokenizer.ggml.bos_token_id")
    named = {data.get(f"tokenizer.ggml.{end}_token_id") for end in ("eos", "eot", "eom")}
    stop_ids = {int(token) for token in named if token is not None}
    stop_ids |= {token for literal, token in found.added.items() if literal in ENDS and token in found.control}
    return Tokenizer(
        found.core,
        found.size,
        found.added,
        found.control,
        frozenset(stop_ids),
        bos=int(bos) if bos is not None else None,
        add_bos=bool(data.get("tokenizer.ggml.add_bos_token", False)),
        chat_template=data.get("tokenizer.chat_template"),
        names=_texts(found.added, bos, data.get("tokenizer.ggml.eos_token_id")),
    )


def from_directory(folder: Path) -> Tokenizer:
    """The tokenizer of a Hugging Face directory. Raises WeightsError when it has no tokenizer.json."""
    if not (folder / "tokenizer.json").is_file():
        raise WeightsError(f"{folder} has no tokenizer.json: save the model's fast tokenizer there")
    data = read_json(folder / "tokenizer.json")
    settings = _optional(folder / "tokenizer_config.json")
    entries: list[dict[str, Any]] = data.pop("added_tokens", None) or []
    added = {str(entry["content"]): int(entry["id"]) for entry in entries}
    special = frozenset(int(entry["id"]) for entry in entries if entry.get("special"))
    adds_bos = _begins_with_bos(data.pop("post_processor", None), settings)
    core = _core(folder, data, added)
    names = {"bos": _name(settings.get("bos_token")), "eos": _name(settings.get("eos_token"))}
    bos = added.get(names["bos"] or "")
    stop_ids = _stop_ids(folder, added, special, names["eos"])
    size = max([core.get_vocab_size(with_added_tokens=True), *(token + 1 for token in added.values())])
    return Tokenizer(
        core,
        size,
        added,
        special,
        stop_ids,
        bos=bos,
        add_bos=adds_bos and bos is not None,
        chat_template=_template(folder, settings),
        names={f"{key}_token": name for key, name in names.items() if name is not None},
        spaces={literal: token for literal, token in added.items() if literal.isspace() and token not in special},
    )


def _core(folder: Path, data: dict[str, Any], added: Mapping[str, int]) -> tokenizers.Tokenizer:
    """The tokenizer without its added tokens, so that none is parsed out of plain text."""
    data["added_tokens"] = []
    try:
        return tokenizers.Tokenizer.from_str(json.dumps(data))
    except Exception as error:  # the library raises bare Exception
        raise WeightsError(f"{folder / 'tokenizer.json'} cannot be read ({error}): save the tokenizer again") from None


def _begins_with_bos(processor: Any, settings: Mapping[str, Any]) -> bool:
    """True when a raw text is to begin with BOS: the settings say so, or else the post-processor puts one there."""
    if isinstance(settings.get("add_bos_token"), bool):
        return bool(settings["add_bos_token"])
    stages = processor.get("processors", [processor]) if isinstance(processor, dict) else []
    return any(next(iter((stage or {}).get("single", [{}])), {}).keys() == {"SpecialToken"} for stage in stages)


def _stop_ids(folder: Path, added: Mapping[str, int], special: frozenset[int], eos: str | None) -> frozenset[int]:
    found = {token for literal, token in added.items() if literal in ENDS and token in special}
    for file in ("generation_config.json", "config.json"):
        value = _optional(folder / file).get("eos_token_id")
        found |= set(value if isinstance(value, list) else [] if value is None else [value])
    if eos in added:
        found.add(added[str(eos)])
    return frozenset(found)


def _template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    value = settings.get("chat_template")
    if isinstance(value, list):  # several named templates: the one for chatting
        return next((str(one["template"]) for one in value if one.get("name") == "default"), None)
    return str(value) if value is not None else None


def _texts(added: Mapping[str, int], bos: Any, eos: Any) -> dict[str, str]:
    literal_of = {token: literal for literal, token in added.items()}
    named = {"bos_token": literal_of.get(bos), "eos_token": literal_of.get(eos)}
    return {key: literal for key, literal in named.items() if literal is not None}


def _name(token: Any) -> str | None:
    """A token as settings write it: its text, or an object with its content."""
    return str(token["content"]) if isinstance(token, dict) else token if isinstance(token, str) else None


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def same_vocabulary(first: Tokenizer, second: Tokenizer) -> str | None:
    """None when both spell every id that both have alike (one may be padded further), else the first difference."""
    for token in range(min(first.size, second.size)):
        ours, theirs = first.piece(token), second.piece(token)
        if ours != theirs and ours is not None and theirs is not None:
            return f"token {token} is {ours!r} in one vocabulary and {theirs!r} in the other"
    return None
