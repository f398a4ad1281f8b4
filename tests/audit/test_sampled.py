"""Counted texts: the law of a cut model is the model's own, right verifiers pass, and whatever is wrong is rejected."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from foredraft.audit import sampled
from foredraft.audit.exact import LOSSLESS
from foredraft.audit.sampled import FALSE_ALARM, LENGTH, SPREAD, TOKENS, TRIALS, Sampled, after, count_texts, cut_world
from foredraft.audit.wrong import ratio, verifiers
from foredraft.core.protocols import Verifier
from foredraft.core.rules import Rules
from foredraft.models.toy import Tables, ToyModel
from foredraft.testing.exact import plain
from foredraft.verify import make_verifier

MODEL = ToyModel(Tables.random(12, 2, seed=4), name="m")
PROMPT = (3, 1, 4, 1, 5, 9, 2, 6, 5, 3)
TEXTS = 900


@pytest.fixture(scope="module")
def found() -> Sampled:
    return count_texts(MODEL, PROMPT, TEXTS)


def test_every_lossless_verifier_is_tried() -> None:
    assert set(TRIALS) == set(LOSSLESS)


def test_the_target_is_the_model_with_other_tokens_forbidden() -> None:
    world = cut_world(MODEL, PROMPT)
    ids = world.target.net.ids  # type: ignore[attr-defined]
    assert len(ids) == TOKENS
    logits = after(MODEL, PROMPT)
    assert set(ids) == set(np.argsort(-logits)[:TOKENS].tolist())
    law = plain(world.target, world.request, world.stop)
    text, weight = (0, 3, 1), 1.0
    for length, token in enumerate(text):
        row = after(MODEL, (*PROMPT, *(ids[said] for said in text[:length])))
        forbidden = np.full_like(row, -np.inf)
        forbidden[list(ids)] = row[list(ids)]
        weight *= Rules(temperature=world.request.rules.temperature).law_of(forbidden).prob(ids[token])
    assert law[text] == pytest.approx(weight)
    assert len(law) == TOKENS**LENGTH
    first = sorted(sum(prob for said, prob in law.items() if said[0] == token) for token in range(TOKENS))
    assert first[-1] / first[0] == pytest.approx(math.exp(SPREAD))


def test_right_verifiers_pass_and_their_twins_do_not(found: Sampled) -> None:
    assert found.passed
    assert [one.verifier for one in found.right] == list(LOSSLESS)
    assert not any(one.rejected for one in found.right)
    assert all(one.caught for one in found.wrong)
    assert {one.texts for one in (*found.right, *found.wrong)} == {TEXTS}


def test_the_rate_of_false_alarms_is_that_of_all_tests_together(found: Sampled) -> None:
    assert 2 * len(found.right) * found.right[0].alarm == pytest.approx(FALSE_ALARM)


def test_a_twin_that_passes_fails_the_audit(found: Sampled) -> None:
    """A check that rejects nothing shows nothing, and so does one of the two tests alone."""
    nearly = replace(found.wrong[0], distance=found.wrong[0].limit / 2)
    assert nearly.rejected
    assert not nearly.caught
    assert not replace(found, wrong=(nearly, *found.wrong[1:])).passed
    assert not replace(found, wrong=found.right).passed
    assert not replace(found, right=found.wrong).passed


@pytest.mark.parametrize(("name", "wrong"), [("match", ratio.NextP()), ("traversal", verifiers.ParentsRow())])
def test_a_wrong_verifier_in_its_place_is_rejected(monkeypatch: pytest.MonkeyPatch, name: str, wrong: Verifier) -> None:
    monkeypatch.setattr(sampled, "LOSSLESS", (name,))
    monkeypatch.setattr(sampled, "make_verifier", lambda asked: wrong)
    found = count_texts(MODEL, PROMPT, TEXTS)
    assert found.right[0].rejected
    assert not found.passed
    assert not isinstance(make_verifier(name), type(wrong))
