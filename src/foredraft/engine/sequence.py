"""Opening sequences: a request meets a model, a drafter and a verifier."""

from __future__ import annotations

from dataclasses import replace

from foredraft.core.errors import PromptError
from foredraft.core.protocols import AnyDrafter, Cache, Model, Request, Verifier
from foredraft.core.sequence import Sequence
from foredraft.core.stop import StopState
from foredraft.core.stream import KeyedStream, Stream


def open_sequence(
    model: Model,
    drafter: AnyDrafter,
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

    stream: KeyedStream(seed, choice) of the request unless given. cache: one that holds the beginning of the prompt (an
    earlier turn of a chat), trimmed by the caller; the sequence owns it from here on. Raises PromptError for an empty
    prompt or one that leaves no room for a token.
    """
    context = model.about.context
    if not request.prompt:
        raise PromptError("the prompt is empty: give it at least one token")
    if len(request.prompt) >= context:
        size = len(request.prompt)
        raise PromptError(
            f"the prompt has {size} tokens and the model holds {context}: shorten it by {size - context + 1}"
        )
    held = cache if cache is not None else model.open()
    state, fault = None, None
    try:
        state = drafter.open(request)
    except Exception as error:  # drafters are untrusted: the text goes on without this one
        fault = f"{type(error).__name__}: {error}"
    source = stream if stream is not None else KeyedStream(request.seed, request.choice)
    return Sequence(
        request,
        list(request.prompt),
        held,
        request.rules,
        stop,
        source,
        verifier,
        drafter,
        state,
        logprobs,
        keep_laws,
        fault,
    )


def fork(sequence: Sequence, choice: int) -> Sequence:
    """Another choice of the same request, before any token: shares the prompt's cache pages, draws its own noise."""
    request = replace(sequence.request, choice=choice)
    return Sequence(
        request,
        list(sequence.committed),
        sequence.cache.fork(),
        sequence.rules,
        sequence.stop,
        KeyedStream(request.seed, choice),
        sequence.verifier,
        sequence.drafter,
        sequence.drafter.open(request, parent=sequence.state) if sequence.state is not None else None,
        sequence.logprobs,
        sequence.keep_laws,
    )
