"""A chat whose cache is kept across turns: each turn scores only what the last one has not."""

from __future__ import annotations

from collections.abc import Generator

from foredraft.core.errors import ForedraftError, UsageError
from foredraft.core.params import SamplingParams
from foredraft.core.protocols import Cache
from foredraft.core.sequence import Sequence
from foredraft.engine.llm import DEFAULTS, LLM
from foredraft.engine.loop import generate
from foredraft.engine.outputs import Chunk, Completion


class Conversation:
    """Messages so far and the cache of their tokens. `reply` may be abandoned half way: what was said is kept."""

    def __init__(self, llm: LLM, system: str | None = None) -> None:
        self.llm = llm
        self.system = system
        self.messages: list[dict[str, str]] = []
        self.last: Completion | None = None
        self.cached = 0  # tokens of the last prompt that needed no scoring
        self._cache: Cache | None = None
        self._tokens: list[int] = []
        self.reset()

    def reset(self) -> None:
        """Forgets everything but the system message."""
        self.messages = [{"role": "system", "content": self.system}] if self.system else []
        self.last = None
        self.close()

    def reply(self, text: str, params: SamplingParams = DEFAULTS) -> Generator[Chunk, None, None]:
        """Says `text` and yields the answer as it comes. A message that is refused is not remembered."""
        if params.n != 1:
            raise UsageError("a conversation goes on with one answer: n must be 1")
        asked = [*self.messages, {"role": "user", "content": text}]
        prompt = self.llm.encode_chat(asked)
        cache = self._reusable(prompt)
        try:
            # Each turn is another choice of the seed: the same noise again would tie its words to the last turn's.
            sequence = self.llm.open(prompt, params, cache=cache, choice=len(asked))
        except ForedraftError:
            self._cache = cache
            raise
        self.messages = asked
        try:
            for _, step in generate(self.llm.loaded.model, self.llm.policy, [sequence]):
                yield Chunk(0, step.text, step.tokens, step.finish, step.logprobs, step)
        finally:
            self._remember(sequence)

    def close(self) -> None:
        """Gives the cache back."""
        if self._cache is not None:
            self._cache.close()
        self._cache, self._tokens, self.cached = None, [], 0

    def _reusable(self, prompt: tuple[int, ...]) -> Cache | None:
        """The kept cache, cut to what it shares with `prompt`; it now belongs to the caller."""
        cache, self._cache = self._cache, None
        self.cached = 0
        if cache is None:
            return None
        shared = 0
        while shared < min(cache.length, len(prompt) - 1) and self._tokens[shared] == prompt[shared]:
            shared += 1
        cache.trim(shared)
        self.cached = shared
        return cache

    def _remember(self, sequence: Sequence) -> None:
        self.last = Completion.of(sequence)
        self.messages = [*self.messages, {"role": "assistant", "content": self.last.text}]
        self._tokens = sequence.committed
        self._cache = sequence.release()
