"""Answers of a server as JSON lines, from which every figure is derived; a failed one says how it failed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from foredraft.bench.events import case_files, parsed, setup_of, whole_lines
from foredraft.bench.journal import Records
from foredraft.bench.record import Json
from foredraft.bench.url_counters import Counters

Kind = Literal["refused", "status", "content type", "broken", "cut", "stalled", "garbage", "error", "endless"]
KINDS: dict[Kind, str] = {
    "refused": "no connection",
    "status": "an error status",
    "content type": "no event stream",
    "broken": "the connection broke",
    "cut": "the stream ended before the answer did",
    "stalled": "nothing came in time",
    "garbage": "not what the protocol says",
    "error": "the stream reports an error",
    "endless": "it went on long after max_tokens",
}


@dataclass(frozen=True)
class Failure:
    kind: Kind
    message: str


@dataclass(frozen=True)
class Answer:
    """One request. begun: seconds after the start of its session; seconds: until its end, from asking.

    arrivals: seconds after asking, of every piece of text. tokens: as the server counts them, None where it does not.
    earlier: how it failed when it was asked before, in other sessions.
    """

    concurrency: int
    case: str
    prompt: str
    task: str
    session: int
    begun: float
    seconds: float
    arrivals: tuple[float, ...]
    text: str
    tokens: int | None = None
    prompt_tokens: int | None = None
    finish: str | None = None
    counters: Counters | None = None
    failure: Failure | None = None
    earlier: tuple[Failure, ...] = ()

    @property
    def id(self) -> str:
        return id_of(self.concurrency, self.case)

    @property
    def count(self) -> int:
        """Tokens by the server's count, else pieces of text."""
        return self.tokens if self.tokens is not None else len(self.arrivals)

    @property
    def first(self) -> float | None:
        """Seconds to the first text; None for an answer without any."""
        return self.arrivals[0] if self.arrivals else None

    def asked_before(self, other: Answer) -> Answer:
        """The same, remembering how the same request failed earlier."""
        failed = (other.failure,) if other.failure is not None else ()
        return replace(self, earlier=(*other.earlier, *failed))

    def as_json(self) -> Json:
        """A line of the folder; what an answer does not have is left out."""
        found = {"id": self.id, **asdict(self), "arrivals": list(self.arrivals)}
        return {key: value for key, value in found.items() if value is not None and value != ()}


@dataclass(frozen=True)
class Counted:
    """What the server's own counters grew by during one session at one concurrency."""

    concurrency: int
    session: int
    counters: Counters

    @property
    def id(self) -> str:
        return f"counters of session {self.session} at {self.concurrency}"

    def as_json(self) -> Json:
        return {"id": self.id, **asdict(self)}


class Answers(Records[Answer | Counted]):
    """The folder of one server's answers."""

    def parse(self, found: Json) -> Answer | Counted:
        return line_of(found)


@dataclass(frozen=True)
class Served:
    """A run against a server as its folder has it. setup: all that a figure depends on. lines: of a request that was
    made again, the last."""

    folder: Path
    setup: Json
    lines: tuple[Answer | Counted, ...]


def read(folder: str | Path) -> Served:
    """The run of a folder, finished or not. Raises UsageError for one that cannot be read, and for a damaged line, by
    its number."""
    folder = Path(folder).expanduser()
    setup = setup_of(folder)
    found = [line for path in case_files(folder) for line in parsed(path, whole_lines(path), line_of)]
    return Served(folder, setup, tuple({line.id: line for line in found}.values()))


def line_of(found: Json) -> Answer | Counted:
    """What a line of the folder says. Raises ValueError, KeyError, TypeError or AttributeError for a damaged one."""
    fields = {key: value for key, value in found.items() if key != "id"}
    if "case" not in fields:
        return Counted(**fields | {"counters": _counters(fields["counters"])})
    fields["arrivals"] = tuple(map(float, fields["arrivals"]))
    fields["earlier"] = tuple(map(_failure, fields.get("earlier", ())))
    if "failure" in fields:
        fields["failure"] = _failure(fields["failure"])
    if "counters" in fields:
        fields["counters"] = _counters(fields["counters"])
    return Answer(**fields)


def id_of(concurrency: int, case: str) -> str:
    """Names one request."""
    return f"{case} at {concurrency}"


def _failure(found: Json) -> Failure:
    if found["kind"] not in get_args(Kind):
        raise ValueError(found["kind"])
    return Failure(**found)


def _counters(found: Json) -> Counters:
    return Counters(**found | {"positions": tuple(found["positions"])})
