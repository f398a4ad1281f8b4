"""The native engine behind the model contract: GGUF files as they are, on ordinary processors.

Rows do not depend on what else is in a pass, bit for bit (docs/engine.md): `row_invariant` is True. The work is in
`native/src`; here are the checks, the names and the views.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foredraft import _native
from foredraft.core.errors import UsageError, WeightsError
from foredraft.core.native import TWINS
from foredraft.core.protocols import Ability, About, Query, Scores, Vectors
from foredraft.core.rules import Logits
from foredraft.models.fingerprint import fingerprint_of
from foredraft.models.native_parts import Unsupported
from foredraft.models.native_safetensors import read_directory
from foredraft.models.native_weights import read_weights
from foredraft.models.quantise import Quantize, Reduced

__all__ = ["NativeCache", "NativeModel", "NativeScores", "Unsupported"]

Activations = Literal["int8", "int16", "f32"]


class NativeCache:
    """Keys and values of one sequence, in pages that forks share."""

    def __init__(self, cache: Any, owner: object) -> None:
        self.native, self.owner = cache, owner

    @property
    def length(self) -> int:
        return int(self.native.length)

    @property
    def nbytes(self) -> int:
        return int(self.native.nbytes)

    def keep(self, rows: Sequence[int]) -> None:
        self.native.keep(tuple(rows))

    def trim(self, length: int) -> None:
        self.native.trim(length)

    def fork(self) -> NativeCache:
        return NativeCache(self.native.fork(), self.owner)

    def close(self) -> None:
        self.native.close()

    def keys_values(self, position: int) -> bytes:
        """The raw bytes of all layers' keys and values at one kept position: what row invariance is tested on."""
        return bytes(self.native.at(position))


class NativeScores:
    """The result of one query: views of the engine's memory, which its next pass writes over."""

    def __init__(
        self,
        vocab_size: int,
        query: Query,
        best: list[int],
        logits: Logits,
        hidden: dict[int, Vectors],
        top: tuple[NDArray[np.int64], Logits] | None = None,
    ) -> None:
        """top: ids and logits of the likeliest, [wanted rows, the most any query wants]; -1 where there are no more."""
        self.vocab_size = vocab_size
        self._query, self._best, self._logits, self._hidden, self._top = query, best, logits, hidden, top
        self._places = {row: place for place, row in enumerate(query.logits)}

    def _place(self, row: int) -> int:
        if row not in self._places:
            raise ValueError(f"the logits of row {row} were not asked for")
        return self._places[row]

    def logits(self, row: int) -> Logits:
        place = self._place(row)
        if self._query.argmax_only:
            raise ValueError(f"the argmax of row {row} alone was asked for, not its logits")
        found: Logits = self._logits[place]
        return found

    def argmax(self, row: int) -> int:
        best = self._best[self._place(row)]
        if best < 0:
            raise WeightsError("the model's logits are not numbers: its weights are damaged")
        return best

    def top(self, row: int) -> tuple[NDArray[np.int64], Logits]:
        if self._query.argmax_only and self._top is not None:
            place, count = self._place(row), min(self._query.top, self.vocab_size)
            ids, values = self._top[0][place, :count], self._top[1][place, :count]
            return (ids, values) if not count or ids[-1] >= 0 else (ids[ids >= 0], values[ids >= 0])
        logits = self.logits(row)
        count = min(self._query.top, self.vocab_size)
        ids = TWINS.top(logits, count) if count else np.empty(0, dtype=np.int64)
        return ids, logits[ids]

    def taps(self, layer: int) -> Vectors:
        if layer not in self._hidden:
            raise ValueError(f"the hidden states after layer {layer} were not asked for")
        return self._hidden[layer]


