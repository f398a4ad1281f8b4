"""Lark grammars as far as they are read here: which rules there are, and what each of them needs to have a text."""

from __future__ import annotations

import re

from foredraft.grammar.ends import ALWAYS, Ends


class NotUnderstoodError(Exception):
    """The grammar uses something that is not read here."""


TOKEN = re.compile(
    r"""(?P<skip>[ \t\r]+ | (?://|\#)[^\n]* | %(?:ignore|import)\b[^\n]*)
    | (?P<line>\n\s*)
    | (?P<text>"(?:[^"\\\n]|\\.)*"i? | /(?:[^/\\\n]|\\.)+/[a-z]* | <[^>\n]*>)
    | (?P<name>[A-Za-z_][\w-]*)
    | (?P<count>[?*+] | ~\s*\d+(?:\s*\.\.\s*\d+)? | \{[\d\s,]*\})
    | (?P<mark>[:|()\[\]])""",
    re.VERBOSE,
)
NONE_AT_LEAST = re.compile(r"[?*] | ~0\b.* | \{0*[,}].*", re.VERBOSE)
"""Of a count without its white space."""

NESTED = 100
"""Groups within groups that are followed; llguidance takes fewer."""


class Reader:
    """Reads the rules of a Lark grammar: alternatives, groups, repetitions; literals are as good as empty.

    uses: the names that stand in each rule, whatever may be left out. heights: how deep its groups are nested.
    """

    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        at = depth = 0
        while at < len(text):
            found = TOKEN.match(text, at)
            if found is None:  # directives, options of rules, templates, aliases
                raise NotUnderstoodError
            kind, at = str(found.lastgroup), found.end()
            depth += (found[0] in ("(", "[")) - (found[0] in (")", "]"))
            if kind != "skip" and not (kind == "line" and depth):
                if found[0] == "|" and self.tokens and self.tokens[-1][0] == "line":
                    self.tokens.pop()  # a line that begins with | goes on with the rule before it
                self.tokens.append((kind, found[0]))
        self.at = 0
        self.found: dict[str, Ends] = {}
        self.uses: dict[str, list[str]] = {}
        self.heights: dict[str, int] = {}
        self._names: list[str] = []
        self._depth = self._height = 0

    @staticmethod
    def of(text: str) -> Reader | None:
        """One that has read a grammar; None where it uses something that is not read here."""
        try:
            reader = Reader(text)
            reader.rules()
        except NotUnderstoodError:
            return None
        return reader

    def rules(self) -> dict[str, Ends]:
        """The rules by name. Raises NotUnderstoodError."""
        while self.at < len(self.tokens):
            kind, name = self._take()
            if kind == "line":
                continue
            if kind != "name" or name in self.found or self._take()[1] != ":":
                raise NotUnderstoodError
            self._names, self._height = [], 0
            self.found[name] = self._choice()
            self.uses[name], self.heights[name] = self._names, self._height
            if self._peek()[0] not in ("line", "end"):
                raise NotUnderstoodError
        return self.found

    def _peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def _take(self) -> tuple[str, str]:
        token = self._peek()
        self.at += 1
        return token

    def _choice(self) -> Ends:
        self._depth += 1
        self._height = max(self._height, self._depth)
        if self._depth > NESTED:
            raise NotUnderstoodError
        several = [self._sequence()]
        while self._peek()[1] == "|":
            self.at += 1
            several.append(self._sequence())
        self._depth -= 1
        return Ends(tuple(several), every=False)

    def _sequence(self) -> Ends:
        parts: list[Ends | str] = []
        while self._peek()[0] not in ("line", "end") and self._peek()[1] not in ("|", ")", "]"):
            part = self._part()
            while self._peek()[0] == "count":
                part = ALWAYS if NONE_AT_LEAST.fullmatch("".join(self._take()[1].split())) else part
            parts.append(part)
        return Ends(tuple(parts))

    def _part(self) -> Ends | str:
        kind, text = self._take()
        if kind == "text":
            return ALWAYS
        if kind == "name":
            self._names.append(text)
            return text
        if text not in ("(", "["):
            raise NotUnderstoodError
        inside = self._choice()
        if self._take()[1] != {"(": ")", "[": "]"}[text]:
            raise NotUnderstoodError
        return inside if text == "(" else ALWAYS
