"""Runs a generation and plain decoding beside it, both timed, then looks at every pass once more for the record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from foredraft.core.errors import RuleError
from foredraft.core.events import Step
from foredraft.core.params import SamplingParams
from foredraft.core.rules import Rules
from foredraft.engine.compare import Comparison, race
from foredraft.engine.llm import DEFAULT_VERIFIER, LLM
from foredraft.models.tokens import PlainTokens
from foredraft.trace.again import Seen, seen_again
from foredraft.trace.record import Json, labels, record


def trace(
    llm: LLM,
    ids: tuple[int, ...],
    params: SamplingParams,
    prompt: str,
    facts: Mapping[str, str],
    show: Callable[[Step], None] = lambda step: None,
) -> tuple[Json, Comparison]:
    """The record of a generation from `ids`, and the comparison in it. prompt, facts: shown on the page.

    Raises RuleError for a text that the rules end.
    """
    found = race(llm, ids, params, show)
    completion = found.speculative.completion
    if completion.finish_reason == "error":
        raise RuleError(str(completion.stop_reason))
    seen: list[Seen] = seen_again(llm.loaded.model, ids, _rules(llm, ids, params), completion.steps)
    tokenizer = llm.tokenizer
    decode = partial(tokenizer.decode, skip_special=params.skip_special_tokens)
    label = labels(partial(tokenizer.decode, skip_special=False), PlainTokens(tokenizer).token_bytes)
    promised = promises_identity(llm, params)
    return record(found, seen, decode, label, prompt, facts, promised=promised), found


def promises_identity(llm: LLM, params: SamplingParams) -> bool:
    """Whether plain decoding must say the same: with `match` always, with other lossless verifiers greedily."""
    verifier = params.verifier if params.verifier is not None else llm.verifier_name
    return verifier == DEFAULT_VERIFIER or (llm.verifier.lossless and params.temperature == 0)


def _rules(llm: LLM, ids: tuple[int, ...], params: SamplingParams) -> Rules:
    """The rules at the end of the prompt."""
    sequence = LLM(llm.loaded, "none").open(ids, replace(params, verifier=None))
    sequence.close()
    return sequence.request.rules
