"""llama.cpp's own server, one process for each variant: build, flags and way of guessing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from http.client import HTTPException
from typing import Any

from llama_cpp.bench import Flags
from llama_cpp.build import DEFAULT_FOLDER, Build, BuildError, build, processor_flags, variants
from llama_cpp.serve import PLAIN, SPECULATION, Server, drafted_by

from peers.peer import Answer, Given, Peer, PeerError

GUESSING = ("ngram-simple", "ngram-mod")
FLAGS = tuple(Flags(flash_attention=fa, repack=repack) for fa in (True, False) for repack in (True, False))


class LlamaServer(Peer):
    name = "llama.cpp"

    def __init__(self, given: Given) -> None:
        self._given = given
        self._running: dict[str, Server] = {}
        self._stack = ExitStack()

    @cached_property
    def _builds(self) -> dict[str, Build]:
        try:
            return {name: build(DEFAULT_FOLDER, name) for name in variants(processor_flags())}
        except BuildError as error:
            raise PeerError(str(error)) from None

    @property
    def about(self) -> Mapping[str, Any]:
        precision = "the file's weights as they are, activations int8 in groups of 32, keys and values f16"
        return {"builds": [one.about for one in self._builds.values()], "precision": precision}

    @cached_property
    def _speculation(self) -> dict[str, tuple[str, ...]]:
        drafted = drafted_by(self._given.draft) if self._given.draft is not None else {}
        return dict(SPECULATION) | drafted

    @property
    def ways(self) -> dict[str, tuple[str, ...]]:
        """Plain decoding with every build and flag; guessing with the first build, which has all there is."""
        first = next(iter(self._builds))
        flags = [f"{name} {one.name}" for name in self._builds for one in FLAGS]
        found = {PLAIN: tuple(f"{one} {PLAIN}" for one in flags)}
        repacking = [f"{first} {one.name}" for one in FLAGS if one.flash_attention]
        for kind in (*GUESSING, *(("draft-model",) if self._given.draft is not None else ())):
            ways = [way for way in self._speculation if way.partition(":")[0] == kind]
            found[kind] = tuple(f"{one} {way}" for one in repacking for way in ways)
        return found

    def start(self, variants: Sequence[str]) -> None:
        for variant in variants:
            name, flags, way = variant.split(" ")
            server = Server(
                self._builds[name], self._given.model, self._given.threads, Flags.parse(flags), self._speculation[way]
            )
            try:
                self._running[variant] = self._stack.enter_context(server)
            except BuildError as error:
                raise PeerError(str(error)) from None

    def complete(self, variant: str, ids: Sequence[int], count: int) -> Answer:
        try:
            found = self._running[variant].complete(ids, count, go_on=True)
        except (BuildError, OSError, HTTPException, ValueError) as error:  # the last two: it died while it answered
            raise PeerError(str(error) or type(error).__name__) from None
        return Answer(found.tokens, found.seconds, found.prompt_seconds, found.drafted, found.accepted)

    def stop(self) -> None:
        self._stack.close()
        self._running.clear()
