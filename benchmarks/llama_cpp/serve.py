"""llama-server, started on 127.0.0.1 and asked for completions of token ids; ended by its own process id."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from llama_cpp.bench import Flags
from llama_cpp.build import Build, BuildError

HOST = "127.0.0.1"
CONTEXT = 4096
START_SECONDS = 120
ANSWER_SECONDS = 600
PLAIN = "plain"


def _ngrams(kind: str, key: int, draft: int) -> tuple[str, ...]:
    return ("--spec-type", kind, f"--spec-{kind}-size-n", str(key), f"--spec-{kind}-size-m", str(draft))


def _mod(key: int, least: int, most: int) -> tuple[str, ...]:
    sizes = {"match": key, "min": least, "max": most}
    return (
        "--spec-type",
        "ngram-mod",
        *(word for n, v in sizes.items() for word in (f"--spec-ngram-mod-n-{n}", str(v))),
    )


# The ways of guessing without a second model, as shipped and with shorter keys and drafts, which suit processors where
# every row of a pass costs.
SPECULATION: dict[str, tuple[str, ...]] = {
    PLAIN: (),
    "ngram-simple": ("--spec-type", "ngram-simple"),
    "ngram-simple:6-16": _ngrams("ngram-simple", 6, 16),
    "ngram-simple:3-8": _ngrams("ngram-simple", 3, 8),
    "ngram-map-k": ("--spec-type", "ngram-map-k"),
    "ngram-map-k:6-16": _ngrams("ngram-map-k", 6, 16),
    "ngram-map-k:3-8": _ngrams("ngram-map-k", 3, 8),
    "ngram-mod": ("--spec-type", "ngram-mod"),
    "ngram-mod:8-4-16": _mod(8, 4, 16),
    "ngram-cache": ("--spec-type", "ngram-cache"),
}


def drafted_by(model: Path) -> dict[str, tuple[str, ...]]:
    """The ways of guessing with a draft model."""
    words = ("--spec-type", "draft-simple", "--spec-draft-model", str(model), "--spec-draft-n-max")
    return {f"draft-model:{length}": (*words, str(length)) for length in (2, 4)}


def server_command(
    program: Path, model: Path, threads: int, flags: Flags, speculation: Sequence[str], port: int
) -> list[str]:
    """The command that serves one sequence at a time on `port`."""
    return [
        *(str(program), "--model", str(model), "--host", HOST, "--port", str(port), "--offline", "--no-ui"),
        *("--threads", str(threads), "--threads-batch", str(threads), "--ctx-size", str(CONTEXT), "--parallel", "1"),
        *("--flash-attn", flags.attention, "--repack" if flags.repack else "--no-repack"),
        *("--load-mode", flags.load_mode, "--ubatch-size", str(flags.ubatch), "--fit", "off", "--cache-ram", "0"),
        *speculation,
    ]


@dataclass(frozen=True)
class Answer:
    """One completion. generated: how many tokens, the end of text included. decode_seconds: from the first token to the
    last; seconds: as its caller waited for it."""

    tokens: tuple[int, ...]
    generated: int
    decode_seconds: float
    prompt_seconds: float
    seconds: float
    drafted: int
    accepted: int

    @property
    def decoded(self) -> int:
        """Tokens made in `decode_seconds`: the first one comes with the prompt's pass."""
        return self.generated - 1


def answer(reply: Mapping[str, Any], seconds: float) -> Answer:
    """An Answer of llama-server's reply. Raises BuildError when fields are missing."""
    try:
        timings = reply["timings"]
        return Answer(
            tuple(reply["tokens"]),
            timings["predicted_n"],
            timings["predicted_ms"] / 1e3,
            timings["prompt_ms"] / 1e3,
            seconds,
            timings.get("draft_n", 0),
            timings.get("draft_n_accepted", 0),
        )
    except (KeyError, TypeError) as error:
        raise BuildError(f"llama-server's reply lacks {error}: {str(reply)[:300]}") from None


class Server:
    """A running llama-server; use it with `with`, which waits until it is ready and ends it in any case."""

    def __init__(self, build: Build, model: Path, threads: int, flags: Flags, speculation: Sequence[str]) -> None:
        self.port = _free_port()
        program = build.program("llama-server")
        self.command = server_command(program, model, threads, flags, speculation, self.port)
        self.log = build.folder / f"server-{self.port}.log"

    def __enter__(self) -> Server:
        with self.log.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self._wait()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        if kind is None:
            self.log.unlink()

    def complete(self, tokens: Sequence[int], max_tokens: int, go_on: bool = False) -> Answer:
        """The greedy continuation of token ids, nothing kept from earlier requests. go_on: it may not end earlier."""
        body = {
            "ignore_eos": go_on,
            "prompt": list(tokens),
            "n_predict": max_tokens,
            "temperature": 0,
            "cache_prompt": False,
            "return_tokens": True,
        }
        begun = time.perf_counter()
        status, reply = self._request("POST", "/completion", ANSWER_SECONDS, body)
        seconds = time.perf_counter() - begun
        if status != 200:
            raise BuildError(f"llama-server answered with status {status}: {reply[:300]!r}")
        return answer(json.loads(reply), seconds)

    def _wait(self) -> None:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            if self.process.poll() is not None:
                break
            try:
                if self._request("GET", "/health", 5)[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        end = self.log.read_text(encoding="utf-8", errors="replace")[-800:]
        raise BuildError(f"llama-server did not start ({' '.join(self.command)}); its last words: {end}")

    def _end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _request(self, method: str, path: str, timeout: float, body: object = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=timeout)  # past any proxy of the environment
        try:
            content = json.dumps(body) if body is not None else None
            connection.request(method, path, content, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
