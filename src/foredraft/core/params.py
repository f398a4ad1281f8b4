"""What a caller may ask of a generation, under the names vLLM's SamplingParams gave them. Checked when made."""

from __future__ import annotations

import json as jsonlib
import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, SupportsFloat

from foredraft.core.errors import UsageError

INTEGERS = ("n", "top_k", "min_tokens", "max_tokens", "seed", "logprobs")
NUMBERS = ("temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty")


@dataclass(frozen=True, kw_only=True)
class StructuredOutputsParams:
    """What the text must be: exactly one of these, under vLLM's names. How it is said stays the model's choice.

    json: a JSON schema, as a mapping or as its text. json_object: any JSON object. regex: a regular expression for the
    whole text. choice: one of these strings. grammar: a grammar in llguidance's variant of Lark.
    """

    json: str | Mapping[str, Any] | None = None
    json_object: bool = False
    regex: str | None = None
    choice: tuple[str, ...] | None = None
    grammar: str | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("json", "regex", "choice", "grammar") if getattr(self, name) is not None]
        given += ["json_object"] if self.json_object else []
        named = " and ".join(given) or "none"
        _require(len(given) == 1, "structured_outputs", "one of json, json_object, regex, choice and grammar", named)
        if self.json is not None:
            object.__setattr__(self, "json", _schema(self.json))
        if self.choice is not None:
            choice = (self.choice,) if isinstance(self.choice, str) else tuple(self.choice)
            texts = bool(choice) and all(isinstance(one, str) for one in choice)
            _require(texts, "choice", "at least one string", choice)
            object.__setattr__(self, "choice", choice)
        for name in ("regex", "grammar"):
            text = getattr(self, name)
            _require(text is None or isinstance(text, str), name, "a string", text)


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """Frozen and validated; every field is honoured or refused, none is dropped.

    temperature: 0 is greedy: the argmax after penalties, bias and grammar (lowest id among equals).
    top_k: keep the k likeliest tokens; 0 or -1 keeps all. top_p: keep the smallest set with that mass.
    min_p: keep tokens at least min_p times as likely as the likeliest.
    presence_penalty, frequency_penalty: subtracted for tokens of the output (once; per occurrence).
    repetition_penalty: divides (if positive) or multiplies logits of tokens in prompt or output.
    logit_bias: token id -> added logit. allowed_token_ids: nothing else may be said. bad_words: never said.
    min_tokens: the end of text and stop_token_ids are not said before as many tokens.
    max_tokens: None generates until the end of text or the context is full.
    stop, stop_token_ids: end the text there; ignore_eos: go on past the model's end of text.
    n: independent choices. seed: None draws one and reports it. logprobs: that many likeliest tokens beside each
    emitted one (0: only the emitted), from the model's own logits before any rule.
    structured_outputs: a schema, regular expression, choice or grammar that the text must match.
    prediction: what the text is expected to be, for drafts alone (OpenAI's predicted outputs); it changes no token.
    verifier: how drafts are checked, by name; None leaves it to the engine's.
    """

    n: int = 1
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    allowed_token_ids: tuple[int, ...] | None = None
    bad_words: tuple[str, ...] = ()
    min_tokens: int = 0
    max_tokens: int | None = 256
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    seed: int | None = None
    logprobs: int | None = None
    structured_outputs: StructuredOutputsParams | None = None
    prediction: str | None = None
    verifier: str | None = None

    def __post_init__(self) -> None:
        for name in INTEGERS:
            object.__setattr__(self, name, _whole(name, getattr(self, name)))
        for name in NUMBERS:
            object.__setattr__(self, name, _number(name, getattr(self, name)))
        for name in ("stop", "bad_words"):  # one string is the usual shorthand for a list of one, None for none
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value or ()))
        for name in ("stop_token_ids", "allowed_token_ids"):
            if (ids := getattr(self, name)) is not None:
                object.__setattr__(self, name, tuple(_whole(name, one) for one in ids))
        object.__setattr__(self, "stop_token_ids", self.stop_token_ids or ())
        bias = {_whole("logit_bias", token): value for token, value in (self.logit_bias or {}).items()}
        object.__setattr__(self, "logit_bias", bias)
        if self.top_k == -1:
            object.__setattr__(self, "top_k", 0)
        _require(self.n >= 1, "n", "at least 1", self.n)
        _require(self.temperature >= 0, "temperature", "0 (greedy) or more", self.temperature)
        _require(self.n == 1 or self.temperature > 0, "n", "1 at temperature 0, where all choices are alike", self.n)
        _require(self.top_k >= 0, "top_k", "0 (off) or more", self.top_k)
        _require(0 < self.top_p <= 1, "top_p", "in (0, 1]", self.top_p)
        _require(0 <= self.min_p <= 1, "min_p", "in [0, 1]", self.min_p)
        _require(-2 <= self.presence_penalty <= 2, "presence_penalty", "in [-2, 2]", self.presence_penalty)
        _require(-2 <= self.frequency_penalty <= 2, "frequency_penalty", "in [-2, 2]", self.frequency_penalty)
        _require(self.repetition_penalty > 0, "repetition_penalty", "above 0", self.repetition_penalty)
        _require(self.min_tokens >= 0, "min_tokens", "0 or more", self.min_tokens)
        _require(self.max_tokens is None or self.max_tokens >= 1, "max_tokens", "at least 1", self.max_tokens)
        _require(
            self.max_tokens is None or self.min_tokens <= self.max_tokens,
            "min_tokens",
            f"at most max_tokens ({self.max_tokens})",
            self.min_tokens,
        )
        _require(all(self.stop), "stop", "made of non-empty strings", self.stop)
        _require(all(self.bad_words), "bad_words", "made of non-empty strings", self.bad_words)
        biased = all(value < math.inf for value in self.logit_bias.values())  # -inf forbids a token; no NaN
        _require(biased, "logit_bias", "made of numbers below infinity", self.logit_bias)
        _require(self.seed is None or 0 <= self.seed < 2**63, "seed", "in [0, 2^63)", self.seed)
        _require(self.logprobs is None or self.logprobs >= 0, "logprobs", "0 or more", self.logprobs)
        _require(self.verifier is None or isinstance(self.verifier, str), "verifier", "a name", self.verifier)
        _require(
            self.allowed_token_ids is None or len(self.allowed_token_ids) > 0,
            "allowed_token_ids",
            "at least one token id",
            self.allowed_token_ids,
        )
        said = self.prediction is None or isinstance(self.prediction, str)
        _require(said, "prediction", "a text", self.prediction)
        guided = self.structured_outputs is not None
        _require(not (guided and self.ignore_eos), "ignore_eos", "false with structured_outputs, which end", True)


def _schema(value: Any) -> str:
    """A JSON schema as text, its keys in the order they were given in."""
    try:
        parsed = jsonlib.loads(value) if isinstance(value, str) else value
        text = jsonlib.dumps(parsed, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"json must be a JSON schema, and this is no JSON ({error}): check it") from None
    except RecursionError:
        raise UsageError("json must be a JSON schema, and this one is nested too deeply: use $ref") from None
    _require(isinstance(parsed, Mapping), "json", "a JSON schema, which is an object", text[:80])
    return text


def _whole(name: str, value: Any) -> int | None:
    """A whole number, also as JSON keys spell it; None stays None."""
    try:
        return None if value is None else int(value) if isinstance(value, str) else operator.index(value)
    except (TypeError, ValueError):
        raise UsageError(f"{name} must be a whole number, not {value!r}") from None


def _number(name: str, value: Any) -> float:
    if isinstance(value, str) or not isinstance(value, SupportsFloat) or not math.isfinite(value):
        raise UsageError(f"{name} must be a finite number, not {value!r}")
    return float(value)


def _require(holds: bool, name: str, wanted: str, value: object) -> None:
    if not holds:
        raise UsageError(f"{name} must be {wanted}, not {value}")
