"""One sequence under way: all that a round reads and writes. The only mutable state beside caches and drafters."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Many
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from foredraft.core.events import Step
from foredraft.core.protocols import Cache, Drafter, Request, Verifier
from foredraft.core.rules import Rules
from foredraft.core.stop import StopState
from foredraft.core.stream import Stream


class Text(Many[int]):
    """Tokens to read, not to write: what drafters see of a text that goes on growing under the view."""

    __slots__ = ("_tokens",)

    def __init__(self, tokens: list[int]) -> None:
        self._tokens = tokens

    def __len__(self) -> int:
        return len(self._tokens)

    def __getitem__(self, at: Any) -> Any:
        return self._tokens[at]

    def __iter__(self) -> Iterator[int]:
        return iter(self._tokens)


@dataclass(eq=False)
class Source:
    """One drafter of a sequence. state: the drafter's own; None once it failed to keep up, then it drafts no more."""

    name: str
    drafter: Drafter[Any]
    state: Any = None

    def close(self) -> None:
        """Lets the drafter give back what it holds; a second time does no harm."""
        if self.state is not None:
            with suppress(Exception):  # a drafter that fails to let go cannot harm the text any more
                self.drafter.close(self.state)
            self.state = None


@dataclass
class Sequence:
    """A prompt and its output so far.

    committed: prompt and output tokens; cache.length <= len(committed) - 1 between rounds, so the last committed token
    is always scored (again) as the root. rules: those at the root. sources: the drafters, asked in this order; without
    any the sequence is decoded plainly. pace: the policy's own state. logprobs: how many likeliest tokens to report
    beside an emitted one. keep_laws: steps carry the target's law at every emitted token. fault: what a drafter did
    wrong before the first round; the next step reports it.
    """

    request: Request
    committed: list[int]
    cache: Cache
    rules: Rules
    stop: StopState
    stream: Stream
    verifier: Verifier
    sources: tuple[Source, ...]
    pace: Any = None
    logprobs: int | None = None
    keep_laws: bool = False
    fault: str | None = None
    steps: list[Step] = field(default_factory=list)

    @property
    def output(self) -> list[int]:
        """The tokens emitted so far."""
        return self.committed[len(self.request.prompt) :]

    @property
    def finished(self) -> bool:
        return self.stop.finish is not None

    @property
    def state(self) -> Any:
        """The state of the first drafter, which mostly is the only one."""
        return self.sources[0].state if self.sources else None

    def release(self) -> Cache:
        """Ends the drafting and hands the cache over, for a later turn that begins with the same text."""
        for source in self.sources:
            source.close()
        return self.cache

    def close(self) -> None:
        """Gives back the drafters' states and the cache; calling it twice does no harm."""
        self.release().close()
