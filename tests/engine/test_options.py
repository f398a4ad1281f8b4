"""How to draft under other systems' names: every name is translated or refused, and nothing is said twice unnoticed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from foredraft.core.errors import UnknownName, UsageError
from foredraft.draft import DRAFTERS, family, line_up
from foredraft.engine.foreign import BY_NAME, LENGTH, METHOD, METHODS, MODEL, PAIR, SCHEDULE, TABLE, UNSUPPORTED_METHODS
from foredraft.engine.llm import load
from foredraft.engine.options import KINDS, Speculation, parse_config, speculation, translate


def test_the_table_is_sound() -> None:
    assert len(BY_NAME) == len(TABLE)
    for one in TABLE:
        assert one.kind in KINDS
        assert one.ours or one.note, f"{one.name} is refused without a remedy"
        assert not (one.ours and one.neutral), one.name
        assert one.ours in ("", METHOD, MODEL, LENGTH, SCHEDULE, PAIR) or ":" in one.ours
        drafter, _, option = one.ours.partition(":")
        if option and option != LENGTH:
            assert option in {field.name for field in dataclasses.fields(family(drafter).options)}, one.name
    assert {*METHODS.values(), PAIR} <= set(DRAFTERS)
    assert not set(METHODS) & set(UNSUPPORTED_METHODS)


TRANSLATED: list[tuple[dict[str, Any], Speculation]] = [
    ({}, Speculation("auto")),
    ({"num_speculative_tokens": 4}, Speculation("auto", 4)),
    ({"method": None, "num_speculative_tokens": 0}, Speculation("auto", 0)),
    # vLLM
    ({"method": "ngram"}, Speculation("lookup")),
    (
        {"method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_max": 4, "prompt_lookup_min": 2},
        Speculation("lookup:n=4,min=2", 5),
    ),
    ({"model": "[ngram]", "ngram_prompt_lookup_max": 4}, Speculation("lookup:n=4")),
    ({"model": "ngram", "prompt_lookup_min": 5}, Speculation("lookup:min=5,n=5")),
    ({"prompt_lookup_min": 2}, Speculation("lookup:min=2")),
    ({"method": "suffix"}, Speculation("suffix")),
    (
        {
            "suffix_decoding_max_tree_depth": 24,
            "suffix_decoding_max_spec_factor": 1,
            "suffix_decoding_min_token_prob": 0.1,
            "suffix_decoding_max_cached_requests": 0,
        },
        Speculation("suffix:depth=24,factor=1,min_prob=0.1,shared=false"),
    ),
    ({"method": "draft_model", "model": "a/b", "num_speculative_tokens": 3}, Speculation("model:a/b", 3)),
    ({"model": "a/b"}, Speculation("model:a/b")),
    ({"speculative_model": "odd=name.gguf"}, Speculation("model:model=odd=name.gguf")),
    (
        {"model": "m", "draft_tensor_parallel_size": 1, "enforce_eager": True, "parallel_drafting": False},
        Speculation("model:m"),
    ),
    (
        {"model": "m", "quantization": "int4", "use_heterogeneous_vocab": False},
        Speculation("model:m,quantize=int4"),
    ),
    ({"model": "m", "use_heterogeneous_vocab": True}, Speculation("translate:m")),
    (
        {"method": "draft_model", "model": "m", "use_heterogeneous_vocab": True, "quantization": "int4"},
        Speculation("translate:m,quantize=int4"),
    ),
    # Hugging Face
    (
        {"assistant_model": "m", "assistant_confidence_threshold": 0.4},
        Speculation("model:m,threshold=0.4"),
    ),
    ({"assistant_model": "m", "num_assistant_tokens": 20}, Speculation("model:m", 20)),
    (
        {"assistant_model": "m", "num_assistant_tokens": 5, "num_assistant_tokens_schedule": "heuristic"},
        Speculation("model:m", policy="heuristic:5"),
    ),
    (
        {"assistant_model": "m", "num_assistant_tokens_schedule": "heuristic_transient"},
        Speculation("model:m", policy="heuristic"),
    ),
    (
        {"assistant_model": "m", "num_assistant_tokens": 5, "num_assistant_tokens_schedule": "constant"},
        Speculation("model:m", 5),
    ),
    ({"prompt_lookup_num_tokens": 10, "max_matching_ngram_size": 2}, Speculation("lookup:n=2", 10)),
    # llama.cpp
    ({"-md": "m.gguf", "--draft-max": 16, "--draft-min": 0}, Speculation("model:m.gguf", 16)),
    ({"spec_draft_model": "m.gguf", "spec-draft-n-max": 3}, Speculation("model:m.gguf", 3)),
    ({"spec_type": "draft-simple,ngram-simple", "model_draft": "m"}, Speculation("model:m+lookup")),
    (
        {"spec_type": "ngram-map-k", "spec_ngram_map_k_size_n": 4, "spec_ngram_map_k_size_m": 8},
        Speculation("lookup:n=4", 8),
    ),
    ({"spec_type": "ngram-mod", "spec_ngram_mod_n_max": 64}, Speculation("suffix", 64)),
    ({"spec_type": "none"}, Speculation("none")),
    # mlx-lm, and names of our own
    ({"draft_model": "m", "num_draft_tokens": 2}, Speculation("model:m", 2)),
    ({"method": "recycling", "width": 4, "shared": False}, Speculation("recycling:width=4,shared=false")),
    ({"method": "model", "model": "m", "tree": "3x2"}, Speculation("model:m,tree=3x2")),
]


@pytest.mark.parametrize(("config", "ours"), TRANSLATED)
def test_what_is_said_elsewhere_in_our_words(config: dict[str, Any], ours: Speculation) -> None:
    assert translate(config) == ours
    line_up(ours.drafter)


REFUSED: list[tuple[Any, str]] = [
    ([], "mapping"),
    ({3: 4}, "mapping"),
    ({"metod": "ngram"}, "unknown option 'metod' in speculative_config: did you mean method"),
    ({"zzzzzz": 1}, "unknown option 'zzzzzz'.*docs/options.md"),
    ({"method": "ngram", "tree": "3x2"}, "unknown option 'tree'"),
    ({"method": "magic"}, "unknown method 'magic': choose from ngram"),
    ({"method": "eagle3"}, "method 'eagle3' is not supported: trained heads .* choose"),
    ({"spec_type": "draft-mtp"}, "spec_type 'draft-mtp' is not supported"),
    ({"method": ["ngram"]}, "method must be a text"),
    ({"method": ""}, "method must be a text"),
    ({"prompt_lookup_max": "four"}, "prompt_lookup_max must be a whole number"),
    ({"prompt_lookup_max": True}, "prompt_lookup_max must be a whole number"),
    ({"prompt_lookup_max": 2.5}, "prompt_lookup_max must be a whole number"),
    ({"num_speculative_tokens": -1}, "num_speculative_tokens must be a whole number from 0"),
    ({"suffix_decoding_min_token_prob": "low"}, "suffix_decoding_min_token_prob must be a number"),
    ({"suffix_decoding_min_token_prob": float("nan")}, "min_prob"),
    ({"suffix_decoding_min_token_prob": 7}, "min_prob of suffix must be from 0 to 1"),
    ({"suffix_decoding_max_cached_requests": 10000}, "above 0 is not supported: .* suffix:limit=TOKENS"),
    ({"use_heterogeneous_vocab": 1}, "use_heterogeneous_vocab must be true or false"),
    ({"use_heterogeneous_vocab": True, "method": "ngram"}, "is about a draft model"),
    ({"model": "m", "quantization": "fp8"}, "quantize .* must be int8 or int4, not 'fp8'"),
    ({"model": "m", "assistant_confidence_threshold": 2}, "threshold .* from 0 to 1"),
    ({"draft_p_min": 0.5, "model": "m", "use_heterogeneous_vocab": True}, "draft_p_min does not go with .*'translate'"),
    ({"draft_tensor_parallel_size": 2}, "draft_tensor_parallel_size of vLLM is not supported: .* leave it out"),
    ({"draft_tensor_parallel_size": True}, "draft_tensor_parallel_size"),
    ({"assistant_ensemble_weight": 0.5}, "assistant_ensemble_weight of Hugging Face is not supported"),
    ({"--ngld": 99}, "--ngld of llama.cpp is not supported"),
    ({"draft_min": 2}, "draft_min of llama.cpp is not supported"),
    ({"model": "m", "assistant_model": "m"}, "model and assistant_model are two names of one option"),
    ({"num_speculative_tokens": 4, "draft_max": 4}, "num_speculative_tokens and draft_max are two names"),
    ({"num_draft_tokens": 4, "prompt_lookup_num_tokens": 4}, "num_draft_tokens and prompt_lookup_num_tokens are two"),
    ({"prompt_lookup_num_tokens": 4, "num_draft_tokens": 4}, "prompt_lookup_num_tokens and num_draft_tokens are two"),
    ({"width": 3, "--width": 3, "method": "recycling"}, "width and --width are two names"),
    ({"method": "suffix", "prompt_lookup_max": 4}, "prompt_lookup_max belongs to drafter 'lookup'"),
    ({"method": "ngram", "model": "m"}, "model is a draft model, which drafter 'lookup' has no use for"),
    ({"model": "m", "prompt_lookup_max": 4}, "prompt_lookup_max means drafter 'lookup' and model drafter 'model'"),
    ({"method": "draft_model"}, "needs model"),
    ({"spec_type": "ngram-simple,ngram-map-k"}, "names drafter 'lookup' twice"),
    ({"spec_type": "none,ngram-simple"}, "names drafters and none"),
    ({"method": "none", "num_speculative_tokens": 4}, "nothing drafts"),
    ({"prompt_lookup_max": 2, "prompt_lookup_min": 3}, "min <= n"),
    ({"model": "a,b.gguf"}, "'a,b.gguf' cannot be written"),
    ({"model": "x+lookup"}, "cannot be written"),
    ({"method": "recycling", "width": [3]}, "width must be a number, a text"),
    ({"num_assistant_tokens_schedule": "constant", "assistant_model": "m"}, "needs a number"),
    ({"num_assistant_tokens_schedule": "linear", "assistant_model": "m"}, "must be one of constant"),
]


@pytest.mark.parametrize(("config", "message"), REFUSED)
def test_what_cannot_be_is_refused_by_name_in_one_sentence(config: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as found:
        translate(config)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("one", [one for one in TABLE if not one.ours], ids=lambda one: one.name)
def test_every_name_that_is_not_supported_says_what_to_do(one: Any) -> None:
    with pytest.raises(UsageError) as found:
        translate({one.name: "anything"})
    assert one.name in str(found.value)
    assert one.note in str(found.value)
    for value in one.neutral:
        assert translate({one.name: value}) == Speculation("auto")


@pytest.mark.parametrize("method", UNSUPPORTED_METHODS)
def test_every_method_that_is_not_supported_says_what_to_do(method: str) -> None:
    with pytest.raises(UsageError, match="not supported: ") as found:
        translate({"method": method})
    assert UNSUPPORTED_METHODS[method] in str(found.value)


def test_all_that_is_said_comes_together() -> None:
    assert speculation() == Speculation("auto")
    assert speculation("lookup:n=2", num_speculative_tokens=3) == Speculation("lookup:n=2", 3)
    assert speculation(draft_model="m") == Speculation("auto+model:m")
    assert speculation("lookup:n=2", draft_model="m", num_speculative_tokens=3) == Speculation("lookup:n=2+model:m", 3)
    assert speculation(config={"method": "ngram"}, draft_model="m") == Speculation("lookup+model:m")
    assert speculation("suffix", policy="bandit") == Speculation("suffix", policy="bandit")
    assert speculation(config={"method": "ngram"}, policy="bandit") == Speculation("lookup", policy="bandit")


HEURISTIC = {"assistant_model": "m", "num_assistant_tokens_schedule": "heuristic"}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"drafter": "lookup", "config": {}}, "drafter 'lookup' and speculative_config each say how to draft"),
        ({"drafter": "none", "draft_model": "m"}, "drafts nothing"),
        ({"drafter": "model:a", "draft_model": "m"}, "has a model of its own"),
        ({"config": {"model": "a"}, "draft_model": "m"}, "has a model of its own"),
        ({"draft_model": "a,b"}, "cannot be written"),
        ({"num_speculative_tokens": -1}, "0 or more"),
        ({"drafter": "lookup:k=2", "num_speculative_tokens": 2}, "drafter 'lookup:k=2' says itself how many"),
        ({"drafter": "none", "num_speculative_tokens": 2}, "drafter 'none' says itself how many"),
        ({"config": {"draft_max": 2}, "num_speculative_tokens": 2}, "speculative_config says itself how many"),
        ({"config": HEURISTIC, "policy": "bandit"}, "speculative_config and policy 'bandit' each say how much"),
        ({"drafter": "lookup", "draft_model": "no=such,thing"}, "cannot be written"),
    ],
)
def test_what_is_said_twice_or_in_contradiction_is_refused(said: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        speculation(**said)


def test_wrong_names_are_told_before_weights_are_looked_for() -> None:
    with pytest.raises(UsageError, match="unknown option 'metod'"):
        load("no-such-model", speculative_config={"metod": "ngram"})
    with pytest.raises(UnknownName, match="magic"):
        load("no-such-model", "magic")
    with pytest.raises(UsageError, match="each say how to draft"):
        load("no-such-model", "lookup", speculative_config={"method": "ngram"})
    own = family("none").build(None, None)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="made by the caller"):
        load("no-such-model", own, draft_model="m")


def test_json_of_the_command_line() -> None:
    assert parse_config(None) is None
    assert parse_config('{"method": "ngram", "prompt_lookup_max": 4}') == {"method": "ngram", "prompt_lookup_max": 4}
    for text, message in (
        ("ngram", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not an object"),
        ('{"method": "ngram", "method": "suffix"}', "'method' twice"),
    ):
        with pytest.raises(UsageError, match=message):
            parse_config(text)
