"""From the pieces of a streamed answer to the answer: its text, when each came, and what the server says of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from foredraft.bench.url_counters import Counters, of_answer
from foredraft.bench.url_events import BadStream, excerpt

DONE = "[DONE]"
WIDEST = 64  # characters a token, beyond which a server does not keep to max_tokens
SPARE = 4096
SAID = ("content", "reasoning_content", "reasoning", "text")


class ServerError(RuntimeError):
    """The stream itself says that the request failed."""


class Endless(RuntimeError):
    """Text that goes on long after max_tokens."""


@dataclass
class Reading:
    """One answer under way. arrivals: seconds, as given, of every piece that brought text.

    ended: the same of the last event. tokens, prompt_tokens: as the server counts them; None where it does not.
    """

    max_tokens: int
    ended: float | None = None
    arrivals: list[float] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    tokens: int | None = None
    prompt_tokens: int | None = None
    finish: str | None = None
    done: bool = False
    counters: Counters | None = None
    length: int = 0

    @property
    def text(self) -> str:
        return "".join(self.parts)

    @property
    def whole(self) -> bool:
        """Whether the answer came to its end."""
        return self.done or self.finish is not None

    def take(self, data: str, at: float) -> None:
        """Reads one event. Raises BadStream for what is no piece of an answer, ServerError and Endless as they say."""
        if self.done:
            return
        self.ended = at
        if data.strip() == DONE:
            self.done = True
            return
        piece = _object(data)
        if piece.get("error") is not None:
            raise ServerError(excerpt(json.dumps(piece["error"], ensure_ascii=False).encode()))
        self._usage(piece.get("usage"))
        self.counters = of_answer(piece) or self.counters
        text = self._said(piece, data)
        if text:
            self.arrivals.append(at)
            self.parts.append(text)
            self.length += len(text)
        if self.length > WIDEST * self.max_tokens + SPARE:
            raise Endless(f"{self.length} characters for at most {self.max_tokens} tokens")

    def _said(self, piece: Mapping[str, Any], data: str) -> str:
        """The text of the first choice; a piece may have none, as the one with the usage."""
        choices = piece.get("choices") or []
        if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
            raise BadStream(f"a piece without choices: {excerpt(data.encode())}")
        if not choices:
            return ""
        choice = choices[0]
        if isinstance(choice.get("finish_reason"), str):
            self.finish = choice["finish_reason"]
        delta = choice.get("delta", choice) or {}
        if not isinstance(delta, dict):
            raise BadStream(f"a choice without text: {excerpt(data.encode())}")
        return "".join(delta[name] for name in SAID if isinstance(delta.get(name), str))

    def _usage(self, usage: object) -> None:
        if isinstance(usage, dict):
            self.tokens = _positive(usage.get("completion_tokens"), self.tokens)
            self.prompt_tokens = _positive(usage.get("prompt_tokens"), self.prompt_tokens)


def _object(data: str) -> dict[str, Any]:
    try:
        piece = json.loads(data)
    except (ValueError, RecursionError):
        raise BadStream(f"data that is not JSON: {excerpt(data.encode())}") from None
    if not isinstance(piece, dict):
        raise BadStream(f"data that is no object: {excerpt(data.encode())}")
    return piece


def _positive(value: object, other: int | None) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else other
