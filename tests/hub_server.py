"""A hub on this machine: enough of the protocol for the real client library to list and fetch what a test puts in."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "1" * 40


@dataclass
class Repositories:
    """name -> file -> bytes. gated: names that are refused. asked: the paths that were requested."""

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    url: str = ""


def handler(repositories: Repositories) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None: ...

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            path = self.path.split("?")[0].strip("/").removeprefix("api/models/")
            repositories.asked.append(path)
            name, _, file = path.partition("/resolve/")
            name = "/".join(name.split("/")[:2])
            if name in repositories.gated:
                return self.reply(403, b"", {"X-Error-Code": "GatedRepo"}, body)
            if name not in repositories.files:
                return self.reply(404, b"", {"X-Error-Code": "RepoNotFound"}, body)
            if not file:
                files = repositories.files[name]
                listed = [{"rfilename": one, "size": len(content)} for one, content in files.items()]
                return self.reply(200, json.dumps({"id": name, "sha": COMMIT, "siblings": listed}).encode(), {}, body)
            content = repositories.files[name].get(file.partition("/")[2])
            if content is None:
                return self.reply(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, body)
            tag = hashlib.sha1(content).hexdigest()
            return self.reply(200, content, {"X-Repo-Commit": COMMIT, "ETag": f'"{tag}"'}, body)

        def reply(self, status: int, content: bytes, headers: dict[str, str], body: bool) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content)

    return Handler


@contextmanager
def serving() -> Iterator[Repositories]:
    """A hub that serves `files` while the block runs."""
    repositories = Repositories()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(repositories))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    repositories.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield repositories
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
