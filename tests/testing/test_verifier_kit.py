"""The built-in verifiers pass the kit for verifiers; the lossy ones are asked only to keep to the tree."""

import pytest

from foredraft.core.protocols import Verifier
from foredraft.testing.verifiers import VerifierChecks
from foredraft.verify import VERIFIERS, make_verifier


class Named(VerifierChecks):
    """By the name that users write."""

    name: str

    @pytest.fixture
    def verifier(self) -> Verifier:
        return make_verifier(self.name, allow_lossy=True)


class TestMatch(Named):
    name = "match"


class TestRecursive(Named):
    name = "recursive"


class TestSpecInfer(Named):
    name = "specinfer"


class TestSequoia(Named):
    name = "sequoia"


class TestBlock(Named):
    name = "block"


class TestTraversal(Named):
    name = "traversal"


class TestKSeq(Named):
    name = "kseq"


class TestTypical(Named):
    name = "typical"


class TestRelaxed(Named):
    name = "relaxed"


def test_every_verifier_is_here() -> None:
    assert {kind.name for kind in Named.__subclasses__()} == set(VERIFIERS)
