"""The public face: a model with a drafter, as `foredraft.load` returns it."""

from __future__ import annotations

import operator
import secrets
from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Many
from contextlib import ExitStack
from copy import copy
from functools import lru_cache, partial
from numbers import Integral
from types import TracebackType
from typing import Any, overload

from foredraft.core.errors import PromptError, UsageError
from foredraft.core.params import SamplingParams
from foredraft.core.protocols import AnyDrafter, AnyPolicy, Cache, Request
from foredraft.core.rules import rules_of
from foredraft.core.sequence import Sequence
from foredraft.core.stop import stop_of
from foredraft.draft import line_up
from foredraft.engine.backends import Loaded, given_drafting, load_model, make_drafting
from foredraft.engine.costs import costs_of
from foredraft.engine.grammars import GrammarsOf
from foredraft.engine.loop import generate, prefill
from foredraft.engine.options import speculation
from foredraft.engine.outputs import Chunk, Completion, Output
from foredraft.engine.sequence import check_prompt, fork, open_sequence
from foredraft.models.quantise import Quantize
from foredraft.models.sources import Progress
from foredraft.models.templates import chat_ids
from foredraft.models.text import TextState
from foredraft.policy import ADAPTIVE, check_policy, make_policy
from foredraft.policy.constant import Constant
from foredraft.verify import make_verifier

Prompt = str | Many[int]
Message = Mapping[str, str]

DEFAULT_MODEL = "smollm2"
DEFAULT_DRAFTER = "auto"
DEFAULT_VERIFIER = "match"
DEFAULT_POLICY = ADAPTIVE
DEFAULTS = SamplingParams()
DECODED = 1 << 14  # windows of tokens whose text is remembered


