"""Grammars over a loaded model's vocabulary, made when the first request asks for one."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from foredraft.core.params import StructuredOutputsParams
from foredraft.core.rules import Constraint
from foredraft.engine.backends import Loaded
from foredraft.models.spellings import plain_ids, spellings

if TYPE_CHECKING:
    from foredraft.grammar.compile import Grammars


class GrammarsOf:
    """The grammars of one model. Its vocabulary is read when first needed: tenths of a second, one for Gemma's."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded

    def first(self, wanted: StructuredOutputsParams | None) -> Constraint | None:
        """The rule before the first token, None where nothing is asked. Raises UsageError for what cannot be, and
        MissingExtra where llguidance is not installed.
        """
        return self._grammars.first(wanted) if wanted is not None else None

    @cached_property
    def _grammars(self) -> Grammars:
        from foredraft.grammar.compile import Grammars  # heavy: llguidance
        from foredraft.grammar.vocabulary import Vocabulary

        tokenizer = self._loaded.tokenizer
        spelt = spellings(tokenizer, self._loaded.model.about.vocab_size)
        special = set(tokenizer.added.values()) - set(tokenizer.words.values())
        return Grammars(Vocabulary(spelt, special, tokenizer.stop_ids, lambda text: plain_ids(tokenizer, text)))
