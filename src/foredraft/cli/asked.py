"""A model with a drafter, as the options of `generate` and `trace` ask for it."""

from __future__ import annotations

from typing import Protocol

from foredraft.cli.show import loading
from foredraft.engine.llm import LLM, load
from foredraft.engine.options import Speculation
from foredraft.policy import check_policy
from foredraft.verify import make_verifier


class Asked(Protocol):
    """The options, as given."""

    @property
    def model(self) -> str: ...
    @property
    def engine(self) -> str: ...
    @property
    def threads(self) -> int | None: ...
    @property
    def speculation(self) -> Speculation: ...
    @property
    def verifier(self) -> str: ...
    @property
    def allow_lossy(self) -> bool: ...


def check(asked: Asked) -> None:
    """Tells wrong names before weights are fetched or loaded."""
    make_verifier(asked.verifier, allow_lossy=asked.allow_lossy)
    check_policy(asked.speculation.policy)


def opened(asked: Asked) -> LLM:
    said = asked.speculation
    with loading(asked.model) as progress:
        return load(
            asked.model,
            said.drafter,
            engine=asked.engine,
            verifier=asked.verifier,
            allow_lossy=asked.allow_lossy,
            policy=said.policy,
            num_speculative_tokens=said.num_speculative_tokens,
            threads=asked.threads,
            progress=progress,
        )


def ids_of(llm: LLM, text: str, raw: bool) -> tuple[int, ...]:
    """Token ids of a prompt, through the chat template unless it is raw."""
    return llm.encode(text) if raw else llm.encode_chat([{"role": "user", "content": text}])