class LLM:
    """A model, a drafter and a verifier. Text is the model's own whatever the last two are.

    Prompts are text, taken as it stands, or token ids; `chat` puts messages through the model's chat template. Not safe
    for use from several threads at once.
    """

    def __init__(
        self,
        loaded: Loaded,
        drafter: str | AnyDrafter = DEFAULT_DRAFTER,
        *,
        verifier: str = DEFAULT_VERIFIER,
        allow_lossy: bool = False,
        policy: str = DEFAULT_POLICY,
        num_speculative_tokens: int | None = None,
        max_num_seqs: int = 8,
        progress: Progress | None = None,
    ) -> None:
        """drafter, verifier, policy: by name, as on the command line; a drafter may also be an object of one's own.

        A request may name another verifier. allow_lossy: also one that changes what the model says.
        num_speculative_tokens: drafted a round at most, the same every round; None leaves it to what is said in the
        drafter's name, else to the policy.
        max_num_seqs: sequences that share a pass, or n where a prompt has more choices than that.
        """
        if max_num_seqs < 1:
            raise UsageError(f"max_num_seqs must be at least 1, not {max_num_seqs}")
        self.loaded = loaded
        self.tokenizer = loaded.tokenizer
        self.verifier_name = verifier
        self.verifier = make_verifier(verifier, allow_lossy=allow_lossy)
        self.allow_lossy = allow_lossy
        self.max_num_seqs = max_num_seqs
        self.tenant = ""
        # A text is decoded by windows of one or two tokens, of which many come again.
        self._decoders = {
            skip: lru_cache(DECODED)(partial(self.tokenizer.decode, skip_special=skip)) for skip in (False, True)
        }
        fixed = num_speculative_tokens
        self.grammars = GrammarsOf(loaded)
        if isinstance(drafter, str):
            lineup = line_up(drafter)
            self.drafting = make_drafting(lineup, loaded, progress)
            if fixed is not None and lineup.fixed is not None:
                raise UsageError(
                    f"drafter {drafter!r} says itself how many tokens to draft: leave the other number out"
                )
            fixed = fixed if fixed is not None else lineup.fixed
        else:
            self.drafting = given_drafting(drafter, loaded)
        self.policy = self._policy(policy, fixed)

    def _policy(self, name: str, fixed: int | None) -> AnyPolicy:
        """The one named; a constant one where it was said how many tokens to draft."""
        if fixed is None:
            return make_policy(name, lambda: costs_of(self.loaded))
        if name != DEFAULT_POLICY:
            raise UsageError(f"{fixed} tokens a round leave policy {name!r} nothing to decide: give one of the two")
        return Constant(fixed)

    def for_tenant(self, tenant: str) -> LLM:
        """The same models and drafters for requests that share what is learnt with no other tenant's."""
        own = copy(self)
        own.tenant = tenant
        return own

    @overload
    def generate(self, prompts: Prompt, params: SamplingParams = ...) -> Output: ...  # type: ignore[overload-overlap]

    @overload
    def generate(self, prompts: Many[str] | Many[Many[int]], params: SamplingParams = ...) -> list[Output]: ...

    def generate(
        self, prompts: Prompt | Many[str] | Many[Many[int]], params: SamplingParams = DEFAULTS
    ) -> Output | list[Output]:
        """The continuation of a prompt, or of each prompt of a list."""
        if isinstance(prompts, str) or (len(prompts) and isinstance(prompts[0], Integral)):
            return self._generate([self.encode(prompts)], params)[0]  # type: ignore[arg-type]
        if not len(prompts):
            raise PromptError("there is no prompt: give a text, token ids or a list of either")
        return self._generate([self.encode(prompt) for prompt in prompts], params)  # type: ignore[arg-type]

    def chat(self, messages: Many[Message], params: SamplingParams = DEFAULTS) -> Output:
        """The reply to messages of {"role", "content"}, through the chat template."""
        return self._generate([self.encode_chat(messages)], params)[0]

    def stream(self, prompt: Prompt, params: SamplingParams = DEFAULTS) -> Iterator[Chunk]:
        """Like generate for one prompt, piece by piece; with n > 1 the choices' chunks are interleaved."""
        return self._stream(self.encode(prompt), params)

    def stream_chat(self, messages: Many[Message], params: SamplingParams = DEFAULTS) -> Iterator[Chunk]:
        """Like chat, piece by piece."""
        return self._stream(self.encode_chat(messages), params)

    def encode(self, prompt: Prompt) -> tuple[int, ...]:
        """Token ids of a raw prompt. Raises PromptError when there are none, or for ids outside the vocabulary."""
        ids = tuple(map(operator.index, self.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt))
        if not len(prompt) or not ids:
            raise PromptError("the prompt is empty: give it at least one character")
        outside = [token for token in ids if not 0 <= token < self.tokenizer.size]
        if outside:
            last = self.tokenizer.size - 1
            raise PromptError(f"token id {outside[0]} is not in the vocabulary: use ids from 0 to {last}")
        return ids

    def encode_chat(self, messages: Many[Message]) -> tuple[int, ...]:
        """Token ids of a chat that ends where the model is to reply; control tokens in messages are plain text."""
        if not len(messages) or not all(isinstance(message, Mapping) for message in messages):
            raise PromptError('a chat is a list of messages {"role": …, "content": …}: give at least one')
        if not messages[-1].get("content", ""):
            raise PromptError("the last message is empty: give it at least one character")
        return tuple(chat_ids(self.tokenizer, [dict(message) for message in messages]))

    def open(
        self,
        prompt: tuple[int, ...],
        params: SamplingParams = DEFAULTS,
        *,
        cache: Cache | None = None,
        choice: int = 0,
    ) -> Sequence:
        """A sequence for `prompt`, before its first round. choice: which of the seed's texts it is."""
        model, tokenizer = self.loaded.model, self.tokenizer
        verifier = self.verifier
        if params.verifier is not None:
            verifier = make_verifier(params.verifier, allow_lossy=self.allow_lossy)
        seed = params.seed if params.seed is not None else secrets.randbits(32)
        stop_ids = tokenizer.stop_ids | frozenset(params.stop_token_ids)
        rules = rules_of(
            params,
            prompt=prompt,
            vocab_size=model.about.vocab_size,
            stop_ids=stop_ids,
            bad_words=_bad_words(params, self),
            grammar=self.grammars.first(params.structured_outputs),
        )
        room = model.about.context - len(prompt)
        decode = self._decoders[params.skip_special_tokens]
        stop = stop_of(params, tokenizer.stop_ids, room, TextState.of(decode))
        expected = params.prediction
        prediction = tuple(tokenizer.encode(expected, add_bos=False)) if expected is not None else None
        request = Request(prompt, seed, choice, rules, self.tenant, prediction)
        return open_sequence(
            model, self.drafting.drafters, verifier, request, stop, logprobs=params.logprobs, cache=cache
        )

    def _choices(self, prompt: tuple[int, ...], params: SamplingParams, stack: ExitStack) -> list[Sequence]:
        """n sequences of one prompt, which is scored once; the stack closes them, whatever happens."""
        first = self.open(prompt, params)
        stack.callback(first.close)
        if params.n > 1:
            for _ in prefill(self.loaded.model, self.policy, first):
                pass
        choices = [first]
        for choice in range(1, params.n):
            choices.append(fork(first, choice))
            stack.callback(choices[-1].close)
        return choices

    def _generate(self, prompts: Many[tuple[int, ...]], params: SamplingParams) -> list[Output]:
        for prompt in prompts:  # before any text is generated
            check_prompt(self.loaded.model, prompt)
        choices = list[list[Sequence]]()
        with ExitStack() as stack:

            def opened() -> Iterator[Sequence]:
                for prompt in prompts:
                    choices.append(self._choices(prompt, params, stack))
                    yield from choices[-1]

            at_once = max(self.max_num_seqs, params.n)
            for sequence, _ in generate(self.loaded.model, self.policy, opened(), at_once):
                if sequence.finished:  # its memory is the next one's
                    sequence.close()
        return [Output(prompt, tuple(map(Completion.of, own))) for prompt, own in zip(prompts, choices, strict=True)]

    def _stream(self, prompt: tuple[int, ...], params: SamplingParams) -> Iterator[Chunk]:
        with ExitStack() as stack:
            sequences = self._choices(prompt, params, stack)
            for sequence, step in generate(self.loaded.model, self.policy, sequences):
                choice = sequence.request.choice
                yield Chunk(choice, step.text, step.tokens, step.finish, step.logprobs, step)

    def close(self) -> None:
        """Gives back the models."""
        self.drafting.close()
        self.loaded.model.close()

    def __enter__(self) -> LLM:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _bad_words(params: SamplingParams, llm: LLM) -> list[tuple[int, ...]]:
    """Each bad word as it is spelt at the beginning of a text and after a space."""
    spelt = [llm.tokenizer.encode(prefix + word, add_bos=False) for word in params.bad_words for prefix in ("", " ")]
    return [tuple(ids) for ids in spelt if ids]


