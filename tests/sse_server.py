"""An OpenAI-compatible server on 127.0.0.1 that answers as it is told: well, or wrong in one of many ways."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]


@dataclass
class Told:
    """What the server does. answer: writes one answer; models, metrics: the pages. asked: bodies of requests so far."""

    answer: Callable[[Handler, Body], None]
    models: Body | None = field(default_factory=lambda: {"data": [{"id": "toy", "owned_by": "tests"}]})
    metrics: Callable[[], str] | None = None
    key: str | None = None
    asked: list[Body] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)  # set when the test is: ends whoever stalls


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    told: Told

    def log_message(self, format: str, *words: Any) -> None:
        pass

    def do_GET(self) -> None:
        told = self.told
        if told.key is not None and self.headers["Authorization"] != f"Bearer {told.key}":
            self.page(401, "text/plain", b"who are you?")
        elif self.path == "/v1/models" and told.models is not None:
            self.page(200, "application/json", json.dumps(told.models).encode())
        elif self.path == "/metrics" and told.metrics is not None:
            self.page(200, "text/plain", told.metrics().encode())
        else:
            self.page(404, "text/plain", b"no such page")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.told.asked.append(body)
        self.told.paths.append(self.path)
        self.told.answer(self, body)

    def page(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def begin(self, kind: str = "text/event-stream; charset=utf-8") -> None:
        """A stream of chunks."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def send(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        self.wfile.flush()

    def event(self, piece: Any) -> None:
        self.send(event(piece))

    def end(self) -> None:
        self.wfile.write(b"0\r\n\r\n")

    def die(self) -> None:
        """Breaks the connection without a word."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True


def event(piece: Any) -> bytes:
    return b"data: " + (piece if isinstance(piece, bytes) else json.dumps(piece).encode()) + b"\n\n"


def said(text: str, finish: str | None = None) -> Body:
    """A piece of a chat's answer."""
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


def well(pieces: Sequence[str], tokens: int | None = None, more: Body | None = None) -> Callable[[Handler, Body], None]:
    """Says the pieces as it should. tokens: as it counts them, where it is asked to; more: in its last piece."""

    def answer(handler: Handler, body: Body) -> None:
        handler.begin()
        completions = handler.path == "/v1/completions"
        for text in pieces:
            handler.event({"choices": [{"index": 0, "text": text}]} if completions else said(text))
        handler.event({"choices": [{"index": 0, "text": "", "delta": {}, "finish_reason": "length"}]})
        last: Body = {"choices": [], **(more or {})}
        if tokens is not None and body.get("stream_options", {}).get("include_usage"):
            last["usage"] = {"completion_tokens": tokens, "prompt_tokens": 7}
        handler.event(last)
        handler.event(b"[DONE]")
        handler.end()

    return answer


@contextmanager
def serving(told: Told) -> Iterator[str]:
    """The address of a running server."""
    handler = type("Handler", (Handler,), {"told": told})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.handle_error = lambda *about: None  # type: ignore[method-assign]  # who asks may have gone
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        told.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def unused() -> str:
    """An address where nobody answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