class NativeModel:
    """A model on the native engine; built by `load`, or as a view of another."""

    def __init__(self, engine: Any, weights: Any, about: About) -> None:
        self._parts: tuple[Any, Any] | None = (engine, weights)
        self.about = about
        self._own = object()
        self.abilities: frozenset[Ability] = frozenset({"taps", "ends", "layers"})

    @staticmethod
    def load(
        path: str | Path,
        *,
        quantize: Quantize | None = None,
        reduced: Reduced | None = None,
        threads: int | None = None,
        isa: str = "",
        activations: Activations = "int8",
        kv: Literal["f16", "f32"] = "f16",
        context: int | None = None,
        vocab_size: int | None = None,
    ) -> NativeModel:
        """Reads and packs a GGUF file, or a Hugging Face directory.

        quantize: int8 or int4 for the matrices of a directory, by default as they are stored; GGUF files always are.
        reduced: for a model that only drafts, also a GGUF file's, with a smaller head.
        isa: an instruction set by name; by default FOREDRAFT_ISA, or the best there is. activations: int8 per group of
        32, two such planes (int16), or f32, the slow reference. context: fewer positions than the model's own.
        Raises WeightsError for a damaged file or one the engine does not compute, UsageError for what cannot be.
        """
        path = Path(path)
        if threads is not None and threads < 1:
            raise UsageError(f"{threads} threads cannot compute anything: ask for at least 1")
        if context is not None and context < 1:
            raise UsageError(f"a context of {context} holds nothing: ask for at least 1")
        if kv not in ("f16", "f32"):
            raise UsageError(f"keys and values are kept as f16 or f32, not {kv!r}")
        try:
            pool = _native.Pool(threads or 1)
        except (ValueError, RuntimeError) as error:  # more than there can be, or than the system gives
            raise UsageError(str(error)) from error
        if path.is_dir():
            weights, shape = read_directory(path, pool, quantize, vocab_size, context, reduced)
        elif quantize is not None:
            raise UsageError(f"{path.name} is computed as it is stored: leave out quantize, or give a directory")
        else:
            weights, shape = read_weights(path, pool, vocab_size, context, reduced)
        try:
            engine = _native.Engine(weights, list(range(shape.layers)), pool, isa, activations, kv == "f16")
        except ValueError as error:
            raise UsageError(str(error)) from error
        config = shape.config
        about = About(
            path.resolve().name if path.is_dir() else path.stem,
            config.vocabulary,
            config.context,
            shape.layers,
            config.width,
            row_invariant=True,
            details=(
                ("backend", "native"),
                ("isa", engine.isa),
                ("activations", activations),
                ("keys and values", kv),
                ("threads", str(pool.threads)),
                ("fingerprint", fingerprint_of(weights.norm)),
            ),
        )
        return NativeModel(engine, weights, about)

    @property
    def _engine(self) -> Any:
        return self._held()[0]

    @property
    def _weights(self) -> Any:
        return self._held()[1]

    def _held(self) -> tuple[Any, Any]:
        if self._parts is None:
            raise UsageError(f"{self.about.name} is closed: load it again")
        return self._parts

    @property
    def nbytes(self) -> int:
        """Bytes of the packed weights."""
        return int(self._weights.nbytes)

    @property
    def pool(self) -> Any:
        """The threads, for what runs between passes."""
        return self._engine.pool

    def open(self) -> NativeCache:
        return NativeCache(self._engine.open(), self._own)

    def score(self, queries: Sequence[Query]) -> list[Scores]:
        """One pass over all rows of all queries. Raises ValueError for a query that breaks the contract."""
        engine = self._engine
        if not queries:
            return []
        layers = sorted({layer for query in queries for layer in query.taps})
        asks = [
            (
                self._native(query.cache),
                query.tokens,
                query.parents,
                query.logits,
                not query.argmax_only,
                query.top if query.argmax_only else 0,
            )
            for query in queries
        ]
        best, ids, values, logits, hidden = engine.score(asks, layers)
        scores: list[Scores] = []
        row = place = written = 0
        for query in queries:
            rows, wanted = slice(row, row + len(query.tokens)), slice(place, place + len(query.logits))
            own = logits[written : written + (0 if query.argmax_only else len(query.logits))]
            taps = {layer: hidden[layers.index(layer), rows] for layer in query.taps}
            top = (ids[wanted], values[wanted]) if query.top else None
            scores.append(NativeScores(self.about.vocab_size, query, best[wanted], own, taps, top))
            row, place, written = rows.stop, wanted.stop, written + len(own)
        return scores

    def _native(self, cache: object) -> Any:
        if not isinstance(cache, NativeCache) or cache.owner is not self._own:
            raise ValueError(f"{self.about.name} scores its own caches only: open one with its open()")
        return cache.native

    def embed(self, tokens: Sequence[int]) -> Vectors:
        found: Vectors = self._engine.embed(tuple(tokens))
        return found

    def head(self, hidden: Vectors) -> Logits:
        found: Logits = self._engine.head(np.ascontiguousarray(hidden, dtype=np.float32))
        return found

    def head_rows(self, tokens: Sequence[int]) -> Vectors:
        found: Vectors = self._weights.head.rows(tuple(tokens))
        return found

    def view(self, layers: Sequence[int]) -> NativeModel:
        """The same weights with these layers only; ValueError for layers that do not exist or come twice."""
        if len(set(layers)) != len(layers) or not all(0 <= layer < self.about.layers for layer in layers):
            raise ValueError(f"a view takes some of the {self.about.layers} layers, each once: got {list(layers)}")
        about = About(
            f"{self.about.name} layers {list(layers)}",
            self.about.vocab_size,
            self.about.context,
            len(layers),
            self.about.width,
            row_invariant=True,
            details=self.about.details,
        )
        return NativeModel(self._engine.view(tuple(layers)), self._weights, about)

    def close(self) -> None:
        """Lets go of the weights; views keep theirs."""
        self._parts = None