def load(
    model: str = DEFAULT_MODEL,
    drafter: str | AnyDrafter = DEFAULT_DRAFTER,
    *,
    engine: str = "auto",
    quantize: Quantize | None = None,
    verifier: str = DEFAULT_VERIFIER,
    allow_lossy: bool = False,
    policy: str = DEFAULT_POLICY,
    num_speculative_tokens: int | None = None,
    draft_model: str | None = None,
    speculative_config: Mapping[str, Any] | None = None,
    threads: int | None = None,
    max_num_seqs: int = 8,
    progress: Progress | None = None,
) -> LLM:
    """A model ready to generate.

    model: a known name, a path (GGUF file or Hugging Face directory) or a hub id. drafter: how to guess, as on the
    command line, `none` for plain decoding; or an object of one's own. verifier: how guesses are checked, for requests
    that name none; allow_lossy: also by one that changes what the model says. quantize: int8 or int4, for the weights
    of a Hugging Face directory; GGUF files are computed as they are. draft_model: a second model that drafts beside the
    drafter. speculative_config: how to draft, under the names of vLLM, Hugging Face or llama.cpp (docs/options.md), in
    place of drafter. progress: told (bytes done, bytes in all) while weights are fetched.
    """
    if isinstance(drafter, str):  # wrong names are told before weights are fetched or loaded
        said = speculation(
            drafter,
            config=speculative_config,
            num_speculative_tokens=num_speculative_tokens,
            draft_model=draft_model,
            policy=policy,
        )
        drafter, policy, num_speculative_tokens = said.drafter, said.policy, said.num_speculative_tokens
    elif draft_model is not None or speculative_config is not None:
        raise UsageError("a drafter made by the caller says how to draft: leave draft_model and speculative_config out")
    make_verifier(verifier, allow_lossy=allow_lossy)
    check_policy(policy)
    loaded = load_model(model, engine=engine, quantize=quantize, threads=threads, progress=progress)
    try:
        return LLM(
            loaded,
            drafter,
            verifier=verifier,
            allow_lossy=allow_lossy,
            policy=policy,
            num_speculative_tokens=num_speculative_tokens,
            max_num_seqs=max_num_seqs,
            progress=progress,
        )
    except BaseException:
        loaded.model.close()
        raise
