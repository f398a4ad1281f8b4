"""Grammars as llama.cpp has them (GBNF, `root ::= …`), as Lark."""

from __future__ import annotations

import re

from llguidance.gbnf_to_lark import gbnf_to_lark

from foredraft.core.errors import UsageError
from foredraft.grammar.state import shortened

OPTIONS = "%llguidance {}"  # none, which the translation says first
RULE = re.compile(r"^[ \t]*[A-Za-z][\w-]*[ \t\n]*::=", re.MULTILINE)


def as_lark(text: str) -> str:
    """The grammar in Lark; what has no rule of GBNF is taken for that already. Raises UsageError for broken GBNF."""
    if RULE.search(text) is None:
        return text
    try:
        return str(gbnf_to_lark(text)).removeprefix(OPTIONS)
    except Exception as error:  # whatever the reader of GBNF raises says what is wrong with the text
        raise UsageError(f"the grammar cannot be read as GBNF ({shortened(str(error))}): correct it") from None
