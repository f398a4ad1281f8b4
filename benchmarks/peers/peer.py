"""What every engine looks like to the comparison."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

PLAIN = "plain"


class PeerError(RuntimeError):
    """An engine that cannot run here; the message says why."""


@dataclass(frozen=True)
class Given:
    """What all engines are given. model, draft: GGUF files. ends: the tokens that would end a text."""

    model: Path
    draft: Path | None
    threads: int
    ends: tuple[int, ...]
    cache: Path  # where an engine may be installed


@dataclass(frozen=True)
class Answer:
    """One completion. seconds: from the prompt's token ids to the last token; first: to the first one.

    drafted, accepted: None where an engine does not say.
    """

    tokens: tuple[int, ...]
    seconds: float
    first: float | None = None
    drafted: int | None = None
    accepted: int | None = None


class Peer(abc.ABC):
    """One engine; use it with `with`, which ends what it started.

    ways: how it can decode -> the variants of that, of which the fastest is to be measured. about: its version, and
    what it makes of the file's weights. shared: variants have processes in common, which take long to start.
    """

    name: str
    shared = False

    @property
    @abc.abstractmethod
    def about(self) -> Mapping[str, Any]:
        """Raises PeerError for an engine that cannot run."""

    @property
    @abc.abstractmethod
    def ways(self) -> dict[str, tuple[str, ...]]: ...

    @abc.abstractmethod
    def start(self, variants: Sequence[str]) -> None:
        """Makes ready what these variants need. Raises PeerError where that fails."""

    @abc.abstractmethod
    def complete(self, variant: str, ids: Sequence[int], count: int) -> Answer:
        """`count` tokens, the likeliest each time, of which none is an end; nothing is kept from earlier ones."""

    @abc.abstractmethod
    def stop(self) -> None:
        """Ends everything that was started."""

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
