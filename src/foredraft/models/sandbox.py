"""Chat templates run as programs of somebody else's: in jinja2's immutable sandbox, and only so much of everything."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from foredraft.core.errors import UsageError

LONGEST = 16_000_000
"""Characters that a rendered chat, or a product of strings in a template, may have: far beyond any model's context."""


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
