"""A conformance kit for models: subclass `ModelChecks`, supply the fixture `model`, and pytest runs it on yours.

    class TestMyModel(ModelChecks):
        tolerance = 1e-4  # only for a model whose rows depend on their batch

        @pytest.fixture
        def model(self):
            return MyModel(...)

The judge is the model itself, scoring each path alone from an empty cache as a plain chain (`recompute`). The kit never
closes the model: checks may share it.
"""

from __future__ import annotations

import numpy as np
import pytest

from foredraft.core.errors import UsageError
from foredraft.core.protocols import Model, Query, Vectors
from foredraft.testing.recompute import (
    Recompute,
    Rows,
    all_logits,
    assert_rows,
    assert_same,
    branch,
    fed,
    line,
    paths,
    random_rows,
    random_text,
    refuses,
    score,
    skip_without,
    tolerance_of,
)

TREES = range(6)
# A context longer than this is not filled to the brim, only overstepped.
FILLABLE = 1024
# Chain and draft rows of the sequences of one pass.
SIZES = ((3, 4), (1, 0), (2, 6))


class ModelChecks:
    """tolerance: how far apart, absolutely and relatively, equal logits may be where rows are not invariant."""

    tolerance: float = 0.0

    @pytest.fixture
    def model(self) -> Model:
        raise NotImplementedError("supply a fixture `model`")

    # --- scores ---------------------------------------------------------------------------------------------------

    def test_about(self, model: Model) -> None:
        about = model.about
        assert about.name
        assert about.vocab_size > 1
        assert about.layers >= 0
        assert min(about.context, about.width) > 0
        assert model.abilities <= {"taps", "ends", "layers"}

    def test_logits_are_over_the_vocabulary(self, model: Model) -> None:
        rows = self._rows(model, 0, 4, 5)
        scores = score(model, model.open(), rows)
        assert scores.vocab_size == model.about.vocab_size
        for row in range(len(rows[0])):
            logits = scores.logits(row)
            assert logits.shape == (model.about.vocab_size,)
            assert np.issubdtype(logits.dtype, np.floating)
            assert not np.isnan(logits).any(), f"row {row} has NaN logits"
            assert not np.isposinf(logits).any(), f"row {row} has infinite logits"
            assert np.isfinite(logits).any(), f"row {row} leaves no token"

    def test_the_last_token_matters(self, model: Model) -> None:
        """A row sees itself: comparing with chains alone would not notice a mask that hides every row from itself."""
        judge, text = Recompute(model), self._text(model, 2, 5)
        alone = [judge.logits((*text, token)) for token in range(min(model.about.vocab_size, 8))]
        assert any(not np.array_equal(alone[0], other) for other in alone[1:]), "no row sees its own token"

    @pytest.mark.parametrize("seed", TREES)
    def test_rows_of_a_tree(self, model: Model, seed: int) -> None:
        """Behind a cached text and a chain that catches up, every node says what its path says alone."""
        text, rows = self._text(model, seed, seed * 2), self._rows(model, seed, 1 + seed % 3, 9)
        cache = fed(model, text)
        assert_rows(Recompute(model), score(model, cache, rows), text, rows, self._tolerance(model))

    def test_siblings_do_not_see_each_other(self, model: Model) -> None:
        text, guesses = self._text(model, 3, 4), self._text(model, 4, 6)
        rows = branch(text[-1:], (-1,) * 6, guesses)
        scores = score(model, fed(model, text[:-1]), rows)
        assert_rows(Recompute(model), scores, text[:-1], rows, self._tolerance(model))

    def test_positions_follow_depth(self, model: Model) -> None:
        """Rows far apart in the pass but one step apart in the text."""
        text, guesses = self._text(model, 5, 3), self._text(model, 6, 8)
        rows = branch(text, (-1, -1, -1, 0, 1, 2, 3, 4), guesses)
        assert_rows(Recompute(model), score(model, model.open(), rows), (), rows, self._tolerance(model))

    def test_rows_may_branch_off_the_cache(self, model: Model) -> None:
        text, guesses = self._text(model, 7, 5), self._text(model, 8, 5)
        rows = (tuple(guesses), (-1, -1, 0, 1, -1))
        scores = score(model, fed(model, text), rows)
        assert_rows(Recompute(model), scores, text, rows, self._tolerance(model))

    def test_logits_of_wanted_rows_only(self, model: Model) -> None:
        """Any rows may be wanted, in any order; the others are refused, not made up."""
        text, (tokens, parents) = self._text(model, 9, 3), self._rows(model, 9, 2, 6)
        wanted = (5, 1, 6)
        scores = model.score([Query(fed(model, text), tokens, parents, wanted)])[0]
        for row in (0, 2):
            with refuses(f"the logits of row {row}, which were not asked for,", ValueError, LookupError):
                scores.logits(row)
        found = {row: scores.logits(row).copy() for row in wanted}
        judge, alone = Recompute(model), paths(text, (tokens, parents))
        for row in wanted:
            assert_same(found[row], judge.logits(alone[row]), self._tolerance(model), f"row {row}")

    def test_argmax_is_the_lowest_of_the_largest(self, model: Model) -> None:
        rows = self._rows(model, 10, 6, 12)
        scores = score(model, model.open(), rows)
        for row in range(len(rows[0])):
            logits = scores.logits(row)
            assert scores.argmax(row) == int(np.flatnonzero(logits == logits.max())[0]), f"row {row}"

    def test_argmax_alone(self, model: Model) -> None:
        """In one pass with a query that wants logits too; who does not want them gets the likeliest tokens only."""
        (tokens, parents), wanted = self._rows(model, 30, 2, 6), (6, 0, 3)
        asked = [(top, (), only) for top, only in ((3, True), (2, False), (0, True))]
        bare, full, other = model.score([Query(model.open(), tokens, parents, wanted, *each) for each in asked])
        for row in wanted:
            logits = full.logits(row)
            assert bare.argmax(row) == other.argmax(row) == full.argmax(row) == int(np.argmax(logits))
            best = np.argsort(-logits, kind="stable")[:3]
            assert np.array_equal(bare.top(row), (best, logits[best]))
            with refuses(f"the logits of row {row}, of which the argmax alone was asked for,", ValueError, LookupError):
                bare.logits(row)
        with refuses("the argmax of a row that was not asked for", ValueError, LookupError):
            bare.argmax(1)

    @pytest.mark.parametrize("count", [1, 3])
    def test_top_is_best_first(self, model: Model, count: int) -> None:
        """Lower ids come first among equals."""
        rows = self._rows(model, 11, 6, 12)
        scores = score(model, model.open(), rows, top=count)
        for row in range(len(rows[0])):
            logits = scores.logits(row)
            ids, values = scores.top(row)
            assert list(ids) == sorted(range(len(logits)), key=lambda token: (-logits[token], token))[:count]
            assert np.array_equal(values, logits[ids])

    # --- batches and chunks ---------------------------------------------------------------------------------------

    def test_sequences_of_one_pass(self, model: Model) -> None:
        """Texts of different lengths with trees of different sizes do not disturb each other."""
        texts = [self._text(model, 12 + index, length) for index, length in enumerate((0, 7, 3))]
        parts = [self._rows(model, 12 + index, chain, drafts) for index, (chain, drafts) in enumerate(SIZES)]
        caches = [fed(model, text) for text in texts]
        queries = [Query(cache, *rows, tuple(range(len(rows[0])))) for cache, rows in zip(caches, parts, strict=True)]
        judge = Recompute(model)
        found = [all_logits(scores, rows) for scores, rows in zip(model.score(queries), parts, strict=True)]
        for text, rows, logits in zip(texts, parts, found, strict=True):
            for row, path in enumerate(paths(text, rows)):
                assert_same(logits[row], judge.logits(path), self._tolerance(model), f"row {row} after {list(path)}")

    @pytest.mark.parametrize("size", [1, 3, 7])
    def test_chunks_of_the_prompt(self, model: Model, size: int) -> None:
        text = self._text(model, 15, 15)
        cache = fed(model, text, size)
        assert cache.length == len(text)
        rows = line(self._text(model, 16, 2))
        assert_rows(Recompute(model), score(model, cache, rows), text, rows, self._tolerance(model))

    def test_the_context_is_a_limit(self, model: Model) -> None:
        """The last position can be scored, the one after it is refused and leaves the cache as it was."""
        context = model.about.context
        text = [token % model.about.vocab_size for token in range(context + 1)]
        with refuses("a text longer than the context", ValueError):
            score(model, model.open(), line(text))
        if context > FILLABLE:
            return
        cache = fed(model, text[: context - 1])
        with refuses("a tree that reaches beyond the context", ValueError):
            score(model, cache, branch(text[:1], (-1, 0), (0, 0)))
        cache.trim(context - 1)
        assert cache.length == context - 1
        rows: Rows = ((0, 1), (-1, -1))
        assert_rows(Recompute(model), score(model, cache, rows), text[: context - 1], rows, self._tolerance(model))

    # --- taps, ends, layers ---------------------------------------------------------------------------------------

    def test_taps(self, model: Model) -> None:
        skip_without(model, "taps")
        about, text, rows = model.about, self._text(model, 17, 4), self._rows(model, 17, 2, 5)
        layers = tuple(sorted({0, about.layers // 2, about.layers}))
        scores = score(model, fed(model, text), rows, taps=layers)
        with refuses("a layer whose states were not asked for", ValueError, LookupError):
            scores.taps(about.layers + 1)
        found = {layer: scores.taps(layer).copy() for layer in layers}
        judge = Recompute(model)
        for layer in layers:
            assert found[layer].shape == (len(rows[0]), about.width)
            for row, path in enumerate(paths(text, rows)):
                wanted = judge.taps(path, layer)
                assert_same(found[layer][row], wanted, self._tolerance(model), f"taps of layer {layer}, row {row}")

    def test_head_of_the_last_taps(self, model: Model) -> None:
        """The taps after all layers, through norm and head, are the logits, which no later head writes over."""
        skip_without(model, "taps", "ends")
        rows, last = self._rows(model, 18, 3, 4), model.about.layers
        scores = score(model, model.open(), rows, taps=(last,))
        told, taps = all_logits(scores, rows), np.array(scores.taps(last))
        self._same(model, told, model.head(taps), "head(taps)")
        model.head(-taps)
        assert np.array_equal(all_logits(scores, rows), told), "a head of other states changes logits that were told"

    def test_embeddings(self, model: Model) -> None:
        skip_without(model, "ends")
        rows = model.embed(tokens := self._text(model, 19, 5))
        assert rows.shape == (5, model.about.width)
        assert all(np.array_equal(model.embed([token])[0], row) for token, row in zip(tokens, rows, strict=True))
        assert model.head(rows).shape == (5, model.about.vocab_size)
        assert model.head_rows(tokens).shape == rows.shape

    def test_views(self, model: Model) -> None:
        """A view of all layers is the model; one of the first layers has the model's taps there; caches are its own."""
        skip_without(model, "layers")
        count, rows = model.about.layers, self._rows(model, 20, 3, 5)
        whole, view = all_logits(score(model, model.open(), rows), rows), model.view(range(count))
        self._same(model, all_logits(score(view, view.open(), rows), rows), whole, "a view of all layers")
        for first in range(count):
            part = model.view(range(first))
            assert (part.about.layers, part.about.vocab_size) == (first, model.about.vocab_size)
            cache = part.open()
            score(part, cache, rows)
            cache.keep((0, 1))
            assert cache.length == 2
            if {"taps"} <= model.abilities & part.abilities:
                mine = score(part, part.open(), rows, taps=(first,)).taps(first).copy()
                theirs = score(model, model.open(), rows, taps=(first,)).taps(first)
                self._same(model, mine, theirs, f"taps of a view of the first {first} layers")

    def test_abilities_not_offered_are_refused(self, model: Model) -> None:
        if "ends" not in model.abilities:
            with refuses("embed without the ability 'ends'", UsageError):
                model.embed([0])
            with refuses("head without the ability 'ends'", UsageError):
                model.head(np.zeros((1, model.about.width)))
        if "layers" not in model.abilities:
            with refuses("view without the ability 'layers'", UsageError):
                model.view(())
        if "taps" not in model.abilities:
            with refuses("taps without the ability 'taps'", UsageError):
                score(model, model.open(), line((0,)), taps=(0,)).taps(0)

    # --- caches ---------------------------------------------------------------------------------------------------

    def test_an_empty_cache(self, model: Model) -> None:
        cache = model.open()
        assert cache.length == 0
        cache.keep(())
        with refuses("keeping rows before any pass", ValueError):
            cache.keep((0,))

    def test_dropped_rows_leave_no_trace(self, model: Model) -> None:
        """Keep one path of a tree again and again: what was rejected beside it must not be seen later."""
        judge, text, cache = Recompute(model), self._text(model, 21, 3), model.open()
        score(model, cache, line(text))
        cache.keep(range(len(text)))
        for seed, kept in enumerate(((0, 2, 5), (0, 3), (0,), (0, 1, 4, 6))):
            tokens = self._text(model, 22 + seed, 8)
            rows: Rows = (tuple(tokens), (-1, 0, 0, 0, 1, 2, 4, 4))
            assert_rows(judge, score(model, cache, rows), text, rows, self._tolerance(model))
            score(model, cache, rows)
            cache.keep(kept)
            text += [tokens[row] for row in kept]
            assert cache.length == len(text)
        rows = line(self._text(model, 26, 2))
        assert_rows(judge, score(model, cache, rows), text, rows, self._tolerance(model))

    def test_scores_outlive_keep(self, model: Model) -> None:
        """A round keeps first and tells the drafter, who reads the scores, afterwards."""
        rows, layers = self._rows(model, 27, 3, 4), (model.about.layers,) if "taps" in model.abilities else ()
        cache = model.open()
        scores = score(model, cache, rows, taps=layers)
        before = all_logits(scores, rows), *(scores.taps(layer).copy() for layer in layers)
        cache.keep((0, 1, 2))
        after = all_logits(scores, rows), *(scores.taps(layer) for layer in layers)
        for old, new in zip(before, after, strict=True):
            assert np.array_equal(old, new), "keep changed the scores of the pass"

    @pytest.mark.parametrize("bad", [(1,), (0, 2, 3), (0, 0), (2, 0), (0, 4), (0, 2, 9), (-1,), (0, 1, 2)])
    def test_keep_refuses_what_is_no_path(self, model: Model, bad: tuple[int, ...]) -> None:
        """And changes nothing by it. Row 1 and row 2 follow row 0, row 3 follows row 1, row 4 row 3."""
        text, cache = self._text(model, 28, 3), fed(model, self._text(model, 28, 3))
        tokens = self._text(model, 29, 5)
        score(model, cache, (tuple(tokens), (-1, 0, 0, 1, 3)))
        with refuses(f"keeping rows {list(bad)}", ValueError):
            cache.keep(bad)
        assert cache.length == len(text)
        cache.keep((0, 1, 3))
        text += [tokens[row] for row in (0, 1, 3)]
        rows = line(self._text(model, 30, 2))
        assert_rows(Recompute(model), score(model, cache, rows), text, rows, self._tolerance(model))

    def test_a_pass_forgets_rows_not_kept(self, model: Model) -> None:
        text, cache = self._text(model, 31, 4), fed(model, self._text(model, 31, 4))
        score(model, cache, line(self._text(model, 32, 6)))
        rows = line(self._text(model, 33, 2))
        assert_rows(Recompute(model), score(model, cache, rows), text, rows, self._tolerance(model))
        score(model, cache, rows)
        with refuses("keeping rows of an earlier pass", ValueError):
            cache.keep((0, 1, 2))
        cache.keep((0,))
        assert cache.length == len(text) + 1
        with refuses("keeping rows twice", ValueError):
            cache.keep((0,))

    def test_trim(self, model: Model) -> None:
        text, cache = self._text(model, 34, 9), fed(model, self._text(model, 34, 9))
        for bad in (-1, len(text) + 1):
            with refuses(f"trimming {len(text)} tokens to {bad}", ValueError):
                cache.trim(bad)
        judge = Recompute(model)
        for length in (9, 6, 1, 0):
            score(model, cache, line(self._text(model, 35, 3)))
            cache.trim(length)
            assert cache.length == length
            with refuses("keeping rows after a trim", ValueError):
                cache.keep((0,))
            rows = self._rows(model, 36 + length, 2, 3)
            assert_rows(judge, score(model, cache, rows), text[:length], rows, self._tolerance(model))

    def test_forks_are_independent(self, model: Model) -> None:
        judge, text = Recompute(model), self._text(model, 40, 6)
        first = fed(model, text)
        second = first.fork()
        assert second.length == len(text)
        texts = {0: [*text], 1: [*text]}
        for seed, caches in enumerate(((first, second), (second, first))):
            for cache in caches:
                own = 0 if cache is first else 1
                tokens = self._text(model, 41 + 2 * seed + own, 3)
                score(model, cache, line(tokens))
                cache.keep((0, 1, 2))
                texts[own] += tokens
        first.trim(2)
        del texts[0][2:]
        for own, cache in enumerate((first, second)):
            assert cache.length == len(texts[own])
            rows = line(self._text(model, 45, 2))
            assert_rows(judge, score(model, cache, rows), texts[own], rows, self._tolerance(model))

    def test_no_fork_while_rows_are_pending(self, model: Model) -> None:
        cache = fed(model, self._text(model, 46, 3))
        score(model, cache, line((0, 0)))
        with refuses("a fork while rows are pending", ValueError):
            cache.fork()
        cache.keep((0,))
        assert cache.fork().length == 4
        score(model, cache, line((0,)))
        cache.trim(2)
        assert cache.fork().length == 2

    def test_bytes(self, model: Model) -> None:
        cache = model.open()
        sizes = []
        for seed in range(4):
            score(model, cache, line(self._text(model, seed, 5)))
            cache.keep(range(5))
            sizes.append(cache.nbytes)
        assert sizes == sorted(sizes), "a longer text takes fewer bytes"
        assert sizes[-1] > 0

    def test_close(self, model: Model) -> None:
        """Closing twice does no harm, and harms no other cache, not even a fork."""
        text = self._text(model, 47, 5)
        first = fed(model, text)
        second, other = first.fork(), fed(model, text[:2])
        first.close()
        first.close()
        rows = line(self._text(model, 48, 2))
        judge = Recompute(model)
        assert_rows(judge, score(model, second, rows), text, rows, self._tolerance(model))
        assert_rows(judge, score(model, other, rows), text[:2], rows, self._tolerance(model))

    def _tolerance(self, model: Model) -> float:
        return tolerance_of(model, self.tolerance)

    def _text(self, model: Model, seed: int, length: int) -> list[int]:
        return random_text(np.random.default_rng(seed), model.about.vocab_size, length)

    def _rows(self, model: Model, seed: int, chain: int, drafts: int) -> Rows:
        return random_rows(np.random.default_rng(1000 + seed), model.about.vocab_size, chain, drafts)

    def _same(self, model: Model, found: Vectors, wanted: Vectors, what: str) -> None:
        assert_same(found, wanted, self._tolerance(model), what)
