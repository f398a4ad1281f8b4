"""From what a caller asks of a text to the grammar's first state, and what cannot be asked.

JSON is spelt as Python's `json.dumps` spells it, `{"a": 1, "b": [2, 3]}`: white space that nobody asked for costs a
pass a token, and small models can go on with it for ever. The top level of a schema may say otherwise by llguidance's
own key `x-guidance` (`{"whitespace_flexible": true}`).
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict

from llguidance import LLMatcher, LLParserLimits

from foredraft.core.errors import UsageError
from foredraft.core.params import StructuredOutputsParams
from foredraft.grammar.depth import DEEPEST, depth_of_lark, depth_of_schema
from foredraft.grammar.endless import endless_lark, endless_schema
from foredraft.grammar.gbnf import as_lark
from foredraft.grammar.state import Shared, State, shortened
from foredraft.grammar.vocabulary import Vocabulary

LONGEST = 1_000_000
"""Characters of a schema or grammar: far more than any in use, and still seconds of work at worst."""

KEPT = 32
"""Compiled grammars kept for the next request that asks for the same."""

SPELLING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}

# Options of a Lark rule that need a sampler of their own, or take tokens back after the model said them; what stands in
# quotes, expressions and comments is stepped over. No alternative fails after a long way: a text is read once.
REFUSED = re.compile(
    r"""" (?:[^"\\\n]|\\.)* "? | //[^\n]* | \#[^\n]* | / (?:[^/\\\n]|\\.)+ /? | \b(temperature|stop)\s*=""", re.VERBOSE
)


class Grammars:
    """The grammars over one vocabulary; those last used are kept compiled."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._known: OrderedDict[StructuredOutputsParams, State] = OrderedDict()

    def first(self, wanted: StructuredOutputsParams) -> State:
        """The state before the first token. Raises UsageError for a grammar that cannot be, or is too large."""
        if wanted not in self._known:
            self._known[wanted] = self._compiled(wanted)
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(wanted)
        return self._known[wanted]

    def _compiled(self, wanted: StructuredOutputsParams) -> State:
        kind, source = _source(wanted)
        matcher = LLMatcher(self.vocabulary.native, _grammar(kind, source), log_level=0, limits=LLParserLimits())
        if not matcher.is_error():
            _check_ends(kind, source)
            matcher.compute_bitmask()  # finds what has no text at all, and what is too large to begin
        if matcher.is_error():
            raise _refusal(kind, matcher.get_error())
        return State(Shared(self.vocabulary), matcher)


def check(wanted: StructuredOutputsParams) -> None:
    """Raises UsageError for a grammar that is wrong whatever the vocabulary, before a model is loaded."""
    kind, source = _source(wanted)
    failed, messages = LLMatcher.validate_grammar_with_warnings(_grammar(kind, source), limits=LLParserLimits())
    if failed:
        raise _refusal(kind, messages[0])
    _check_ends(kind, source)


def _check_depth(kind: str, source: str) -> None:
    depth = {"JSON schema": depth_of_schema, "grammar": depth_of_lark}.get(kind)
    levels = depth(source) if depth is not None else 0
    if levels is None:
        raise UsageError(f"the {kind} is large and has rules with marks or options: make it smaller, or leave them out")
    if levels > DEEPEST:
        raise UsageError(f"the {kind} is up to {levels} levels deep, rule in rule: give one of at most {DEEPEST}")


def _check_ends(kind: str, source: str) -> None:
    endless = {"JSON schema": endless_schema, "grammar": endless_lark}.get(kind)
    if endless is not None and endless(source):
        raise UsageError(f"no text of finite length matches the {kind}: give its recursion a way to end")


def _source(wanted: StructuredOutputsParams) -> tuple[str, str]:
    """What it is called, and its text: a JSON schema, or a Lark grammar. Raises UsageError for one that is too long."""
    if wanted.json is not None:
        found = "JSON schema", str(wanted.json)
    elif wanted.json_object:
        found = "JSON schema", '{"type": "object"}'
    elif wanted.regex is not None:
        found = "regular expression", wanted.regex
    elif wanted.choice is not None:
        found = "choice", "start: " + " | ".join(json.dumps(one, ensure_ascii=False) for one in wanted.choice)
    else:
        found = "grammar", str(wanted.grammar)
    kind, text = found
    if len(text) > LONGEST:
        raise UsageError(f"the {kind} has {len(text)} characters: give one of at most {LONGEST}")
    return (kind, as_lark(text)) if kind == "grammar" else found


def _grammar(kind: str, text: str) -> str:
    """As llguidance takes it, which it does not survive for what goes too deep."""
    if kind == "JSON schema":
        try:
            grammar = LLMatcher.grammar_from_json_schema(text, defaults=SPELLING)  # type: ignore[arg-type]
        except ValueError as error:  # nested too deeply
            raise _refusal(kind, str(error)) from None
        _check_depth(kind, text)
        return grammar
    if kind == "regular expression":
        return LLMatcher.grammar_from_regex(text)
    option = next((found[1] for found in REFUSED.finditer(text) if found[1]), None) if kind == "grammar" else None
    if option is not None:
        raise UsageError(f"the grammar sets {option!r} for a rule, which is not honoured here: leave it out")
    _check_depth(kind, text)
    return json.dumps({"grammars": [{"lark_grammar": text}]})


def _refusal(kind: str, error: str) -> UsageError:
    if error.startswith("NoExtension"):
        return UsageError(f"no text matches the {kind}: correct it")
    return UsageError(f"the {kind} cannot be used ({shortened(error)}): correct or simplify it")
