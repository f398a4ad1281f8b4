"""Tokenizers: text to ids and back, with the control tokens kept apart.

What a user writes is text: a control token's literal in it is spelt out in ordinary tokens. Only `control=True`, which
chat templates use for their own part, turns literals into control ids. Both are segmented here, so a user's text can
never become structure, whatever the tokenizer library does with its added tokens.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeGuard

import tokenizers
from tokenizers import decoders

from foredraft.core.errors import UsageError, WeightsError
from foredraft.models import byte_level, sentencepiece, tokenizer_cache
from foredraft.models.directories import read_json
from foredraft.models.gguf_header import GGUFHeader, read_header
from foredraft.models.sources import Source
from foredraft.models.vocabulary import ENDS, is_text

KINDS = {"gpt2": byte_level.read, "llama": sentencepiece.read}
"""`tokenizer.ggml.model` -> what reads such a vocabulary."""

WORTH_KEEPING = 10_000
"""Tokens that a vocabulary must have to be kept on disk: smaller ones are built as fast as they are read."""

# Ids that were put by for later: padding of the vocabulary to a round size, and control tokens without a use yet.
RESERVED = re.compile(r"\[PAD\d+\]|<unused_?\d+>|<\|(reserved|dummy|extra|placeholder|unused)\w*\|>")


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """core: a tokenizer of plain text. added: literal -> id of what is not text, which control=True parses out of it;
    the `special` are left out of decoded text. strips: literal -> does it swallow the white space (before, after) it?
    stop_ids: every id that ends the model's text. names: what templates call bos_token and eos_token. words: literal ->
    id of added tokens that `core` finds in any text, but cannot decode. prefix: what is put before every piece of
    text. rest: `core` for text that is not the beginning.
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
    strips: Mapping[str, tuple[bool, bool]] = field(default_factory=dict)
    words: Mapping[str, int] = field(default_factory=dict)
    prefix: str = ""
    rest: tokenizers.Tokenizer | None = None

    @staticmethod
    def from_source(source: Source) -> Tokenizer:
        """The tokenizer that belongs to a model; that of a GGUF file is kept once built (`tokenizer_cache`)."""
        return from_directory(source.path) if source.kind == "hf" else _kept(source.path)

    def encode(self, text: str, *, control: bool = False, add_bos: bool | None = None) -> list[int]:
        """Token ids of `text`. control: literals of added tokens become ids. add_bos: None does as the model wants.

        A BOS that the text begins with (control only) is not doubled.
        """
        ids = self.join(self.segments(text) if control else [(False, text)])
        if (self.add_bos if add_bos is None else add_bos) and self.bos is not None and ids[:1] != [self.bos]:
            ids.insert(0, self.bos)
        return ids

    def segments(self, text: str, *, strip: bool = True) -> list[tuple[bool, str]]:
        """(is it the literal of an added token?, piece), in order; the longest literal wins.

        strip: without the white space that a literal swallows.
        """
        pieces = self._split(text)
        for index, literal in enumerate(pieces):
            before, after = self.strips.get(literal, (False, False)) if strip and index % 2 else (False, False)
            if before:
                pieces[index - 1] = pieces[index - 1].rstrip()
            if after:
                pieces[index + 1] = pieces[index + 1].lstrip()
        return [(bool(index % 2), piece) for index, piece in enumerate(pieces) if piece]

    def _split(self, text: str) -> list[str]:
        """Pieces of `text`, every other one a literal, the longest where several match."""
        pieces, begin, at = list[str](), 0, 0
        while self._lengths and (found := self._starts.search(text, at)):
            at = found.start()
            length = next((one for one in self._lengths[text[at]] if text[at : at + one] in self._structure), 0)
            length = min(length, len(text) - at)  # a shorter literal may be all that is left
            if length:
                pieces += [text[begin:at], text[at : at + length]]
                begin = at + length
            at += length or 1
        return [*pieces, text[begin:]]

    def begins_literal(self, text: str) -> bool:
        """Whether `text` ends in the beginning of a literal that `segments` would find."""
        longest = max(map(len, self._beginnings), default=0)
        return any(text[-length:] in self._beginnings for length in range(1, min(longest, len(text)) + 1))

    def join(self, segments: Iterable[tuple[bool, str]]) -> list[int]:
        """The ids of segments: of a literal its id, of anything else the tokens that spell it."""
        ids: list[int] = []
        for index, (literal, piece) in enumerate(segments):
            ids += [self.added[piece]] if literal else self._plain(piece, self.core if not index else self.rest)
        return ids

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """The text of `ids`, nothing cleaned up. Raises UsageError for an id outside the vocabulary."""
        text, run = "", list[int]()
        for token in ids:
            if not 0 <= token < self.size:
                raise UsageError(f"token id {token} is not in the vocabulary: use ids from 0 to {self.size - 1}")
            literal = self._literal_of.get(token)
            if literal is None:
                run.append(token)
            elif not (skip_special and token in self.special):
                text += self._run(run, bool(text)) + literal
                run = []
        return text + self._run(run, bool(text))

    def piece(self, token: int) -> str | None:
        """The token as the vocabulary spells it; None for an id without one (padding)."""
        return self._literal_of.get(token) or self.core.id_to_token(token)

    def _plain(self, text: str, core: tokenizers.Tokenizer | None) -> list[int]:
        if not text:
            return []
        if not text.isascii():  # half of a surrogate pair is no character, and the library takes none
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return list((core or self.core).encode(self.prefix + text, add_special_tokens=False).ids)

    def _run(self, run: list[int], inside: bool) -> str:
        """Text of plain tokens. Some decoders drop a space at the beginning, which is none when text came before."""
        if not run:
            return ""
        if not inside and len(run) == 1:  # every token of a text is decoded by itself when the next one comes
            found = self._alone.get(run[0])
            if found is None:
                found = self._alone[run[0]] = str(self.core.decode(run, skip_special_tokens=False))
            return found
        if not inside or self._letter is None:
            return str(self.core.decode(run, skip_special_tokens=False))
        letter = self.core.decode([self._letter], skip_special_tokens=False)
        return str(self.core.decode([self._letter, *run], skip_special_tokens=False)).removeprefix(letter)

    @cached_property
    def _alone(self) -> dict[int, str]:
        """The texts of single tokens that were asked for."""
        return {}

    @cached_property
    def _letter(self) -> int | None:
        return self.core.token_to_id("a")

    @cached_property
    def _literal_of(self) -> dict[int, str]:
        return {token: literal for literal, token in [*self.words.items(), *self.added.items()]}

    @cached_property
    def _structure(self) -> frozenset[str]:
        # A single character cannot be broken by a marker, so it is never structure.
        return frozenset(literal for literal in self.added if len(literal) > 1)

    @cached_property
    def _lengths(self) -> dict[str, list[int]]:
        """First character of literals -> their lengths, the longest first."""
        # Not a pattern of all literals: some vocabularies have thousands, which takes long to compile and to match.
        found: dict[str, set[int]] = {}
        for literal in self._structure:
            found.setdefault(literal[0], set()).add(len(literal))
        return {first: sorted(lengths, reverse=True) for first, lengths in found.items()}

    @cached_property
    def _starts(self) -> re.Pattern[str]:
        return re.compile("[" + re.escape("".join(self._lengths)) + "]")

    @cached_property
    def _beginnings(self) -> frozenset[str]:
        return frozenset(literal[:end] for literal in self._structure for end in range(1, len(literal)))


