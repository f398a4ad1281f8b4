"""Models made cheaper for drafting: a head of some tokens says of them what the whole one does; int4 is as rounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf.constants import GGMLQuantizationType
from gguf.quants import dequantize
from numpy.typing import NDArray

from foredraft.core.errors import UsageError
from foredraft.core.protocols import Query
from foredraft.models.gguf_header import read_header
from foredraft.models.quantise import Reduced, quantise
from gguf_cases import Written
from native_loaders import load_native

TOLERANCE = 1e-4  # of the largest logit, as in test_architectures.py
SMALLER = ("Q4_0", "Q4_1", "Q4_K")  # types of at most the five bits of Q4_1
QUERY_ROWS = (0, 3, 4, 6)


def scored(model: Any, rows: Sequence[int] = QUERY_ROWS, seed: int = 0) -> Any:
    """The scores of a tree of seven rows."""
    tokens = np.random.default_rng(seed).integers(0, model.about.vocab_size, 7).tolist()
    return model.score([Query(model.open(), tuple(tokens), (-1, 0, 1, 1, 2, 3, 3), tuple(rows), taps=(0,))])[0]


def of_every_kind(size: int) -> list[tuple[int, ...]]:
    """Heads: the beginning, scattered rows that fill no panel, one row, all but the first."""
    return [tuple(range(32)), tuple(range(3, size, 7)), (size - 1,), tuple(range(1, size))]


@pytest.mark.parametrize("name", ["qwen2", "qwen2-tied", "gemma3"])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_head_of_some_tokens_says_of_them_what_the_whole_one_says(files: Any, name: str, threads: int) -> None:
    whole = load_native(files(name).path, threads=threads)
    for says in of_every_kind(whole.about.vocab_size):
        model = load_native(files(name).path, threads=threads, reduced=Reduced(says=says))
        assert model.about.vocab_size == whole.about.vocab_size
        for rows in ((0,), QUERY_ROWS, (6, 2)):  # more rows than before: the engine's memory grows
            wanted, found = scored(whole, rows), scored(model, rows)
            for row in rows:
                expected = np.full(whole.about.vocab_size, -np.inf, np.float32)
                expected[list(says)] = wanted.logits(row)[list(says)]
                assert np.array_equal(found.logits(row), expected)
                assert found.argmax(row) == int(expected.argmax())
        hidden = wanted.taps(0)
        assert np.array_equal(model.head(hidden)[:, list(says)], whole.head(hidden)[:, list(says)])
        assert np.isneginf(np.delete(model.head(hidden), list(says), axis=1)).all()
        model.close()


def test_what_was_said_stays_when_the_memory_grows(files: Any) -> None:
    says = (1, 5, 40)
    model = load_native(files("llama").path, reduced=Reduced(says=says))
    first = scored(model, (0,)).logits(0).copy()
    assert np.array_equal(scored(model, QUERY_ROWS).logits(0), first)
    assert set(np.flatnonzero(np.isfinite(first))) == set(says)


def rounded(written: Written, kind: str) -> Written:
    """The file as quantising leaves it: matrices of more bits, and a head of its own, but not the table."""
    tensors = dict(written.tensors)
    for name, weights in written.tensors.items():
        if weights.ndim == 2 and name != "token_embd.weight" and written.kinds[name] not in SMALLER:
            blocks = quantise(kind, weights).reshape(len(weights), -1)
            tensors[name] = dequantize(blocks, GGMLQuantizationType[kind])
    return replace(written, tensors=tensors)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("name", "kind"), [("llama", "Q8_0"), ("qwen2", "Q5_0"), ("mistral", "patchwork")])
def test_int4_is_the_model_of_the_rounded_weights(files: Any, twins: Any, name: str, kind: str) -> None:
    pytest.importorskip("torch")
    written = files(name, kind)
    says = tuple(range(2, written.vocab_size, 3))
    model = load_native(written.path, reduced=Reduced("int4", says), activations="f32", kv="f32")
    text = np.random.default_rng(3).integers(0, written.vocab_size, 40).tolist()
    found = model.score([Query(model.open(), tuple(text), tuple(range(-1, 39)), tuple(range(40)))])[0]
    twin = type(twins(written))(rounded(written, "Q4_1"))
    wanted = twin.run(text).logits[:, list(says)]
    logits = np.stack([found.logits(row)[list(says)] for row in range(40)])
    assert np.abs(logits - wanted).max() <= TOLERANCE * np.abs(wanted).max()
    assert np.array_equal(model.embed(range(40)), load_native(written.path).embed(range(40)))


@pytest.mark.parametrize("name", ["qwen2", "qwen2-tied"])
def test_what_is_as_small_already_stays(files: Any, name: str) -> None:
    """The bytes of every matrix: those of the file, or fewer; and a head beside the table where it is tied."""
    written = files(name, "patchwork")
    expected = 0
    for info in read_header(written.path).tensors:
        if len(info.shape) == 2:
            size = info.nbytes if info.name == "token_embd.weight" else min(info.nbytes, info.count // 32 * 20)
            expected += size
    if written.case.tied:
        info = next(info for info in read_header(written.path).tensors if info.name == "token_embd.weight")
        expected += min(info.nbytes, info.count // 32 * 20)
    model = load_native(written.path, reduced=Reduced("int4"))
    assert expected <= model.nbytes <= expected * 1.06  # packing may add 5%, and rows fill panels of 16


def test_threads_do_not_change_a_bit(files: Any) -> None:
    path = files("qwen2", "Q5_0").path
    one, three = (load_native(path, reduced=Reduced("int4", (1, 2, 9)), threads=count) for count in (1, 3))
    for row in QUERY_ROWS:
        assert np.array_equal(scored(one).logits(row), scored(three).logits(row))


@pytest.mark.parametrize("says", [(), (-1, 2), (2, 10**6)], ids=str)
def test_a_head_of_tokens_that_do_not_exist_is_wrong_use(files: Any, says: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="a draft head of .* needs tokens from 0 to"):
        load_native(files("llama").path, reduced=Reduced(says=says))


@pytest.mark.parametrize("quantize", [None, "int8", "int4"])
@pytest.mark.parametrize("name", ["llama-bias-tied", "qwen2"])
def test_directories_have_draft_heads_too(tmp_path: Path, name: str, quantize: Any) -> None:
    pytest.importorskip("torch")
    from hf_directories import write_directory

    folder = write_directory(tmp_path / "own", name)
    whole: NDArray[np.float32] = scored(load_native(folder, reduced=Reduced(quantize))).logits(4)
    says = tuple(range(1, len(whole), 5))
    found = scored(load_native(folder, reduced=Reduced(quantize, says))).logits(4)
    assert np.array_equal(found[list(says)], whole[list(says)])
    assert np.isneginf(np.delete(found, list(says))).all()
    if quantize is None:
        assert np.array_equal(whole, scored(load_native(folder)).logits(4))
