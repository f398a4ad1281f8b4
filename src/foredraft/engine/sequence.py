"""Opening sequences: a request meets a model, a drafter and a verifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from foredraft.core.errors import DraftError, PromptError
from foredraft.core.protocols import AnyDrafter, Cache, Model, Request, Verifier
from foredraft.core.sequence import Sequence, Source
from foredraft.core.stop import StopState
from foredraft.core.stream import KeyedStream, Stream


def open_sequence(
    model: Model,
    drafter: AnyDrafter | Mapping[str, AnyDrafter],
    verifier: Verifier,
    request: Request,
    stop: StopState,
    *,
    stream: Stream | None = None,
    cache: Cache | None = None,
    logprobs: int | None = None,
    keep_laws: bool = False,
) -> Sequence:
    """A sequence before its first round.

    drafter: one, or several by name, asked in this order and joined in one tree.
    stream: KeyedStream(seed, choice) of the request unless given. cache: one that holds the beginning of the prompt (an
    earlier turn of a chat), trimmed by the caller; the sequence owns it from here on. Raises PromptError for an empty
    prompt or one that leaves no room for a token.
    """
    check_prompt(model, request.prompt)
    drafters = drafter if isinstance(drafter, Mapping) else {type(drafter).__name__: drafter}
    request = replace(request, draw=verifier.draw)
    sequence = Sequence(
        request,
        list(request.prompt),
        cache if cache is not None else model.open(),
        request.rules,
        stop,
        stream if stream is not None else KeyedStream(request.seed, request.choice),
        verifier,
        tuple(Source(name, one) for name, one in drafters.items() if one.needs.met(request)),
        logprobs=logprobs,
        keep_laws=keep_laws,
    )
    for source in sequence.sources:
        _start_drafting(sequence, source, None)
    return sequence


def check_prompt(model: Model, prompt: tuple[int, ...]) -> None:
    """Raises PromptError for an empty prompt, or one that leaves no room for a token."""
    size, context = len(prompt), model.about.context
    if not size:
        raise PromptError("the prompt is empty: give it at least one token")
    if size >= context:
        remedy = f"shorten it by {size - context + 1}"
        raise PromptError(f"the prompt has {size} tokens and the model holds {context}: {remedy}")


def fork(sequence: Sequence, choice: int) -> Sequence:
    """Another choice of the same request, before any token: shares the prompt's cache pages, draws its own noise."""
    request = replace(sequence.request, choice=choice)
    forked = replace(
        sequence,
        request=request,
        committed=list(sequence.committed),
        cache=sequence.cache.fork(),
        stream=KeyedStream(request.seed, choice),
        sources=tuple(replace(source, state=None) for source in sequence.sources),
        pace=None,
        steps=[],
    )
    for own, source in zip(forked.sources, sequence.sources, strict=True):
        if source.state is not None:
            _start_drafting(forked, own, source.state)
    return forked


def _start_drafting(sequence: Sequence, source: Source, parent: object) -> None:
    """Gives a source its state. Drafters are untrusted: the text goes on without one that fails."""
    try:
        source.state = source.drafter.open(sequence.request, parent)
        if source.state is None:
            raise DraftError("open gave no state: None stands for a drafter that failed, so return any other object")
    except Exception as error:
        sequence.fault = f"{type(error).__name__}: {error}"
