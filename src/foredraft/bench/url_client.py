"""Asking an OpenAI-compatible server over HTTP: what it serves, its counters, and one streamed answer at a time."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2

from foredraft.bench.url_counters import Counters, of_metrics
from foredraft.bench.url_events import BadStream, Events, excerpt
from foredraft.bench.url_reading import Endless, Reading, ServerError
from foredraft.bench.url_record import Failure, Kind
from foredraft.core.errors import ForedraftError, UsageError

CONNECT = 10.0  # seconds
STREAM = "text/event-stream"


@dataclass(frozen=True)
class Question:
    """What is asked. turns: what was said, by user and model in turn, the user's first and last.

    completions: the text is continued as it stands, without a chat template. usage: the server is to count tokens.
    """

    turns: tuple[str, ...]
    max_tokens: int
    temperature: float
    seed: int
    completions: bool = False
    usage: bool = True

    @property
    def path(self) -> str:
        return "/v1/completions" if self.completions else "/v1/chat/completions"

    def body(self, model: str, extra: Mapping[str, Any]) -> dict[str, Any]:
        roles = ("user", "assistant")
        said: dict[str, Any] = (
            {"prompt": "\n\n".join(self.turns)}
            if self.completions
            else {"messages": [{"role": roles[at % 2], "content": text} for at, text in enumerate(self.turns)]}
        )
        asked = {"max_tokens": self.max_tokens, "temperature": self.temperature, "seed": self.seed, "stream": True}
        counted = {"stream_options": {"include_usage": True}} if self.usage else {}
        return {"model": model, **said, **asked, **counted, **extra}


@dataclass(frozen=True)
class Reply:
    """What came back. begun: on the clock of this module; seconds: until the end or the failure."""

    begun: float
    seconds: float
    reading: Reading
    failure: Failure | None = None
    status: int | None = None


class Server:
    """A server at an address, with or without /v1 at its end; use it with `with`. May be asked by several threads."""

    def __init__(self, url: str, key: str | None = None, timeout: float = 60.0) -> None:
        """timeout: seconds without any text after which an answer has failed. Raises UsageError for no such address."""
        try:
            address = httpx2.URL(url.rstrip("/"))
        except (httpx2.InvalidURL, ValueError):
            address = httpx2.URL("")
        if address.scheme not in ("http", "https") or not address.host:
            raise UsageError(f"{url!r} is no address of a server: give one such as http://127.0.0.1:8000")
        self.root = str(address.copy_with(username=None, password=None)).rstrip("/").removesuffix("/v1")
        self.timeout = timeout
        self._client = httpx2.Client(
            base_url=str(address).rstrip("/").removesuffix("/v1"),
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx2.Timeout(timeout, connect=min(timeout, CONNECT)),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),
            trust_env=not _local(address.host),  # a proxy does not lead back to this machine
        )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    # --- what it is ---------------------------------------------------------------------------------------------------

    def models(self) -> list[dict[str, Any]]:
        """What /v1/models lists; nothing where there is no such page. Raises ForedraftError when nobody answers."""
        try:
            response = self._client.get("/v1/models")
        except httpx2.HTTPError as error:
            why = str(error) or type(error).__name__
            raise ForedraftError(f"no server answers at {self.root} ({why}): start it, or correct --url") from None
        if response.status_code in (401, 403):
            raise UsageError(f"{self.root} asks for a key (status {response.status_code}): give the right --api-key")
        try:
            listed = response.json()["data"] if response.status_code == 200 else []
            return [entry for entry in listed if isinstance(entry["id"], str)]
        except (ValueError, KeyError, TypeError):
            return []

    def counters(self) -> Counters | None:
        """Its own speculation counters so far; None where it has none to show."""
        try:
            response = self._client.get("/metrics", timeout=CONNECT)
        except httpx2.HTTPError:
            return None
        return of_metrics(response.text) if response.status_code == 200 else None

    # --- one answer ---------------------------------------------------------------------------------------------------

    def ask(
        self,
        question: Question,
        model: str,
        extra: Mapping[str, Any],
        clock: Callable[[], float] = time.perf_counter,
    ) -> Reply:
        """One answer, streamed. Whatever the server does wrong is in the reply's failure.

        A connection that was kept may have been closed by the server meanwhile: then it is asked once more.
        """
        reply = self._once(question, model, extra, clock)
        if reply.failure is not None and reply.failure.kind == "broken" and reply.status is None:
            return self._once(question, model, extra, clock)
        return reply

    def _once(self, question: Question, model: str, extra: Mapping[str, Any], clock: Callable[[], float]) -> Reply:
        reading, begun = Reading(question.max_tokens), clock()
        status: int | None = None
        failure: Failure | None = None
        try:
            with self._client.stream("POST", question.path, json=question.body(model, extra)) as response:
                status = response.status_code
                if (failure := _unfit(response, lambda: clock() - begun > self.timeout)) is None:
                    self._read(response, reading, begun, clock)
        except (httpx2.HTTPError, httpx2.StreamError, BadStream, ServerError, Endless, _Stalled) as error:
            # What breaks after the last piece is of no concern to whoever reads the answer.
            failure = None if reading.done else failure_of(error, self.timeout)
        if failure is None and not reading.whole:
            failure = Failure("cut", f"after {len(reading.arrivals)} pieces")
        # What a server does after the end of its answer took no time of whoever reads it.
        ended = reading.ended if failure is None else None
        return Reply(begun, ended if ended is not None else clock() - begun, reading, failure, status)

    def _read(self, response: httpx2.Response, reading: Reading, begun: float, clock: Callable[[], float]) -> None:
        """Reads the stream to its end, so that the connection can be used again."""
        events = Events()
        for chunk in response.iter_bytes():
            at = clock() - begun
            for data in events.feed(chunk) if not reading.done else ():
                reading.take(data, at)
            if at - (reading.arrivals[-1] if reading.arrivals else 0.0) > self.timeout:
                raise _Stalled  # something comes, such as comments, but no text


def failure_of(error: Exception, timeout: float) -> Failure:
    """How a request failed."""
    kinds: Sequence[tuple[type[Exception] | tuple[type[Exception], ...], Kind]] = (
        ((httpx2.ConnectError, httpx2.ConnectTimeout), "refused"),
        ((httpx2.TimeoutException, _Stalled), "stalled"),
        ((BadStream, httpx2.DecodingError), "garbage"),
        (ServerError, "error"),
        (Endless, "endless"),
    )
    kind: Kind = next((kind for types, kind in kinds if isinstance(error, types)), "broken")
    message = f"no text for {timeout:g} s" if kind == "stalled" else " ".join(str(error).split()).rstrip(".")
    return Failure(kind, message or type(error).__name__)


class _Stalled(RuntimeError):
    """No text for too long."""


def _unfit(response: httpx2.Response, late: Callable[[], bool]) -> Failure | None:
    """Why this response is no answer, before any of it is read as one. late: whether its time is over."""
    if response.status_code != 200:
        return Failure("status", f"{response.status_code}: {excerpt(_beginning(response, late))}")
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != STREAM:
        return Failure("content type", f"{kind or 'none'}, not {STREAM}: {excerpt(_beginning(response, late))}")
    return None


def _beginning(response: httpx2.Response, late: Callable[[], bool], length: int = 4096) -> bytes:
    """The first bytes of a body, however long it is and however slowly it comes."""
    found = b""
    for chunk in response.iter_bytes():
        found += chunk
        if len(found) >= length or late():
            break
    return found


def _local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
