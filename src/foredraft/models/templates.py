"""Chat templates, rendered in jinja2's immutable sandbox; what users write stays text.

A template's own control tokens become ids, the same literals inside a message do not: before rendering, every literal
in a message is broken by a marker character that occurs in none of them; after it, the unbroken literals are those of
the template. This works whatever the template does with the text (trimming, splitting, repeating).
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from foredraft.core.errors import UsageError
from foredraft.models.tokenizer import Tokenizer

# Noncharacters: valid in a Python string, used by nobody's text.
MARKERS = tuple(chr(code) for code in range(0xFDD0, 0xFDF0))


class _Refusal(Exception):
    """What a template says about messages it cannot take."""


def render(template: str, messages: Sequence[Mapping[str, Any]], **variables: Any) -> str:
    """The text of a chat that ends where the model is to reply. Raises UsageError when the template fails."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda pattern: datetime.datetime.now().strftime(pattern)
    try:
        return environment.from_string(template).render(messages=messages, add_generation_prompt=True, **variables)
    except _Refusal as refusal:
        raise UsageError(f"the chat template refuses these messages ({refusal}): change them or use --raw") from None
    except (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise UsageError(f"the chat template fails ({error}): use --raw") from None


def chat_ids(tokenizer: Tokenizer, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """Token ids of a chat that ends where the model is to reply, with one BOS at most."""
    if tokenizer.chat_template is None:
        raise UsageError("this model has no chat template: use --raw, or generate instead of chat")
    text = "".join(message["role"] + message["content"] for message in messages)
    marker = next((one for one in MARKERS if one not in text), None)
    if marker is None:
        raise UsageError("the messages use every noncharacter of Unicode: remove one")
    broken = [{key: _broken(tokenizer, value, marker) for key, value in message.items()} for message in messages]
    rendered = render(tokenizer.chat_template, broken, **tokenizer.names)
    ids: list[int] = []
    for literal, piece in tokenizer.segments(rendered):
        whole = piece.replace(marker, "")
        ids += tokenizer.encode(whole, control=literal, add_bos=False)
    # Templates that leave BOS to the tokenizer get it here.
    return (
        [tokenizer.bos, *ids] if tokenizer.add_bos and tokenizer.bos is not None and ids[:1] != [tokenizer.bos] else ids
    )


def _broken(tokenizer: Tokenizer, text: str, marker: str) -> str:
    """`text` with the marker behind every character of a literal, so that no shorter one is left inside either."""
    pieces = tokenizer.segments(text)
    return "".join(marker.join(piece) + marker if literal else piece for literal, piece in pieces)


def _refuse(message: str) -> NoReturn:
    raise _Refusal(message)


def _to_json(value: Any, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)
