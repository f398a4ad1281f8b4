"""Chat templates, rendered in jinja2's immutable sandbox; what users write stays text.

A template's own control tokens become ids, the same literals inside a message do not: before rendering, every literal
in a message is broken by a marker character that occurs in none of them; after it, the unbroken literals are those of
the template. This works whatever the template does with the text (trimming, splitting, repeating). Only the markup that
models write in their replies (`<think>`, a tool call) is left whole in the assistant's own messages.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from foredraft.core.errors import PromptError, UsageError
from foredraft.models.tokenizer import Tokenizer

# Noncharacters: valid in a Python string, used by nobody's text.
MARKERS = tuple(chr(code) for code in range(0xFDD0, 0xFDF0))

LONGEST = 16_000_000
"""Characters that a rendered chat, or a product of strings in a template, may have: far beyond any model's context."""


DEEPEST = 32
"""How deep values in messages and tools may be nested."""


class _Refusal(Exception):
    """What a template says about messages it cannot take."""


class _Sandbox(ImmutableSandboxedEnvironment):
    """The sandbox, which besides lets no template multiply its way to more memory than there is."""

    intercepted_binops = frozenset(("*", "**"))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """`left operator right`. Raises SecurityError for a product that is too long, or too large a power."""
        if operator == "**" and (abs(left) > 1e6 or abs(right) > 64):
            raise SecurityError("it computes too large a power")
        for many, times in ((left, right), (right, left)):
            if isinstance(many, Sequence) and isinstance(times, int) and len(many) * times > LONGEST:
                raise SecurityError("it makes too long a text")
        return super().call_binop(context, operator, left, right)


class _Generation(Extension):
    """`{% generation %}`, which marks what to train on: here it stands for what is inside."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The nodes between the tags."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def render(template: str, messages: Sequence[Mapping[str, Any]], /, **variables: Any) -> str:
    """The text of a chat that ends where the model is to reply. Raises UsageError when the template fails.

    variables: what else the template may use (bos_token, tools, ...); add_generation_prompt=False leaves the reply out.
    """
    given = {"tools": None, "documents": None, "add_generation_prompt": True} | variables | {"messages": messages}
    pieces, length = list[str](), 0
    try:
        for piece in _compiled(template).generate(given):
            pieces.append(piece)
            length += len(piece)
            if length > LONGEST:
                raise SecurityError("it makes too long a text")
    except _Refusal as refusal:
        raise UsageError(f"the chat template refuses these messages ({refusal}): change them or use --raw") from None
    except Exception as error:  # a template is a program of somebody else's: anything may go wrong in it
        what = f"{type(error).__name__}: {error}" if not isinstance(error, TemplateError) else error
        raise UsageError(f"the chat template fails ({what}): use --raw") from None
    return "".join(pieces)


@lru_cache(maxsize=16)
def _compiled(template: str) -> Template:
    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = _now
    return environment.from_string(template)


def chat_ids(tokenizer: Tokenizer, messages: Sequence[Mapping[str, Any]], /, **variables: Any) -> list[int]:
    """Token ids of a chat that ends where the model is to reply, with one BOS at most.

    messages: at least a role each; strings in them, and in `variables`, are text at any depth. Raises PromptError when
    there are none, and UsageError for what is not JSON, and when there is no chat template or it fails.
    """
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


def _refuse(message: str) -> NoReturn:
    raise _Refusal(message)


def _now(pattern: str) -> str:
    return datetime.datetime.now().strftime(pattern)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as models were shown it: not escaped for HTML. ensure_ascii is ignored, it would spell the marker out."""
    return json.dumps(value, ensure_ascii=False, indent=indent, separators=separators, sort_keys=sort_keys)
