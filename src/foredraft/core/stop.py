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
    state = replace(state, released="")
    kept = 0
    for token in block:
        if state.finish is not None or state.remaining <= 0:
            break
        state = _push(state, token)
        kept += 1
    return tuple(block[:kept]), state


def fail(state: StopState, why: str) -> StopState:
    """The text ends here because nothing may follow; what was held back is released."""
    return _end(replace(state, released=""), "error", why)


def _push(state: StopState, token: int) -> StopState:
    rules = state.rules
    state = replace(state, count=state.count + 1)
    if token in rules.ids:
        return _end(state, "stop", token)
    if state.text is not None:
        text, piece = state.text.push(token)
        state = _release(replace(state, text=text, held=state.held + piece))
    if state.finish is None and state.remaining <= 0:
        return _end(state, "length", None)
    return state


def _release(state: StopState) -> StopState:
    """Frees the held text that no stop string can claim, or ends the text at the first stop string in it."""
    strings, held = state.rules.strings, state.held
    found = [(held.find(string), string) for string in strings if string in held]
    if found:
        at, string = min(found, key=lambda match: match[0])
        end = at + len(string) if state.rules.include_string else at
        return replace(state, finish="stop", reason=string, released=state.released + held[:end], held="")
    keep = max((_claim(held, string) for string in strings), default=0)
    free = len(held) - keep
    return replace(state, released=state.released + held[:free], held=held[free:])


def _claim(held: str, string: str) -> int:
    """How many characters at the end of `held` are the beginning of `string`."""
    for length in range(min(len(held), len(string) - 1), 0, -1):
        if held.endswith(string[:length]):
            return length
    return 0


def _end(state: StopState, finish: Finish, reason: int | str | None) -> StopState:
    """Ends the text: what was held back is released, a half character included, unless a stop string is in it."""
    if state.text is not None:
        state = _release(replace(state, held=state.held + state.text.flush()))
        if state.finish is not None:
            return state
    return replace(state, finish=finish, reason=reason, released=state.released + state.held, held="")
