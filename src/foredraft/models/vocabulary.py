"""Vocabularies as GGUF metadata lists them: which tokens are text, which are structure, and which are both.

Tokens of the file's kinds control, unknown and user-defined are found as literals. Most are structure: they are kept
apart, so no text can become one. User-defined ones that are plain text (runs of white space, HTML tags in a vocabulary
made of web pages) are words: they are found in any text, before it is cut further, as the model was trained.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import tokenizers

from foredraft.core.errors import WeightsError
from foredraft.models.gguf_header import GGUFHeader

# Token types of the format.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

SPACE = "\u2581"
"""How SentencePiece spells a space."""

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

# HTML elements, and `bbox`, which Gemma's vocabulary lists among them.
TAG = (
    r"</?(a|abbr|b|bbox|blockquote|body|br|button|caption|center|code|dd|del|div|dl|dt|em|figure|font|footer|form|h[1-6]"
    r"|head|header|hr|html|i|iframe|img|input|ins|kbd|label|li|link|main|mark|nav|ol|option|p|pre|q|s|samp|script"
    r"|section|select|small|source|span|strike|strong|style|sub|summary|sup|svg|table|tbody|td|textarea|tfoot|th|thead"
    r"|title|tr|tt|u|ul|var|video)>"
)

MARKUP = r"[<>\[\]{}|\uff5c]"


def is_text(literal: str, template: str) -> bool:
    """Whether a user-defined token is a word of any text, and not structure that only a chat `template` may write."""
    if len(literal) == 1 or literal.replace(SPACE, " ").isspace():
        return True
    if literal in template:
        return False
    return re.fullmatch(TAG, literal) is not None or re.search(MARKUP, literal) is None


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """core: the tokenizer of plain text. size: ids in use; the padding behind them is not counted. added: literal -> id
    of what is not text. control: ids that decode to nothing. add_bos: what files that do not say mean. words: literal
    -> id of what the core finds but cannot decode. prefix: what is put before every piece of text.
    """

    core: tokenizers.Tokenizer
    size: int
    added: Mapping[str, int]
    control: frozenset[int]
    add_bos: bool
    words: Mapping[str, int] = field(default_factory=dict)
    prefix: str = ""


@dataclass(frozen=True, eq=False)
class Listing:
    """The tokens of a file by what they are, each literal -> id: normal, bytes, words (user-defined, but text), added
    (not text). control: ids of added that decode to nothing. hidden: literals of added and unused tokens.
    """

    size: int
    normal: Mapping[str, int]
    bytes: Mapping[str, int]
    words: Mapping[str, int]
    added: Mapping[str, int]
    control: frozenset[int]
    hidden: frozenset[str]


def listing(header: GGUFHeader) -> Listing:
    """Sorts the tokens of a file. Raises WeightsError for what is missing or does not fit together."""
    data = header.metadata
    tokens = data.get("tokenizer.ggml.tokens")
    if not are_texts(tokens) or not tokens:
        raise WeightsError(f"{header.path} has no whole tokenizer: fetch it again")
    types = data.get("tokenizer.ggml.token_type") or [NORMAL] * len(tokens)
    if not isinstance(types, list) or len(types) != len(tokens):
        count = len(types) if isinstance(types, list) else "no list of"
        raise WeightsError(f"{header.path} has {len(tokens)} tokens and {count} token types: fetch it again")
    size = next((last for last in range(len(tokens), 0, -1) if types[last - 1] != UNUSED), 0)
    ids = {literal: token for token, literal in enumerate(tokens[:size])}
    if len(ids) != size:
        raise WeightsError(f"{header.path} has the same token twice: fetch it again")
    sorts: dict[int, dict[str, int]] = {kind: {} for kind in (NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE)}
    for (literal, token), kind in zip(ids.items(), types):
        sorts.get(kind, sorts[NORMAL])[literal] = token
    named = [data.get(f"tokenizer.ggml.{end}_token_id") for end in ("bos", "eos", "eot", "eom", "unknown", "padding")]
    template = str(data.get("tokenizer.chat_template", ""))
    users = sorts[USER_DEFINED]
    words = {word: token for word, token in users.items() if token not in named and is_text(word, template)}
    markup = {literal: token for literal, token in users.items() if literal not in words}
    added = sorts[UNKNOWN] | sorts[CONTROL] | markup
    control = frozenset(added.values()) - {token for literal, token in markup.items() if literal not in ENDS}
    hidden = frozenset(added) | frozenset(sorts[UNUSED]) | frozenset(tokens[size:])
    return Listing(size, sorts[NORMAL], sorts[BYTE], words, added, control, hidden)


def are_texts(value: Any) -> TypeGuard[list[str]]:
    """Whether `value` is a list of strings."""
    return isinstance(value, list) and all(isinstance(text, str) for text in value)
