"""The target as it answers prompts on foredraft's own engine: many texts share a pass, each draws its own noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from foredraft.core.params import SamplingParams
from foredraft.core.protocols import Model
from foredraft.core.sequence import Sequence as Seq
from foredraft.engine.llm import load
from foredraft.engine.loop import generate
from foredraft.models.tokenizer import Tokenizer
from foredraft.train.corpus import Speaker

# Texts that share a pass. More of them make a pass dearer almost in proportion: arithmetic bounds it by then.
AT_ONCE = 32


class Answers(Protocol):
    """A target that answers."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def speaker(self) -> Speaker:
        """Who it is."""

    def answer(
        self, prompts: Sequence[tuple[int, ...]], most: int, temperature: float, seed: int
    ) -> Iterator[tuple[int, ...]]:
        """The responses in order, the token that ends them included, of at most `most` tokens."""

    def close(self) -> None: ...


class EngineAnswers:
    """Plain decoding on the native engine, with the weights and activations that are served."""

    def __init__(self, name: str, *, engine: str = "auto", threads: int | None = None, at_once: int = AT_ONCE) -> None:
        self._llm = load(name, "none", engine=engine, threads=threads)
        self._at_once = at_once

    @property
    def tokenizer(self) -> Tokenizer:
        return self._llm.tokenizer

    @property
    def speaker(self) -> Speaker:
        about = self.model.about
        return Speaker(about.name, dict(about.details).get("fingerprint", ""))

    @property
    def model(self) -> Model:
        """By whose passes the texts are said."""
        return self._llm.loaded.model

    def answer(
        self, prompts: Sequence[tuple[int, ...]], most: int, temperature: float, seed: int
    ) -> Iterator[tuple[int, ...]]:
        """seed: the first prompt's; each prompt has the next, for equal ones are to be answered differently."""
        begun, said = dict[int, Seq](), dict[int, tuple[int, ...]]()  # by seed

        def opened() -> Iterator[Seq]:
            for own, prompt in enumerate(prompts, seed):
                begun[own] = self._llm.open(prompt, SamplingParams(temperature=temperature, max_tokens=most, seed=own))
                yield begun[own]

        try:
            for sequence, _ in generate(self._llm.loaded.model, self._llm.policy, opened(), self._at_once):
                if sequence.finished:
                    said[sequence.request.seed] = tuple(sequence.output)
                    begun.pop(sequence.request.seed).close()
        finally:
            for sequence in begun.values():
                sequence.close()
        return (said[own] for own in range(seed, seed + len(prompts)))

    def close(self) -> None:
        self._llm.close()
