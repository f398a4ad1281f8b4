"""foredraft, in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llama_cpp.ours import complete

import foredraft
from foredraft.engine.llm import LLM
from peers.peer import Answer, Given, Peer


class Foredraft(Peer):
    """Its drafters are its ways; `none` is plain decoding."""

    name = "foredraft"

    def __init__(self, given: Given, llm: LLM, drafters: Sequence[str]) -> None:
        self._llm = llm
        self._drafters = tuple(drafters)
        self._ready: dict[str, LLM] = {}

    @property
    def about(self) -> Mapping[str, Any]:
        loaded = self._llm.loaded
        precision = "the file's weights as they are, activations int8 in groups of 32, keys and values f16"
        return {"version": foredraft.__version__, "engine": loaded.engine, "precision": precision}

    @property
    def ways(self) -> dict[str, tuple[str, ...]]:
        return {drafter: (drafter,) for drafter in self._drafters}

    def start(self, variants: Sequence[str]) -> None:
        self._ready |= {name: LLM(self._llm.loaded, name) for name in variants if name not in self._ready}

    def complete(self, variant: str, ids: Sequence[int], count: int) -> Answer:
        # Another tenant each time would be cold too; a new drafter knows nothing at all.
        found = complete(self._ready[variant].for_tenant(str(hash(tuple(ids)))), tuple(ids), count, go_on=True)
        if found.faults:
            raise RuntimeError(f"drafter {variant} failed {found.faults} times: its figures do not count")
        first = found.seconds - found.decode_seconds
        return Answer(found.tokens, found.seconds, first, found.drafted, found.accepted)

    def stop(self) -> None:
        self._ready.clear()
