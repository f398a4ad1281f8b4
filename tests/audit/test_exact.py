"""The enumeration of an audit: enough of it, right as it stands, and failing where a verifier has a bug."""

from __future__ import annotations

import pytest

from foredraft.audit import exact
from foredraft.audit.exact import DRAFTERS, LOSSLESS, NO_LESS_THAN, Enumerated, Exact, enumerate_cases, worlds
from foredraft.audit.wrong import ratio
from foredraft.core.protocols import Verifier
from foredraft.verify import make_verifier
from foredraft.verify.match import Match
from foredraft.verify.recursive import Recursive


def test_a_whole_audit_has_three_hundred_worlds_a_verifier_and_two_thousand_cases() -> None:
    count = sum(1 for name in DRAFTERS for _ in worlds(name))
    assert count >= 300
    assert count * len(LOSSLESS) >= 2000
    assert {"match", "recursive", "specinfer", "sequoia", "block", "traversal", "kseq"} <= {*LOSSLESS}


def test_it_passes_and_says_how_closely() -> None:
    found, told = enumerate_cases(step=8), list[tuple[int, int]]()
    again = enumerate_cases(step=16, each=lambda done, total: told.append((done, total)))
    assert found.passed
    assert found.max_tv <= 1e-12
    assert found.cases == len(LOSSLESS) * found.verifiers["match"].cases
    assert all(own.least_gain is not None for name, own in found.verifiers.items() if name in NO_LESS_THAN)
    assert told == [(done, again.verifiers["match"].cases) for done in range(len(told))]


@pytest.mark.parametrize(
    ("name", "wrong"), [("recursive", ratio.NoResidual()), ("recursive", ratio.BonusDropped()), ("block", Match())]
)
def test_a_bug_fails_it(monkeypatch: pytest.MonkeyPatch, name: str, wrong: Verifier) -> None:
    """A wrong law, or one that is right where it yields less than it promises."""
    monkeypatch.setattr(exact, "make_verifier", lambda asked: wrong if asked == name else make_verifier(asked))
    found = enumerate_cases(step=8)
    law_is_right = not isinstance(wrong, ratio.NoResidual)
    assert found.passed == isinstance(wrong, ratio.BonusDropped)  # it yields less, and nobody promised it would not
    assert (found.verifiers[name].worst <= 1e-12) == law_is_right
    assert bool(found.verifiers[name].at) or law_is_right
    if name == "block":
        assert found.verifiers[name].least_gain is not None
        assert found.verifiers[name].least_gain < -0.01


def test_no_number_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "distance", lambda found, right: float("nan"))
    assert not enumerate_cases(step=64).passed


def test_what_passes_and_what_does_not() -> None:
    assert Exact(verifiers={"a": Enumerated(1, 1e-13), "b": Enumerated(1, 0.0, "", -1e-13)}).passed
    assert not Exact(verifiers={"a": Enumerated(1, 1e-11), "b": Enumerated()}).passed
    assert not Exact(verifiers={"a": Enumerated(1, 0.0, "", -1e-9)}).passed
    assert not Exact(verifiers={"a": Enumerated(1, 1e-13), "b": Enumerated()}).passed  # never tried
    assert isinstance(make_verifier("recursive"), Recursive)
