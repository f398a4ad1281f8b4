"""Sampling parameters: what is refused, and the sentence that says so."""

from __future__ import annotations

from typing import Any

import pytest

from foredraft.core.errors import UsageError
from foredraft.core.params import SamplingParams


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n must be at least 1, not 0"),
        ({"temperature": -0.1}, "temperature must be 0 (greedy) or more, not -0.1"),
        ({"temperature": float("nan")}, "temperature must be a finite number, not nan"),
        ({"temperature": float("inf")}, "temperature must be a finite number, not inf"),
        ({"top_k": -2}, "top_k must be 0 (off) or more, not -2"),
        ({"top_p": 0.0}, "top_p must be in (0, 1], not 0.0"),
        ({"top_p": 1.01}, "top_p must be in (0, 1], not 1.01"),
        ({"top_p": float("nan")}, "top_p must be a finite number, not nan"),
        ({"min_p": -0.5}, "min_p must be in [0, 1], not -0.5"),
        ({"min_p": 1.5}, "min_p must be in [0, 1], not 1.5"),
        ({"presence_penalty": 2.5}, "presence_penalty must be in [-2, 2], not 2.5"),
        ({"frequency_penalty": -2.5}, "frequency_penalty must be in [-2, 2], not -2.5"),
        ({"repetition_penalty": 0.0}, "repetition_penalty must be above 0, not 0.0"),
        ({"min_tokens": -1}, "min_tokens must be 0 or more, not -1"),
        ({"max_tokens": 0}, "max_tokens must be at least 1, not 0"),
        ({"min_tokens": 9, "max_tokens": 8}, "min_tokens must be at most max_tokens (8), not 9"),
        ({"stop": ("x", "")}, "stop must be made of non-empty strings, not ('x', '')"),
        ({"stop": ""}, "stop must be made of non-empty strings, not ('',)"),
        ({"bad_words": [""]}, "bad_words must be made of non-empty strings, not ('',)"),
        ({"logit_bias": {1: float("inf")}}, "logit_bias must be made of numbers below infinity, not {1: inf}"),
        ({"logit_bias": {1: float("nan")}}, "logit_bias must be made of numbers below infinity, not {1: nan}"),
        ({"seed": -1}, "seed must be in [0, 2^63), not -1"),
        ({"seed": 2**63}, f"seed must be in [0, 2^63), not {2**63}"),
        ({"logprobs": -1}, "logprobs must be 0 or more, not -1"),
        ({"allowed_token_ids": ()}, "allowed_token_ids must be at least one token id, not ()"),
    ],
)
def test_a_wrong_value_is_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        SamplingParams(**options)
    assert str(refused.value) == message
    assert refused.value.exit_status == 2


def test_usual_shorthands_are_taken() -> None:
    params = SamplingParams(stop="\n", bad_words=["a", "b"], stop_token_ids=[2, 3], top_k=-1)  # type: ignore[arg-type]
    assert params.stop == ("\n",)
    assert params.bad_words == ("a", "b")
    assert params.stop_token_ids == (2, 3)
    assert params.top_k == 0


def test_no_end_of_length_goes_with_any_minimum() -> None:
    assert SamplingParams(max_tokens=None, min_tokens=10_000).max_tokens is None


def test_unknown_options_are_refused() -> None:
    with pytest.raises(TypeError, match="best_of"):
        SamplingParams(best_of=2)  # type: ignore[call-arg]
