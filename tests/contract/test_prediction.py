"""A drafter that follows a predicted output (an edited file) and finds its place again after a difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from contract.drawing import points, totals
from foredraft.core.protocols import Ask, Needs, News, Request
from foredraft.core.stream import KeyedStream
from foredraft.core.tree import DraftTree
from foredraft.engine.sequence import open_sequence
from foredraft.models.toy import Tables, ToyModel
from foredraft.policy.constant import Constant
from foredraft.testing.drafters import DrafterChecks, MakeDrafter, until
from foredraft.testing.watch import drive, plain_text
from foredraft.verify.match import Match

# Tokens that must agree before a new place in the prediction is believed.
ANCHOR = 2


@dataclass
class Place:
    text: tuple[int, ...]
    at: int = 0


class Prediction:
    needs = Needs()

    def open(self, request: Request, parent: Place | None = None) -> Place:
        return replace(parent) if parent is not None else Place(request.prediction or ())

    def propose(self, asks: Sequence[Ask[Place]]) -> list[DraftTree]:
        return [points(ask, ask.state.text[ask.state.at :], "prediction") for ask in asks]

    def update(self, news: Sequence[News[Place]]) -> None:
        for told in news:
            place = told.state
            for token in told.tokens:
                if place.at < len(place.text) and place.text[place.at] == token:
                    place.at += 1
                    continue
                recent = (*told.committed,)[-ANCHOR:]
                ends = [end for end in range(len(place.text)) if place.text[max(end - ANCHOR, 0) : end] == recent]
                place.at = min(ends, key=lambda end, at=place.at: abs(end - at), default=place.at)

    def close(self, state: Place) -> None:
        """Nothing to give back."""


class TestPrediction(DrafterChecks):
    @pytest.fixture
    def make_drafter(self) -> MakeDrafter:
        return Prediction

    def request(self, prompt: tuple[int, ...], **options: object) -> Request:
        return replace(super().request(prompt, **options), prediction=(0, 1, 2, 1, 0, 0, 2, 1, 1, 2))


@pytest.mark.parametrize("edit", [(), (9,), (9, 9, 9)], ids=["deleted", "replaced", "inserted"])
def test_it_finds_its_place_again(edit: tuple[int, ...]) -> None:
    """The prediction differs from the text in one place: only that place costs passes."""
    target = ToyModel(Tables.random(12, order=1, seed=3))
    request = Request((4, 5), 0)
    text = plain_text(target, request, until(24), KeyedStream(0))
    request = replace(request, prediction=(*text[:10], *edit, *text[11:]))
    sequence = open_sequence(target, Prediction(), Match(), request, until(24))
    drive(target, Constant(8), [sequence])
    found = totals([sequence])
    assert sequence.output == list(text)
    assert found.accepted < found.drafted
    assert found.passes <= 8
