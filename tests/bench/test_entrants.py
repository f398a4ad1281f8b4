"""Who takes part: how a list of drafters is read, and that every prompt meets a drafter afresh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from foredraft.bench.entrants import Entrant, admit, every, listed
from foredraft.core.errors import UnknownName, UsageError
from foredraft.core.params import SamplingParams
from foredraft.core.protocols import Ask, Needs, News, Request
from foredraft.core.tree import EMPTY, DraftTree
from foredraft.engine.backends import Loaded
from foredraft.engine.llm import LLM


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("lookup", ["lookup"]),
        ("lookup,none", ["lookup", "none"]),
        (" lookup , lookup:n=4, branches=2 ,none,", ["lookup", "lookup:n=4,branches=2", "none"]),
        ("model:some/path=odd.gguf,k=3,lookup:n=1", ["model:some/path=odd.gguf,k=3", "lookup:n=1"]),
        ("model:tree=3x2,model=a.gguf", ["model:tree=3x2,model=a.gguf"]),
        ("auto,lookup:n=4,min=2+model:a.gguf,k=3", ["auto", "lookup:n=4,min=2+model:a.gguf,k=3"]),
    ],
)
def test_commas_part_drafters_and_options(text: str, found: list[str]) -> None:
    assert listed(text) == found


@pytest.mark.parametrize(
    ("text", "error", "named"),
    [
        ("", UsageError, "no drafter"),
        (" , ", UsageError, "no drafter"),
        ("magic", UnknownName, "magic"),
        ("n=3", UnknownName, "n=3"),
        ("lookup:depth=3", UnknownName, "depth"),
        ("lookup,lookup", UsageError, "twice"),
        ("model", UsageError, "model"),
    ],
)
def test_wrong_lists_are_refused(text: str, error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=named):
        listed(text)


def test_all_are_those_that_need_no_option_and_the_others_are_told() -> None:
    able, unable = every()
    assert "lookup" in able
    assert "none" not in able
    assert "model" in unable["model"]


class Noting:
    """Drafts nothing; notes what it was told."""

    def __init__(self, needs: Needs = Needs()) -> None:  # noqa: B008 - frozen
        self.needs = needs
        self.tenants: list[str] = []
        self.closed = 0

    def open(self, request: Request, parent: Any = None) -> object:
        self.tenants.append(request.tenant)
        return object()

    def propose(self, asks: Sequence[Ask[Any]]) -> list[DraftTree]:
        return [EMPTY] * len(asks)

    def update(self, news: Sequence[News[Any]]) -> None: ...

    def ahead(self, asks: Sequence[Ask[Any]], trees: Sequence[DraftTree]) -> None:
        self.tenants.append("ahead")

    def close(self, state: Any) -> None:
        self.closed += 1


def test_every_prompt_is_another_tenant_and_the_drafter_stays_the_same(toy: Loaded) -> None:
    drafter = Noting()
    entrant = Entrant("noting", LLM(toy, drafter))
    params = SamplingParams(max_tokens=2)
    for tenant in ("one", "two"):
        llm = entrant.fresh(tenant)
        llm.generate("the cat", params)
        assert llm.policy is entrant.llm.policy
    assert drafter.tenants == ["noting: one", "noting: two"]
    assert drafter.closed == 2
    entrant.llm.generate("the cat", params)
    assert drafter.tenants[-1] == ""  # the entrant itself is as it was


def test_drafters_that_work_ahead_still_do(toy: Loaded) -> None:
    drafter = Noting(Needs(ahead=True))
    Entrant("noting", LLM(toy, drafter)).fresh("one").generate("the cat", SamplingParams(max_tokens=2))
    assert "ahead" in drafter.tenants


def test_a_drafter_that_wants_hidden_states_of_the_prompt_scores_it_itself(toy: Loaded) -> None:
    assert Entrant("a", LLM(toy, Noting())).forks
    assert not Entrant("b", LLM(toy, Noting(Needs(taps=(1,))))).forks


def test_plain_decoding_is_admitted_first_and_the_unable_only_where_that_is_allowed(toy: Loaded) -> None:
    entrants, unable = admit(toy, ["lookup", "none"])
    assert [entrant.name for entrant in entrants] == ["plain", "lookup", "none"]
    assert unable == {}
    toy = replace(toy, engine="hf")  # second models are loaded by the same engine
    with pytest.raises(UsageError, match="no-such-model"):
        admit(toy, ["lookup", "model:no-such-model"])
    entrants, unable = admit(toy, ["model:no-such-model", "lookup"], strict=False)
    assert [entrant.name for entrant in entrants] == ["plain", "lookup"]
    assert "no-such-model" in unable["model:no-such-model"]
