"""The engine's float32 path against torch, for every architecture, rope variant and storage type; int8 within reason.

The hf backend is put to the same tests: that shows that files, twins and tests are right. No engine is a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import gguf  # noqa: E402

from foredraft.core.errors import WeightsError  # noqa: E402
from foredraft.core.protocols import Cache, Model, Query, Scores  # noqa: E402
from foredraft.testing.models import ModelChecks  # noqa: E402
from foredraft.testing.recompute import Rows, line, random_rows, random_text, refuses  # noqa: E402
from gguf_cases import CASES, KINDS, LINEAR, MIXES, Written, write_gguf  # noqa: E402
from native_loaders import LOADERS, load_native  # noqa: E402
from native_twin import Told, Twin  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")

# Of the largest logit: some hundred float32 roundings. A wrong norm, mask, scale or rotation is off by a hundred times.
TOLERANCE = 1e-4
LENGTH = 150  # beyond two blocks of keys, and six times the sliding window
READ = {name: case for name, case in CASES.items() if not case.refused}
FEW = ("smollm", "mistral-window", "qwen2", "gemma3-bases")  # enough to show that a test is right


def readers(hf: Sequence[str] = FEW, native: Iterable[str] = READ) -> Any:
    """Parameters (loader, name): which cases each of the two reads."""
    pairs = [("hf", name) for name in hf] + [("native", name) for name in native]
    return pytest.mark.parametrize(("loader", "name"), [pytest.param(*pair, id="-".join(pair)) for pair in pairs])


@pytest.fixture
def opened(files: Any) -> Iterator[Callable[..., tuple[Model, Written]]]:
    """opened(loader, name, kind, size): the model and its file; closed afterwards."""
    models: list[Model] = []

    def open_(loader: str, name: str, *options: Any) -> tuple[Model, Written]:
        written = files(name, *options)
        models.append(LOADERS[loader](written.path))
        return models[-1], written

    yield open_
    for model in models:
        model.close()


def text_of(written: Written, seed: int, length: int) -> list[int]:
    return random_text(np.random.default_rng(seed), written.vocab_size, length)


def rows_of(written: Written, seed: int, chain: int, drafts: int) -> Rows:
    return random_rows(np.random.default_rng(seed), written.vocab_size, chain, drafts)


def query(cache: Cache, rows: Rows, layers: int) -> Query:
    """All logits and all taps."""
    return Query(cache, *rows, tuple(range(len(rows[0]))), 0, tuple(range(layers + 1)))


def told(scores: Scores, count: int, layers: int) -> Told:
    """What a pass said, copied."""
    logits = np.stack([scores.logits(row) for row in range(count)])
    return Told(logits, np.stack([scores.taps(layer) for layer in range(layers + 1)]))


def fill(model: Model, cache: Cache, text: Sequence[int]) -> Cache:
    """Puts a text, which may be empty, into the cache."""
    if text:
        model.score([Query(cache, *line(text))])
        cache.keep(range(len(text)))
    return cache


def feed(model: Model, cache: Cache, text: Sequence[int], chunk: int = 512) -> Told:
    """Scores and keeps a text in chunks."""
    layers, parts = model.about.layers, []
    for start in range(0, len(text), chunk):
        piece = text[start : start + chunk]
        [scores] = model.score([query(cache, line(piece), layers)])
        parts.append(told(scores, len(piece), layers))
        cache.keep(range(len(piece)))
    states = np.concatenate([part.states for part in parts], axis=1)
    return Told(np.concatenate([part.logits for part in parts]), states)


def assert_close(found: NDArray[Any], wanted: NDArray[Any], what: str) -> None:
    assert found.shape == wanted.shape, f"{what}: shape {found.shape}, not {wanted.shape}"
    worst = float(np.abs(found - wanted).max() / np.abs(wanted).max())
    assert worst <= TOLERANCE, f"{what}: off by {worst:.1e} of the largest"


def assert_told(found: Told, wanted: Told, what: str) -> None:
    """Layer by layer first: the first that is off is where to look."""
    assert len(found.states) == len(wanted.states)
    for layer, (mine, reference) in enumerate(zip(found.states, wanted.states)):
        assert_close(mine, reference, f"{what}: states after {layer} layers")
    assert_close(found.logits, wanted.logits, f"{what}: logits")


# --- the files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*KINDS, *MIXES])
def test_a_file_holds_what_it_is_said_to_hold(files: Any, kind: str) -> None:
    written = files("qwen2", kind)
    found = gguf.GGUFReader(written.path).tensors
    assert {tensor.name for tensor in found} == set(written.tensors)
    for tensor in found:
        assert tensor.tensor_type.name == written.kinds[tensor.name]
        weights = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        assert np.array_equal(weights, written.tensors[tensor.name])
        assert np.isfinite(weights).all()
    if kind in KINDS:
        assert set(written.kinds.values()) == {kind, "F32"}


def test_files_have_all_that_makes_them_hard(files: Any) -> None:
    """Scales that are subnormal, negative and zero, codes of -128, rows that a K type does not fit."""
    data = np.concatenate([tensor.data.ravel() for tensor in gguf.GGUFReader(files("llama", "Q8_0").path).tensors[:1]])
    blocks = data.reshape(-1, 34)
    scales = np.ascontiguousarray(blocks[:, :2]).view(np.float16).ravel()
    assert (np.abs(scales[scales != 0]) < 6.1e-5).any()
    assert (scales < 0).any()
    assert (scales == 0).any()
    assert (blocks[:, 2:].view(np.int8) == -128).any()
    assert set(files("qwen2", "patchwork").kinds.values()) == set(KINDS)
    assert {"Q5_0", "Q6_K", "Q8_0"} <= set(files("llama", "Q4_K_M", "uneven").kinds.values())


# --- the float32 path -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 7, 64, LENGTH])
@readers()
def test_a_prompt_in_chunks(opened: Any, twins: Any, loader: str, name: str, chunk: int) -> None:
    model, written = opened(loader, name)
    text = text_of(written, 1, LENGTH)
    found = feed(model, model.open(), text, chunk)
    assert_told(found, twins(written).run(text), f"{name} in chunks of {chunk}")


@pytest.mark.parametrize("kind", [*KINDS, *MIXES])
@readers(["llama"], ["llama", "qwen2", "gemma3"])
def test_every_storage_type(opened: Any, twins: Any, loader: str, name: str, kind: str) -> None:
    model, written = opened(loader, name, kind)
    text = text_of(written, 2, 40)
    assert_told(feed(model, model.open(), text, 16), twins(written).run(text), f"{name} of {kind}")


@readers(list(READ))
def test_rows_of_256_and_rows_between(opened: Any, twins: Any, loader: str, name: str) -> None:
    for kind, size in (("Q4_K_M", "uneven"), ("patchwork", "wide")):
        model, written = opened(loader, name, kind, size)
        text = text_of(written, 3, 70)
        assert_told(feed(model, model.open(), text), twins(written).run(text), f"{name} of {kind}, {size}")


@pytest.mark.parametrize("length", [0, 20, 60, 100])
@readers(list(READ))
def test_trees(opened: Any, twins: Any, loader: str, name: str, length: int) -> None:
    """Behind a short text, across the sliding window, across a block of keys, and past the window altogether."""
    model, written = opened(loader, name)
    text, rows = text_of(written, 4, length), rows_of(written, 5 + length, 4, 14)
    cache, layers = fill(model, model.open(), text), model.about.layers
    [scores] = model.score([query(cache, rows, layers)])
    assert_told(told(scores, len(rows[0]), layers), twins(written).rows(text, rows), f"a tree behind {length} tokens")


@readers()
def test_a_kept_path_is_what_later_rows_see(opened: Any, twins: Any, loader: str, name: str) -> None:
    """Rounds of trees whose kept rows have to be moved together."""
    model, written = opened(loader, name)
    reference, text = twins(written), text_of(written, 6, 50)
    cache, layers = fill(model, model.open(), text), model.about.layers
    for seed, kept in enumerate(((0, 2, 5), (0, 3), (0, 1, 4, 6), (0, 2, 5), (0, 1, 4, 7))):
        rows: Rows = (tuple(text_of(written, 7 + seed, 8)), (-1, 0, 0, 0, 1, 2, 4, 4))
        [scores] = model.score([query(cache, rows, layers)])
        assert_told(told(scores, 8, layers), reference.rows(text, rows), f"round {seed}")
        cache.keep(kept)
        text += [rows[0][row] for row in kept]
    assert cache.length == len(text)
    rest = text_of(written, 12, 3)
    wanted = reference.rows(text, line(rest))
    assert_told(feed(model, cache, rest), wanted, "after all rounds")


@readers()
def test_sequences_of_one_pass(opened: Any, twins: Any, loader: str, name: str) -> None:
    model, written = opened(loader, name)
    texts = [text_of(written, 20 + index, length) for index, length in enumerate((0, 63, 5, 90))]
    parts = [rows_of(written, 30 + index, *size) for index, size in enumerate(((30, 0), (2, 9), (1, 0), (5, 5)))]
    caches, layers = [fill(model, model.open(), text) for text in texts], model.about.layers
    found = model.score([query(cache, rows, layers) for cache, rows in zip(caches, parts)])
    said = [told(scores, len(rows[0]), layers) for scores, rows in zip(found, parts)]
    reference = twins(written)
    for index, (text, rows) in enumerate(zip(texts, parts)):
        assert_told(said[index], reference.rows(text, rows), f"sequence {index}")


@readers()
def test_ends(opened: Any, twins: Any, loader: str, name: str) -> None:
    model, written = opened(loader, name, "Q8_0", "uneven")
    reference, tokens = twins(written), text_of(written, 40, 9)
    assert_close(model.embed(tokens), reference.embed(tokens), "embeddings")
    hidden = np.random.default_rng(41).normal(size=(5, model.about.width)).astype(np.float32)
    assert_close(model.head(hidden), reference.head(hidden), "head")


@readers()
def test_views(opened: Any, loader: str, name: str) -> None:
    """Some layers only, in any order; a layer keeps its own kind of attention and its own positions."""
    model, written = opened(loader, name)
    last, text = model.about.layers - 1, text_of(written, 42, 80)
    for layers in ((0,), (last,), (last, 0), (max(last - 1, 0),)):
        view = model.view(layers)
        assert_told(feed(view, view.open(), text, 33), Twin(written, layers).run(text), f"layers {layers}")
        view.close()


@readers(["llama3", "gemma3-linear"], ["llama3", "qwen2", "mistral-window", "gemma3", "gemma3-linear"])
def test_far_positions(opened: Any, twins: Any, loader: str, name: str) -> None:
    """Past 1,024 positions, where attention is split, in chunks and as a tree."""
    model, written = opened(loader, name)
    text, rows = text_of(written, 43, 1100), rows_of(written, 44, 3, 6)
    cache, layers = model.open(), model.about.layers
    reference = twins(written)
    assert_told(feed(model, cache, text, 512), reference.run(text), "a long prompt")
    [scores] = model.score([query(cache, rows, layers)])
    assert_told(told(scores, len(rows[0]), layers), reference.rows(text, rows), "a tree behind it")


@pytest.mark.parametrize("name", READ)
def test_the_hf_backend_says_the_same(opened: Any, name: str) -> None:
    """Of a text longer than any window, and of a tree behind it."""
    found: list[list[Told]] = []
    for loader in LOADERS:
        model, written = opened(loader, name, "Q4_1")
        cache, layers = model.open(), model.about.layers
        found.append([feed(model, cache, text_of(written, 45, LENGTH), 64)])
        [scores] = model.score([query(cache, rows_of(written, 47, 4, 10), layers)])
        found[-1].append(told(scores, 4 + 10, layers))
    for one, other, what in zip(*found, ("a text", "a tree")):
        assert_told(one, other, f"{name}: {what}")


MISTAKES: dict[str, tuple[str, dict[str, Any]]] = {
    "epsilon": ("llama", {"epsilon": 1e-6}),
    "rotation base": ("qwen3", {"theta": 1.01e6}),
    "window too long by one": ("gemma3", {"window": 25}),
    "window too short by one": ("mistral-window", {"window": 23}),
    "window of all layers dropped": ("mistral-window", {"window": None}),
    "local base dropped": ("gemma3-bases", {"keys": {}}),
    "frequencies as they are": ("llama3", {"llama3": None}),
    "frequencies divided a little less": ("llama3", {"llama3": (7.9, 1.0, 4.0, 64)}),
    "positions not stretched": ("gemma3-linear", {"keys": {}}),
    "a factor alone dropped": ("llama-factor", {"keys": {}}),
    "positions stretched otherwise": ("llama-linear", {"keys": LINEAR | {"rope.scaling.factor": 4.01}}),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_small_mistakes_show(files: Any, twins: Any, tmp_path: Path, mistake: str) -> None:
    """The same weights read with one setting wrong: the comparison must fail, or it could not find such a bug."""
    name, changes = MISTAKES[mistake]
    wrong = write_gguf(tmp_path / "wrong.gguf", name, **changes)
    text = text_of(wrong, 46, LENGTH)
    model = LOADERS["hf"](wrong.path)
    found = feed(model, model.open(), text)
    with pytest.raises(AssertionError, match="states after"):
        assert_told(found, twins(files(name)).run(text), mistake)


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.refused])
@pytest.mark.parametrize("loader", LOADERS)
def test_what_is_refused(opened: Any, loader: str, name: str) -> None:
    with pytest.raises(WeightsError) as error:
        opened(loader, name)
    assert CASES[name].refused in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "options",
    [{"threads": 0}, {"threads": -1}, {"isa": "mmx"}, {"activations": "int4"}, {"kv": "bf16"}, {"context": 0}],
    ids=str,
)
def test_wrong_options_are_refused(files: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="."):
        load_native(files("llama").path, **options)


@pytest.mark.parametrize("loader", LOADERS)
def test_bad_queries_are_refused_and_change_nothing(opened: Any, twins: Any, loader: str) -> None:
    model, written = opened(loader, "qwen2")
    other, _ = opened(loader, "qwen2")
    size, layers, context = model.about.vocab_size, model.about.layers, model.about.context
    text = text_of(written, 50, 10)
    cache = fill(model, model.open(), text)
    bad = {
        "no rows": Query(cache, (), ()),
        "a parent too few": Query(cache, (1, 2), (-1,)),
        "a parent that comes later": Query(cache, (1, 2), (1, -1)),
        "a row that is its own parent": Query(cache, (1, 2), (-1, 1)),
        "a parent before the cache's end": Query(cache, (1,), (-2,)),
        "a token too large": Query(cache, (size,), (-1,)),
        "a negative token": Query(cache, (-1,), (-1,)),
        "logits of no row": Query(cache, (1,), (-1,), (1,)),
        "logits of a negative row": Query(cache, (1,), (-1,), (-1,)),
        "taps of no layer": Query(cache, (1,), (-1,), (), 0, (layers + 1,)),
        "a row beyond the context": Query(cache, *line([1] * (context - len(text) + 1))),
        "another model's cache": Query(other.open(), (1,), (-1,)),
    }
    for what, wrong in bad.items():
        with refuses(what, ValueError):
            model.score([wrong])
    with refuses("a cache in two queries", ValueError):
        model.score([Query(cache, (1,), (-1,)), Query(cache, (2,), (-1,))])
    assert cache.length == len(text)
    rows = rows_of(written, 51, 2, 5)
    [scores] = model.score([query(cache, rows, layers)])
    assert_told(told(scores, 7, layers), twins(written).rows(text, rows), "after all refusals")


# --- the quantised paths --------------------------------------------------------------------------------------------


def divergence(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    """Mean Kullback-Leibler divergence of the laws, in nats."""
    laws = torch.log_softmax(torch.from_numpy(np.stack([wanted, found]).astype(np.float64)), dim=-1)
    return float((laws[0].exp() * (laws[0] - laws[1])).sum(-1).mean())


@pytest.mark.parametrize("kind", ["Q4_0", "Q5_1", "Q8_0", "Q4_K_M", "patchwork"])
@pytest.mark.parametrize("name", ["smollm", "mistral", "qwen2", "qwen3", "gemma3"])
def test_int8_is_off_by_what_rounding_costs(files: Any, twins: Any, name: str, kind: str) -> None:
    """Torch, with what enters its matrices rounded in groups of 32, is the measure; float matrices need no rounding."""
    written = files(name, kind)
    text = text_of(written, 60, LENGTH)
    exact = twins(written).run(text).logits
    cost = divergence(Twin(written, coded=True).run(text).logits, exact)
    found = {}
    for activations in ("int8", "int16", "f32"):
        model = load_native(written.path, activations=activations, threads=1)
        found[activations] = divergence(feed(model, model.open(), text).logits, exact)
        model.close()
    assert 0.01 * cost < found["int8"] < 2 * cost
    assert found["int16"] < cost / 10
    assert found["f32"] < cost / 10


def test_what_a_model_says_about_itself(files: Any) -> None:
    written = files("gemma3", "Q4_K_M")
    model = load_native(written.path, threads=2, context=96)
    about = model.about
    told_ = (about.vocab_size, about.context, about.layers, about.width, about.row_invariant)
    assert told_ == (written.vocab_size, 96, written.shape.layers, written.shape.width, True)
    assert model.abilities == {"taps", "ends", "layers"}
    model.close()


@pytest.fixture(scope="module", params=["hf-qwen3", "qwen3", "llama3", "gemma3"])
def tight(request: pytest.FixtureRequest, files: Any) -> Iterator[Model]:
    """A model for the kit; the engine's context is short enough to be filled."""
    loader, _, name = request.param.rpartition("-")
    path = files(name, "Q5_0").path
    model = LOADERS["hf"](path) if loader else load_native(path, context=96, threads=2)
    yield model
    model.close()


class TestKit(ModelChecks):
    """The conformance kit, exact for the engine: it claims that rows are invariant."""

    tolerance = 1e-3

    @pytest.fixture
    def model(self, tight: Model) -> Model:
        return tight
