"""Any stock Hugging Face causal language model behind the model contract, on a CPU or a CUDA device.

One pass is one forward of transformers' own modules over the rows of all sequences laid end to end; attention, the
only place where sequences and branches must be told apart, is `hf_cache.attend`. Rows do not depend on how they are
batched beyond float rounding, which torch does not fix: `row_invariant` is False.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foredraft.core.errors import MissingExtra
from foredraft.core.native import TWINS
from foredraft.core.protocols import Ability, About, Query, Scores, Vectors
from foredraft.core.rules import Logits

try:
    import torch
    import transformers  # noqa: F401 - so that a missing one is named here
except ImportError as missing:
    raise MissingExtra("the hf backend", "torch") from missing

from foredraft.models import hf_load
from foredraft.models.fingerprint import fingerprint_of
from foredraft.models.hf_cache import HFCache, Part, Pass
from foredraft.models.hf_modules import Body

Array = NDArray[np.floating]


class HFScores:
    """The result of one query. found: [wanted, vocab]; hidden: layer -> [rows, width]."""

    def __init__(self, vocab_size: int, query: Query, found: Array, hidden: dict[int, Array]) -> None:
        self.vocab_size = vocab_size
        self._query, self._found, self._hidden = query, found, hidden
        self._places = {row: place for place, row in enumerate(query.logits)}

    def logits(self, row: int) -> Logits:
        if self._query.argmax_only:
            raise ValueError(f"the argmax of row {row} alone was asked for, not its logits")
        return self._logits(row)

    def _logits(self, row: int) -> Logits:
        if row not in self._places:
            raise ValueError(f"the logits of row {row} were not asked for")
        found: Array = self._found[self._places[row]]
        return found

    def argmax(self, row: int) -> int:
        return int(self._logits(row).argmax())

    def top(self, row: int) -> tuple[NDArray[np.int64], Logits]:
        logits = self._logits(row)
        count = min(self._query.top, self.vocab_size)
        ids = TWINS.top(logits, count) if count else np.empty(0, dtype=np.int64)
        return ids, logits[ids]

    def taps(self, layer: int) -> Vectors:
        if layer not in self._hidden:
            raise ValueError(f"the hidden states after layer {layer} were not asked for")
        return self._hidden[layer]


class HFModel:
    """A model and its weights; built by `load`, or from a transformers model that it then owns."""

    def __init__(self, model: Any, *, name: str, vocab_size: int | None = None, body: Body | None = None) -> None:
        """vocab_size: the tokenizer's, where the head is padded beyond it. WeightsError for what cannot be scored."""
        self._body = body or hf_load.prepare(model, name)
        config = self._body.config
        self.about = About(
            name,
            hf_load.true_vocabulary(self._body, vocab_size, name),
            int(config.max_position_embeddings),
            len(self._body.layers),
            int(config.hidden_size),
            row_invariant=False,
            details=(
                ("backend", "transformers"),
                ("architecture", str(config.model_type)),
                ("dtype", str(self._body.dtype).removeprefix("torch.")),
                ("device", str(self._body.device)),
                ("threads", str(torch.get_num_threads())),
                ("fingerprint", fingerprint_of(_array(self._body.norm_weight()))),
            ),
        )
        self.abilities: frozenset[Ability] = frozenset({"taps", "ends", "layers"})
        if body is None:
            hf_load.verify(self, model)

    @staticmethod
    def load(
        source: str | Path,
        kind: Literal["gguf", "hf"],
        *,
        vocab_size: int | None = None,
        device: str = "auto",
        dtype: str = "float32",
        threads: int | None = None,
    ) -> HFModel:
        """Reads a GGUF file, whose weights are expanded to `dtype`, or a directory of safetensors.

        Raises WeightsError for a file that is corrupt, incomplete, pickled or of an architecture that cannot be scored.
        """
        path = Path(source)
        model = hf_load.load(path, kind, device=device, dtype=dtype, threads=threads)
        return HFModel(model, name=path.stem if kind == "gguf" else path.name, vocab_size=vocab_size)

    def open(self) -> HFCache:
        return HFCache(self._body.slots)

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def score(self, queries: Sequence[Query]) -> list[Scores]:
        """One forward over all rows of all queries. Raises ValueError for a query that breaks the contract."""
        if not queries:
            return []
        parts = self._parts(queries)
        this = Pass(parts)
        tokens = [token for query in queries for token in query.tokens]
        filler = [0] * (self._body.filled(len(tokens)) - len(tokens))
        positions = [*np.concatenate([part.positions for part in parts]).tolist(), *filler]
        # Laid end to end, whatever is pending in the caches is written over: only now is it forgotten.
        for part in parts:
            part.cache.pending = ()
        with self._tapped(this, {layer for query in queries for layer in query.taps}):
            hidden = self._body.forward([*tokens, *filler], positions, this)
        wanted = [part.start + row for part, query in zip(parts, queries) for row in query.logits]
        logits = self._logits(hidden[wanted])
        scores: list[Scores] = []
        done = 0
        for part, query in zip(parts, queries, strict=True):
            part.cache.pending = part.parents
            found = logits[done : done + len(query.logits)]
            done += len(query.logits)
            taps = {layer: _array(this.taps[layer][part.start : part.stop]) for layer in query.taps}
            scores.append(HFScores(self.about.vocab_size, query, found, taps))
        return scores

    def _parts(self, queries: Sequence[Query]) -> list[Part]:
        """Where each query's rows stand in the batch; ValueError before anything is changed."""
        parts: list[Part] = []
        start = 0
        for query in queries:
            self._check(query)
            part = Part(self._own(query.cache), query.parents, start)
            if (last := int(part.positions.max())) >= self.about.context:
                raise ValueError(f"position {last} lies outside the context of {self.about.context}")
            parts.append(part)
            start = part.stop
        if len({id(part.cache) for part in parts}) != len(parts):
            raise ValueError("one pass scores a cache once: two queries share one")
        return parts

    def _own(self, cache: object) -> HFCache:
        if not isinstance(cache, HFCache) or cache.slots is not self._body.slots:
            raise ValueError(f"{self.about.name} scores its own caches only: open one with its open()")
        return cache

    def _check(self, query: Query) -> None:
        size, layers = self.about.vocab_size, self.about.layers
        if not query.tokens or len(query.tokens) != len(query.parents):
            raise ValueError(f"a query of {len(query.tokens)} tokens and {len(query.parents)} parents is no tree")
        for row, (token, parent) in enumerate(zip(query.tokens, query.parents)):
            if not -1 <= parent < row:
                raise ValueError(f"row {row} has parent {parent}, which does not come before it")
            if not 0 <= token < size:
                raise ValueError(f"token {token} lies outside the vocabulary of {size}")
        for row in query.logits:
            if not 0 <= row < len(query.tokens):
                raise ValueError(f"there is no row {row} whose logits could be had: the query has {len(query.tokens)}")
        for layer in query.taps:
            if not 0 <= layer <= layers:
                raise ValueError(f"there is no layer {layer} to tap: the model has {layers}")

    @contextmanager
    def _tapped(self, this: Pass, layers: set[int]) -> Iterator[None]:
        """Records the stream before these layers for one pass; modules may serve passes of views at the same time."""

        def entering(layer: int) -> Any:
            def hook(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                if kwargs.get("foredraft") is this:
                    this.taps[layer] = (args[0] if args else kwargs["hidden_states"])[0]

            return hook

        with ExitStack() as stack:
            for layer in layers - {self.about.layers}:
                hook = entering(layer)
                stack.callback(self._body.layers[layer].register_forward_pre_hook(hook, with_kwargs=True).remove)
            yield

    def _logits(self, normed: torch.Tensor) -> Array:
        """[rows, width] behind the final norm -> [rows, vocab]."""
        return _array(self._body.head(normed)[:, : self.about.vocab_size])

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def embed(self, tokens: Sequence[int]) -> Vectors:
        ids = torch.tensor(list(tokens), dtype=torch.long, device=self._body.device)
        return _array(self._body.embeddings(ids))

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def head(self, hidden: Vectors) -> Logits:
        rows = torch.as_tensor(np.ascontiguousarray(hidden)).to(self._body.device, self._body.dtype)
        return self._logits(self._body.gate.norm(rows))

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def head_rows(self, tokens: Sequence[int]) -> Vectors:
        return _array(self._body.head_rows(list(tokens)))

    def view(self, layers: Sequence[int]) -> HFModel:
        """The same modules, these layers only; ValueError for layers that do not exist or come twice."""
        if len(set(layers)) != len(layers) or not all(0 <= k < self.about.layers for k in layers):
            raise ValueError(f"a view takes some of the {self.about.layers} layers, each once: got {list(layers)}")
        name = f"{self.about.name} layers {list(layers)}"
        return HFModel(None, name=name, vocab_size=self.about.vocab_size, body=self._body.view(layers))

    def close(self) -> None:
        """Lets go of the weights; views keep theirs."""
        self._body = Body.closed()


def _array(tensor: torch.Tensor) -> Array:
    """numpy's view of a tensor, copied only from another device or a type that numpy lacks."""
    if tensor.dtype not in (torch.float32, torch.float64):
        tensor = tensor.float()
    array: Array = tensor.cpu().numpy()
    return array
