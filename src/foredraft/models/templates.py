"""Chat templates: messages to token ids, and what users write stays text.

A template's own control tokens become ids, the same literals inside a message do not: before rendering, every literal
in a message is broken by a marker character that occurs in none of them; after it, the unbroken literals are those of
the template. This works whatever the template does with the text (trimming, splitting, repeating). Only the markup that
models write in their replies (`<think>`, a tool call) is left whole in the assistant's own messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from foredraft.core.errors import PromptError, UsageError
from foredraft.models.tokenizer import Tokenizer

# Noncharacters: valid in a Python string, used by nobody's text.
MARKERS = tuple(chr(code) for code in range(0xFDD0, 0xFDF0))

DEEPEST = 32
"""How deep values in messages and tools may be nested."""


def chat_ids(tokenizer: Tokenizer, messages: Sequence[Mapping[str, Any]], /, **variables: Any) -> list[int]:
    """Token ids of a chat that ends where the model is to reply, with one BOS at most.

    messages: at least a role each; strings in them, and in `variables`, are text at any depth. Raises PromptError when
    there are none, and UsageError for what is not JSON, and when there is no chat template or it fails.
    """
    from foredraft.models.sandbox import render  # brings jinja2, which plain prompts do without

    if tokenizer.chat_template is None:
        raise UsageError("this model has no chat template: use --raw, or generate instead of chat")
    if not messages or not all(isinstance(one, Mapping) and isinstance(one.get("role"), str) for one in messages):
        raise PromptError("a chat is a list of messages with a role each: give at least one")
    plain = {name: value for name, value in variables.items() if not callable(value)}
    used = set().union(*map(set, _strings([list(messages), plain])))
    marker = next((one for one in MARKERS if one not in used), None)
    if marker is None:
        raise UsageError("the messages use every noncharacter of Unicode: remove one")
    broken = [_broken(tokenizer, message, marker, message["role"] == "assistant") for message in messages]
    others = {name: _broken(tokenizer, value, marker) for name, value in plain.items()}
    others |= {name: value for name, value in variables.items() if callable(value)}
    rendered = render(tokenizer.chat_template, broken, **(dict(tokenizer.names) | others))
    ids = tokenizer.join((literal, piece.replace(marker, "")) for literal, piece in tokenizer.segments(rendered))
    if tokenizer.add_bos and tokenizer.bos is not None and ids[:1] != [tokenizer.bos]:
        ids.insert(0, tokenizer.bos)  # some templates leave BOS to the tokenizer
    return ids


def _strings(value: Any, depth: int = 0) -> Iterator[str]:
    """Every string in `value`. Raises UsageError for what is not JSON: a template could make any text of it."""
    if depth > DEEPEST:
        raise UsageError("a chat nests its values too deep: make them simpler")
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            if not isinstance(key, str):
                raise UsageError(f"a chat has the key {key!r} in it: use strings as keys")
            yield key
            yield from _strings(one, depth + 1)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _strings(one, depth + 1)
    elif type(value) not in (int, float, bool, type(None)):
        raise UsageError(f"a chat has a value of type {type(value).__name__} in it: use text, numbers, lists and dicts")


def _broken(tokenizer: Tokenizer, value: Any, marker: str, own: bool = False) -> Any:
    """`value` with the literals in all its strings broken. own: the model wrote it, so only control tokens are."""
    if isinstance(value, str):
        return _broken_text(tokenizer, value, marker, own)
    if isinstance(value, Mapping):
        return {
            _broken(tokenizer, key, marker, own): _broken(tokenizer, one, marker, own) for key, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [_broken(tokenizer, one, marker, own) for one in value]
    return value


def _broken_text(tokenizer: Tokenizer, text: str, marker: str, own: bool) -> str:
    """`text` with the marker behind every character of a literal, so that no shorter one is left inside either."""
    pieces = []
    for literal, piece in tokenizer.segments(text, strip=False):
        kept = own and literal and tokenizer.added[piece] not in tokenizer.special
        pieces.append(marker.join(piece) + marker if literal and not kept else piece)
    broken = "".join(pieces)
    end = len(broken.rstrip())
    # A template may put two strings next to each other, and the second may finish a literal that the first begins.
    return broken[:end] + marker + broken[end:] if tokenizer.begins_literal(broken[:end]) else broken