def from_gguf(header: GGUFHeader) -> Tokenizer:
    """The tokenizer in a GGUF file's metadata. Raises WeightsError for kinds that are not known here."""
    data = header.metadata
    kind = data.get("tokenizer.ggml.model")
    if not isinstance(kind, str) or kind not in KINDS:
        raise WeightsError(f"{header.path} has a tokenizer of kind {kind!r}: use the model's Hugging Face directory")
    found = KINDS[kind](header)
    named = {end: data.get(f"tokenizer.ggml.{end}_token_id") for end in ("bos", "eos", "eot", "eom")}
    ids = {end: token for end, token in named.items() if _is_id(token, found.size)}
    literal_of = {token: literal for literal, token in found.added.items()}
    template = data.get("tokenizer.chat_template")
    return Tokenizer(
        found.core,
        found.size,
        found.added,
        found.control,
        _ends(found.added, found.control) | {token for end, token in ids.items() if end != "bos"},
        bos=ids.get("bos"),
        add_bos=bool(data.get("tokenizer.ggml.add_bos_token", found.add_bos)) and "bos" in ids,
        chat_template=template if isinstance(template, str) else None,
        names={f"{end}_token": literal_of[ids[end]] for end in ("bos", "eos") if ids.get(end) in literal_of},
        words=found.words,
        prefix=found.prefix,
    )


