"""Who is to take part, from all that is said about drafting."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from foredraft.bench.entrants import Variant
from foredraft.bench.field import field_of
from foredraft.core.errors import UsageError
from foredraft.engine.options import Speculation, speculation

PLAIN = Variant("none", "none")


def said(**options: Any) -> Callable[[str], Speculation]:
    return partial(speculation, **options)


def test_drafters_as_they_are_named_and_noise_once() -> None:
    found = field_of("none,lookup,suffix", said(policy="bandit"), aa=True)
    assert found.variants == (PLAIN, Variant("lookup", "lookup"), Variant("suffix", "suffix"))
    assert found.policy == "bandit"
    assert field_of("lookup", said(), aa=True).variants == (Variant("lookup", "lookup"), PLAIN)
    assert field_of("none", said()).variants == (PLAIN,)


def test_a_length_and_a_draft_model_are_for_all_of_them() -> None:
    found = field_of("lookup:n=2,none,auto", said(num_speculative_tokens=3, draft_model="m"))
    first, plain, second = found.variants
    assert first == Variant("lookup:n=2+model:m,k=3", "lookup:n=2+model:m", 3)
    assert second == Variant("auto+model:m,k=3", "auto+model:m", 3)
    assert plain == PLAIN


def test_a_configuration_is_the_drafter() -> None:
    found = field_of("auto", said(config={"method": "ngram", "num_speculative_tokens": 4}))
    assert found.variants == (Variant("lookup:k=4", "lookup", 4),)
    heuristic = {"prompt_lookup_max": 3, "num_assistant_tokens_schedule": "heuristic", "num_assistant_tokens": 5}
    assert field_of("auto", said(config=heuristic)).policy == "heuristic:5"
    with pytest.raises(UsageError, match="each say how to draft"):
        field_of("lookup", said(config={"method": "ngram"}))


def test_all_are_those_that_can_run() -> None:
    found = field_of("all", said(num_speculative_tokens=2))
    assert Variant("lookup:k=2", "lookup", 2) in found.variants
    assert "model" in found.unable


def test_a_sweep_and_what_says_the_same_exclude_each_other() -> None:
    swept = field_of("lookup,none", said(), sweep="k=0..1")
    assert swept.variants == (PLAIN, Variant("lookup:k=1", "lookup", 1))
    for options in ({"num_speculative_tokens": 2}, {"policy": "bandit"}, {"config": {"draft_max": 2}}):
        with pytest.raises(UsageError, match="--sweep says how much"):
            field_of("auto", said(**options), sweep="k=0..1")


def test_a_length_goes_with_a_sweep_over_something_else() -> None:
    found = field_of("lookup", said(num_speculative_tokens=2), sweep="n=2,3")
    assert found.variants == (Variant("lookup:n=2,k=2", "lookup:n=2", 2), Variant("lookup:n=3,k=2", "lookup:n=3", 2))
    assert list(found.swept["lookup"].values()) == list(found.variants)
