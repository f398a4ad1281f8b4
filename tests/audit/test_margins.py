"""Margins: a text of the model's own passes, a near tie is excused and listed, and another token is a failure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from foredraft.audit.margins import SIDES, Margins, margins
from foredraft.core.protocols import Query, Request, Scores
from foredraft.core.rules import Rules
from foredraft.core.stop import Stop, StopState
from foredraft.core.stream import KeyedStream
from foredraft.draft.none import Nothing
from foredraft.models.toy import Array, Tables, ToyModel, ToyScores
from foredraft.policy.constant import Constant
from foredraft.testing.exact import said
from foredraft.verify.match import Match

PROMPT, TOKENS, SEED = (3, 1, 4, 1), 12, 9
NOISE = 1e-4


class Rounding(ToyModel):
    """A model whose logits depend on their company: passes of several logit rows are off by NOISE, either way."""

    def score(self, queries: Sequence[Query]) -> list[Scores]:
        return [_Rounded(**vars(score)) for score in super().score(queries)]


class _Rounded(ToyScores):
    def _logits(self, row: int) -> Array:
        logits = super()._logits(row)
        return logits + NOISE * (-1.0) ** np.arange(len(logits)) if len(self.query.logits) > 1 else logits


class Broken(ToyModel):
    """A model whose passes of several rows are wrong: each row but the first says what the one before it should."""

    def score(self, queries: Sequence[Query]) -> list[Scores]:
        return [_Broken(**vars(score)) for score in super().score(queries)]


class _Broken(ToyScores):
    def _logits(self, row: int) -> Array:
        return super()._logits(row - 1 if row and len(self.query.logits) > 1 else row)


def net(ties: bool) -> Tables:
    return Tables.random(7, 2, seed=5, ties=ties, scale=0.6)


def text_of(model: ToyModel, temperature: float) -> tuple[int, ...]:
    request, stop = (
        Request(PROMPT, SEED, rules=Rules(temperature=temperature)),
        StopState(Stop(frozenset(), (), TOKENS)),
    )
    return said(model, Nothing(), Match(), Constant(1), request, stop, KeyedStream(SEED))


def found(model: ToyModel, text: Sequence[int], temperature: float) -> Margins:
    return margins(model, PROMPT, tuple(text), temperature, SEED)


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.3])
def test_the_models_own_text_has_no_margins(temperature: float) -> None:
    model = ToyModel(net(False))
    assert found(model, text_of(model, temperature), temperature) == Margins(TOKENS, 0.0, ())
    noisy = found(Rounding(net(False)), text_of(model, temperature), temperature)
    assert noisy.noise == pytest.approx(NOISE)
    assert noisy.passed


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_another_token_is_a_failure_whatever_the_noise(temperature: float) -> None:
    for model in (ToyModel(net(False)), Rounding(net(False))):
        text = list(text_of(model, temperature))
        text[5] = (text[5] + 1) % 7
        checked = found(model, text, temperature)
        assert not checked.passed
        first = checked.ties[0]
        assert (first.position, first.token) == (5, text[5])
        assert first.margin > first.limit == pytest.approx(SIDES * checked.noise / (temperature or 1.0))


def test_a_text_that_is_wrong_only_by_the_seed_is_found() -> None:
    model = ToyModel(net(False))
    assert not margins(model, PROMPT, text_of(model, 1.0), 1.0, SEED + 1).passed


def test_a_near_tie_is_excused_where_rows_are_noisy_and_nowhere_else() -> None:
    """Logits of the ties net are multiples of a half: a token beside an equal one is as good."""
    model = ToyModel(net(True))
    text = list(text_of(model, 0.0))
    for place in range(TOKENS):
        logits = model.net.head(model.net.states((*PROMPT, *text[:place]))[-1])
        equal = np.flatnonzero(logits == logits.max())
        if len(equal) > 1:
            nudged = Tables(model.net.tables, model.net.orders, model.net.positions, model.net.out)  # type: ignore[attr-defined]
            nudged.positions[len(PROMPT) + place - 1][equal[1]] -= NOISE / 2  # behind by less than the noise
            other = (*text[:place], int(equal[1]))
            checked = found(Rounding(nudged), other, 0.0)
            assert checked.passed
            (tie,) = checked.ties
            assert (tie.position, tie.token, tie.better) == (place, equal[1], equal[0])
            assert 0 < tie.margin < tie.limit
            assert not found(ToyModel(nudged), other, 0.0).passed
            return
    pytest.fail("the net has no ties on this text")


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_pass_that_is_wrong_is_not_taken_for_noise(temperature: float) -> None:
    """What a broken pass is off by must not excuse the tokens that it makes wrong."""
    model = Broken(net(False))
    text = list(text_of(model, temperature))
    assert found(model, text, temperature).passed  # row by row it is right
    logits = model.net.head(model.net.states((*PROMPT, *text[:5]))[-1])
    text[5] = int(np.argsort(-logits)[1 if text[5] == logits.argmax() else 0])
    checked = found(model, text, temperature)
    assert checked.noise > 1.0
    assert checked.ties[0].margin < SIDES * checked.noise / (temperature or 1.0)  # it would be excused
    assert not checked.passed


def test_forbidden_tokens_make_no_noise() -> None:
    model = ToyModel(Tables.random(7, 2, seed=5, zeros=0.4))
    assert found(model, text_of(model, 1.0), 1.0) == Margins(TOKENS, 0.0, ())


def test_a_long_prompt_is_fed_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ToyModel(net(False))
    text = text_of(model, 0.7)
    for chunk in (1, 2, 3):
        monkeypatch.setattr("foredraft.audit.margins.CHUNK", chunk)
        assert found(model, text, 0.7) == Margins(TOKENS, 0.0, ())