def _kept(path: Path) -> Tokenizer:
    """The tokenizer of a GGUF file, from the cache where it is there, put there where it is not."""
    entry = tokenizer_cache.load(path)
    if entry is not None:
        sets = {name: frozenset(entry.fields[name]) for name in ("special", "stop_ids")}
        return Tokenizer(entry.core, **(entry.fields | sets))
    before = tokenizer_cache.stamp(path)
    header = read_header(path)
    made = from_gguf(header)
    if made.size >= WORTH_KEEPING and header.tensors:
        fields = {one.name: getattr(made, one.name) for one in dataclasses.fields(made)}
        del fields["core"], fields["rest"], fields["strips"]  # a GGUF file has none of the last two
        fields |= {name: sorted(fields[name]) for name in ("special", "stop_ids")}
        length = min(tensor.offset for tensor in header.tensors)
        tokenizer_cache.save(path, before, length, tokenizer_cache.Entry(made.core, fields))
    return made


def from_directory(folder: Path) -> Tokenizer:
    """The tokenizer of a Hugging Face directory. Raises WeightsError when it has no tokenizer.json."""
    if not (folder / "tokenizer.json").is_file():
        raise WeightsError(f"{folder} has no tokenizer.json: save the model's fast tokenizer there")
    try:
        return _of_directory(folder)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"{folder} has a garbled tokenizer ({error}): fetch the model again") from error


def _of_directory(folder: Path) -> Tokenizer:
    data = read_json(folder / "tokenizer.json")
    settings = _optional(folder / "special_tokens_map.json") | _optional(folder / "tokenizer_config.json")
    template = _template(folder, settings)
    listed = _entries(data, settings)
    words = [one for one in listed if not one["special"] and is_text(str(one["content"]), template or "")]
    entries = [one for one in listed if one not in words]
    added = {str(entry["content"]): int(entry["id"]) for entry in entries}
    special = frozenset(int(entry["id"]) for entry in entries if entry["special"])
    adds_bos = _begins_with_bos(data.get("post_processor"), settings)
    core, rest = _cores(folder, data, added.keys(), words)
    names = {end: name for end in ("bos", "eos") if (name := _name(settings.get(f"{end}_token"))) is not None}
    ids = {end: added.get(name, core.token_to_id(name)) for end, name in names.items()}
    named = {ids.get("eos"), *_named_ends(folder)} - {None}
    size = 1 + max([*core.get_vocab(with_added_tokens=False).values(), *added.values()])
    return Tokenizer(
        core,
        size,
        added,
        special,
        _ends(added, special) | {token for token in named if _is_id(token, size)},
        bos=ids.get("bos"),
        add_bos=adds_bos and ids.get("bos") is not None,
        chat_template=template,
        names={f"{end}_token": name for end, name in names.items()},
        strips={str(one["content"]): (bool(one.get("lstrip")), bool(one.get("rstrip"))) for one in entries},
        # Such a decoder takes letters of an added token for bytes.
        words={str(one["content"]): int(one["id"]) for one in words if isinstance(core.decoder, decoders.ByteLevel)},
        rest=rest,
    )


