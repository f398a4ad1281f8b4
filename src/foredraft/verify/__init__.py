"""Verifiers: which drafts stand. The table names them; `match` is the default."""

from __future__ import annotations

from foredraft.core.errors import UnknownName
from foredraft.core.protocols import Verifier
from foredraft.verify.match import Match
from foredraft.verify.recursive import Recursive

VERIFIERS: dict[str, type[Verifier]] = {"match": Match, "recursive": Recursive}


def make_verifier(name: str) -> Verifier:
    """The verifier called `name`; UnknownName otherwise."""
    if name not in VERIFIERS:
        raise UnknownName("verifier", name, VERIFIERS)
    return VERIFIERS[name]()
