"""The built-in verifiers pass the kit for verifiers."""

import pytest

from foredraft.core.protocols import Verifier
from foredraft.testing.verifiers import VerifierChecks
from foredraft.verify.match import Match
from foredraft.verify.recursive import Recursive


class TestMatch(VerifierChecks):
    @pytest.fixture
    def verifier(self) -> Verifier:
        return Match()


class TestRecursive(VerifierChecks):
    @pytest.fixture
    def verifier(self) -> Verifier:
        return Recursive()