def _entries(data: Mapping[str, Any], settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The added tokens: those of tokenizer.json, those that only the settings list, and BOS and EOS in any case."""
    entries = {int(entry["id"]): dict(entry) for entry in data.get("added_tokens") or []}
    more = settings.get("added_tokens_decoder")
    for token, entry in more.items() if isinstance(more, dict) else ():
        entries.setdefault(int(token), {**entry, "id": int(token)})
    words: Any = (data.get("model") or {}).get("vocab")
    ends = {_name(settings.get("bos_token")), _name(settings.get("eos_token"))}
    for name in ends & words.keys() if isinstance(words, dict) else ():
        entries.setdefault(int(words[name]), {"id": words[name], "content": name})
    return [entry | {"special": bool(entry.get("special")) or entry["content"] in ends} for entry in entries.values()]


def _cores(
    folder: Path, data: dict[str, Any], hidden: Set[str], words: list[dict[str, Any]]
) -> tuple[tokenizers.Tokenizer, tokenizers.Tokenizer | None]:
    """The tokenizer of plain text, which makes none of the `hidden` tokens, and the one for later pieces if it differs.
    words: added tokens that are found in any text.

    Both neither cut, pad nor add anything, whatever the file asks for.
    """
    model: dict[str, Any] = data["model"] if isinstance(data.get("model"), dict) else {}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    plain = data | {"added_tokens": [flags | word for word in words]}
    plain |= {"truncation": None, "padding": None, "post_processor": None}
    plain["model"] = _without(model, hidden - {model.get("unk_token")})
    if isinstance(plain["model"].get("vocab"), dict):  # where an added token is no word of it, it may get another id
        plain["model"]["vocab"] |= {word["content"]: word["id"] for word in words}
    # Some vocabularies write a space before the first word only, so a piece after a control token gets none.
    rest = json.loads(json.dumps(plain["pre_tokenizer"])) if plain.get("pre_tokenizer") else None
    stages = rest.get("pretokenizers", [rest]) if isinstance(rest, dict) else []
    first_only = [stage for stage in stages if stage.get("prepend_scheme") == "first"]
    for stage in first_only:
        stage["prepend_scheme"] = "never"
    try:
        core = tokenizers.Tokenizer.from_str(json.dumps(plain))
        later = tokenizers.Tokenizer.from_str(json.dumps(plain | {"pre_tokenizer": rest})) if first_only else None
    except Exception as error:  # the library raises bare Exception
        raise WeightsError(f"{folder / 'tokenizer.json'} cannot be read ({error}): save the tokenizer again") from None
    return core, later


def _without(model: dict[str, Any], hidden: Set[str]) -> dict[str, Any]:
    """The model of a tokenizer without some of its words: text must not become one even where the model knows it."""
    words = model.get("vocab")
    if isinstance(words, list):  # pairs of a word and its score, found by place: one that nobody can guess takes it
        kept = [
            [os.urandom(16).hex() if word in hidden and at != model.get("unk_id") else word, score]
            for at, (word, score) in enumerate(words)
        ]
        return model | {"vocab": kept}
    if not isinstance(words, dict) or hidden.isdisjoint(words):
        return model
    model = model | {"vocab": {word: token for word, token in words.items() if word not in hidden}}
    if model.get("merges"):
        pairs = [tuple(pair.split(" ", 1)) if isinstance(pair, str) else tuple(pair) for pair in model["merges"]]
        model["merges"] = [list(pair) for pair in pairs if hidden.isdisjoint((*pair, "".join(pair)))]
    return model


def _begins_with_bos(processor: Any, settings: Mapping[str, Any]) -> bool:
    """True when a raw text is to begin with BOS: the settings say so, or else the post-processor puts one there."""
    if isinstance(settings.get("add_bos_token"), bool):
        return bool(settings["add_bos_token"])
    stages = processor.get("processors", [processor]) if isinstance(processor, dict) else []
    return any(next(iter((stage or {}).get("single", [{}])), {}).keys() == {"SpecialToken"} for stage in stages)


def _named_ends(folder: Path) -> set[Any]:
    """What the model's own settings call the end: one id or several."""
    config = _optional(folder / "config.json")
    found: set[Any] = set()
    for place in (_optional(folder / "generation_config.json"), config, config.get("text_config")):
        value = place.get("eos_token_id") if isinstance(place, dict) else None
        found |= set(value) if isinstance(value, list) else {value}
    return found


def _is_id(value: Any, size: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < size


def _ends(added: Mapping[str, int], special: Set[int]) -> frozenset[int]:
    """The control tokens that are known to end a turn or a text."""
    # Where a turn ends with <|return|>, <|end|> merely ends one message of it.
    known = ENDS - {"<|end|>"} if "<|return|>" in added else ENDS
    return frozenset(token for literal, token in added.items() if literal in known and token in special)


def _template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    value = settings.get("chat_template")
    if isinstance(value, list):  # several named templates: the one for chatting
        return next((str(one["template"]) for one in value if one.get("name") == "default"), None)
    return str(value) if value is not None else None


def _name(token: Any) -> str | None:
    """A token as settings write it: its text, or an object with its content."""
    return str(token["content"]) if isinstance(token, dict) else token if isinstance(token, str) else None


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def same_vocabulary(first: Tokenizer, second: Tokenizer) -> str | None:
    """None when both spell every id that both have alike, else the first difference.

    Reserved ids and padding may differ, and one may go on where the other ends: such ids are never proposed.
    """
    for token in range(min(first.size, second.size)):
        ours, theirs = first.piece(token), second.piece(token)
        if ours == theirs or ours is None or theirs is None or RESERVED.fullmatch(ours) or RESERVED.fullmatch(theirs):
            continue
        return f"token {token} is {ours!r} in one vocabulary and {theirs!r} in the other"
    return None
