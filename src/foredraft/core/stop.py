"""Where a text ends: the earliest of an end token, a stop string and the cap. Pure, with its state across rounds.

Drafters know none of this. `trim` is given the block a verifier emitted and keeps what decoding one token at a time
would have kept; text is released only when no stop string can still claim it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from foredraft.core.errors import UsageError
from foredraft.core.params import SamplingParams

Finish = Literal["stop", "length", "error"]


class Text(Protocol):
    """A streaming detokeniser as immutable state; `models/text.py` is one."""

    def push(self, token: int) -> tuple[Text, str]:
        """The state after `token`, and the text that became certain with it."""

    def flush(self) -> str:
        """The text held back."""


@dataclass(frozen=True)
class Stop:
    """What ends one request: token ids, strings in the decoded text, a number of tokens."""

    ids: frozenset[int]
    strings: tuple[str, ...]
    max_tokens: int
    include_string: bool = False


@dataclass(frozen=True)
class StopState:
    """A request's stopping, one block after another.

    text: the detokeniser, None when nobody wants text (then stop strings cannot be honoured and are refused).
    held: decoded text that a stop string may still claim. released: text that the last block freed, in order.
    finish, reason: why the text ended; the reason is the stop token's id, the stop string, or what went wrong.
    """

    rules: Stop
    text: Text | None = None
    count: int = 0
    held: str = ""
    released: str = ""
    finish: Finish | None = None
    reason: int | str | None = None

    @property
    def remaining(self) -> int:
        """How many more tokens may be emitted."""
        return self.rules.max_tokens - self.count


def stop_of(params: SamplingParams, eos_ids: Iterable[int], room: int, text: Text | None) -> StopState:
    """The stopping of one request. room: tokens that the context still holds. Raises UsageError for stop strings when
    there is no `text` to look for them in.
    """
    if params.stop and text is None:
        raise UsageError("stop strings are looked for in the text: give a detokeniser, or use stop_token_ids")
    ids = frozenset(params.stop_token_ids) | (frozenset() if params.ignore_eos else frozenset(eos_ids))
    cap = room if params.max_tokens is None else min(room, params.max_tokens)
    stop = Stop(ids, params.stop, cap, params.include_stop_str_in_output)
    return StopState(stop, text)


def trim(state: StopState, block: Sequence[int]) -> tuple[tuple[int, ...], StopState]:
    """The tokens of `block` that belong to the text, and the state after them."""
    rules, text, held, released, remaining = state.rules, state.text, state.held, "", state.remaining
    room = 0 if state.finish is not None else max(0, min(len(block), remaining))
    for said, token in enumerate(block[:room], 1):
        stops, string = token in rules.ids, None
        if text is not None and not stops:
            text, piece = text.push(token)
            free, held, string = _freed(rules, held + piece)
            released += free
        if stops or string is not None or said == remaining:
            after = StopState(rules, text, state.count + said, held, released)
            if string is not None:
                return tuple(block[:said]), replace(after, finish="stop", reason=string)
            return tuple(block[:said]), _end(after, "stop", token) if stops else _end(after, "length", None)
    return tuple(block[:room]), StopState(rules, text, state.count + room, held, released, state.finish, state.reason)


def fail(state: StopState, why: str) -> StopState:
    """The text ends here because nothing may follow; what was held back is released."""
    return _end(replace(state, released=""), "error", why)


def _freed(rules: Stop, held: str) -> tuple[str, str, str | None]:
    """What no stop string can claim, what one still may, and the first stop string found: the text ends before it."""
    if not rules.strings:
        return held, "", None
    found = [(held.find(string), string) for string in rules.strings if string in held]
    if found:
        at, string = min(found, key=lambda match: match[0])
        return held[: at + len(string) if rules.include_string else at], "", string
    free = len(held) - max((_claim(held, string) for string in rules.strings), default=0)
    return held[:free], held[free:], None


def _claim(held: str, string: str) -> int:
    """How many characters at the end of `held` are the beginning of `string`."""
    for length in range(min(len(held), len(string) - 1), 0, -1):
        if held.endswith(string[:length]):
            return length
    return 0


def _end(state: StopState, finish: Finish, reason: int | str | None) -> StopState:
    """Ends the text: what was held back is released, a half character included, unless a stop string is in it."""
    flushed = state.text.flush() if state.text is not None else ""
    free, held, string = _freed(state.rules, state.held + flushed)
    if string is not None:
        return replace(state, finish="stop", reason=string, released=state.released + free, held="")
    return replace(state, finish=finish, reason=reason, released=state.released + free + held, held="")
