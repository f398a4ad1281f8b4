"""Verifiers: which drafts stand. The table names them; `match` is the default.

Written as `name`, or `name:option=value,…` for those that have options. The lossy ones change what the model says and
are made only for who says so.
"""

from __future__ import annotations

import dataclasses
from typing import Any, get_type_hints

from foredraft.core.errors import UnknownName, UsageError
from foredraft.core.protocols import Verifier
from foredraft.verify.block import Block
from foredraft.verify.kseq import KSeq
from foredraft.verify.match import Match
from foredraft.verify.recursive import Recursive, Sequoia, SpecInfer
from foredraft.verify.relaxed import Relaxed
from foredraft.verify.traversal import Traversal
from foredraft.verify.typical import Typical

VERIFIERS: dict[str, type[Verifier]] = {
    "match": Match,
    "recursive": Recursive,
    "specinfer": SpecInfer,
    "sequoia": Sequoia,
    "block": Block,
    "traversal": Traversal,
    "kseq": KSeq,
    "typical": Typical,
    "relaxed": Relaxed,
}


def make_verifier(text: str, *, allow_lossy: bool = False) -> Verifier:
    """The verifier written as `text`. Raises UnknownName, or UsageError for a lossy one that was not allowed."""
    name, _, given = text.partition(":")
    if name not in VERIFIERS:
        raise UnknownName("verifier", name, VERIFIERS)
    made = VERIFIERS[name](**_options(name, given))
    if not made.lossless and not allow_lossy:
        raise UsageError(
            f"verifier {name!r} changes what the model says: allow that with --allow-lossy (allow_lossy=True), or take "
            "a lossless one"
        )
    return made


def _options(name: str, given: str) -> dict[str, Any]:
    """The options in `option=value,…`, as their types say."""
    kind = VERIFIERS[name]
    fields = list[str]()
    if dataclasses.is_dataclass(kind):
        fields = [field.name for field in dataclasses.fields(kind)]
    kinds, found = get_type_hints(kind), dict[str, Any]()
    for item in filter(None, (item.strip() for item in given.split(","))):
        option, equals, value = item.partition("=")
        if not equals or option not in fields:
            raise UnknownName(f"option of verifier {name!r}:", option, fields)
        if option in found:
            raise UsageError(f"verifier {name!r} was given {option!r} twice: give it once")
        try:
            found[option] = kinds[option](value)
        except ValueError:
            wanted = "a whole number" if kinds[option] is int else "a number"
            raise UsageError(f"{option} of verifier {name!r} must be {wanted}, not {value!r}") from None
    return found
