"""The hf backend against stock transformers: every row equals a full recompute of its own path, without any cache."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from foredraft.core.errors import WeightsError  # noqa: E402
from foredraft.core.protocols import Query  # noqa: E402
from foredraft.models.hf import HFModel  # noqa: E402
from foredraft.testing.models import ModelChecks  # noqa: E402
from hf_cases import CONFIGS, CONTEXT, GROUPED, VOCAB, Run, build, random_tree, recompute, tell, tolerance  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", CONFIGS)
def test_rows_equal_a_recompute_of_their_paths(pairs: Any, name: str) -> None:
    run = Run(*pairs(name), seed=1, tolerance=tolerance(name))
    for _ in range(12):
        run.step()


@pytest.mark.parametrize("name", ["llama", "llama-bias", "gemma3", "gpt2"])
def test_float32_with_its_own_products_for_few_rows(pairs: Any, name: str) -> None:
    # Logits here are of size 10: the tolerance is the rounding of some hundred float32 sums.
    run = Run(*pairs(name, torch.float32), seed=2, tolerance=1e-4)
    for _ in range(10):
        run.step()


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2"])
def test_sequences_of_one_pass_equal_each_alone(pairs: Any, name: str) -> None:
    _, model = pairs(name)
    rng = np.random.default_rng(3)
    lengths = (0, 1, 17, 40)
    texts = [rng.integers(0, VOCAB, length).tolist() for length in lengths]
    queries = [random_tree(rng, rows) for rows in (5, 1, 9, 2)]
    together, alone = [], []
    for text in texts:
        for caches in (together, alone):
            caches.append(model.open())
            if text:
                tell(model, caches[-1], text)
    asked = [(0, 4), (0,), (), (1, 0)]
    batch = model.score([Query(c, *q, rows, 0, (0, 3)) for c, q, rows in zip(together, queries, asked)])
    for index, (cache, query, rows) in enumerate(zip(alone, queries, asked)):
        [single] = model.score([Query(cache, *query, rows, 0, (0, 3))])
        for row in rows:
            np.testing.assert_allclose(batch[index].logits(row), single.logits(row), rtol=0, atol=1e-10)
        for layer in (0, 3):
            np.testing.assert_allclose(batch[index].taps(layer), single.taps(layer), rtol=0, atol=1e-10)
    for cache in together:
        assert cache.pending
        cache.keep((0,))
    assert [cache.length for cache in together] == [length + 1 for length in lengths]


def test_a_prompt_in_chunks_equals_one_at_once(pairs: Any) -> None:
    stock, model = pairs("mistral-window")
    text = np.random.default_rng(4).integers(0, VOCAB, 50).tolist()
    cache = model.open()
    for start, stop in ((0, 1), (1, 20), (20, 49)):
        tell(model, cache, text[start:stop])
    [scores] = model.score([Query(cache, (text[49],), (-1,), (0,))])
    np.testing.assert_allclose(scores.logits(0), recompute(stock, text), rtol=0, atol=1e-10)


def test_slabs_grow(pairs: Any) -> None:
    config = transformers.LlamaConfig(**GROUPED | {"max_position_embeddings": 2000})
    stock = transformers.AutoModelForCausalLM.from_config(config).eval().double()
    model = HFModel(copy.deepcopy(stock), name="long")
    cache = model.open()
    assert cache.nbytes == 0
    text = np.random.default_rng(5).integers(0, VOCAB, 700).tolist()
    sizes = []
    for start in range(0, 699, 100):
        tell(model, cache, text[start : min(start + 100, 699)])
        sizes.append(cache.nbytes)
    one = 3 * 2 * 2 * 8 * 8  # layers, keys and values, heads, size, bytes
    assert sizes == [one * positions for positions in (256, 256, 512, 512, 512, 1024, 1024)]
    [scores] = model.score([Query(cache, (text[699],), (-1,), (0,))])
    np.testing.assert_allclose(scores.logits(0), recompute(stock, text), rtol=0, atol=1e-10)
    cache.close()
    assert (cache.nbytes, cache.length) == (0, 0)


def test_keep_takes_one_path_only(pairs: Any) -> None:
    _, model = pairs("llama")
    cache = model.open()
    #      0 - 1 - 3
    #        ` 2 - 4
    query = Query(cache, (1, 2, 3, 4, 5), (-1, 0, 0, 1, 2))
    for rows in ((1,), (0, 3), (0, 2, 1), (0, 2, 3), (0, 0), (5,), (-1,)):
        model.score([query])
        with pytest.raises(ValueError, match="not one path"):
            cache.keep(rows)
        assert cache.length == 0
    model.score([query])
    cache.keep((0, 2, 4))
    assert cache.length == 3
    with pytest.raises(ValueError, match="not one path"):
        cache.keep((0,))


def test_fork_trim_and_pending_rows(pairs: Any) -> None:
    stock, model = pairs("llama")
    cache = model.open()
    tell(model, cache, (1, 2, 3))
    model.score([Query(cache, (4, 5), (-1, -1))])
    with pytest.raises(ValueError, match="pending"):
        cache.fork()
    cache.keep(())
    fork = cache.fork()
    tell(model, cache, (9, 9, 9))
    tell(model, fork, (4,))
    cache.trim(2)
    for text, its in (((1, 2, 7), cache), ((1, 2, 3, 4, 7), fork)):
        [scores] = model.score([Query(its, (7,), (-1,), (0,))])
        np.testing.assert_allclose(scores.logits(0), recompute(stock, text), rtol=0, atol=1e-10)
    for length in (-1, 3):
        with pytest.raises(ValueError, match="cannot be trimmed"):
            cache.trim(length)
    empty = model.open().fork()
    assert (empty.length, empty.nbytes) == (0, 0)


@pytest.mark.parametrize("name", CONFIGS)
def test_taps_are_the_stream_before_the_norm_and_ends_fit_them(pairs: Any, name: str) -> None:
    stock, model = pairs(name)
    cache = model.open()
    tell(model, cache, (3, 1, 4))
    tokens, parents = (1, 5, 9, 2), (-1, 0, 0, 1)
    [scores] = model.score([Query(cache, tokens, parents, (3,), 0, (0, 1, 3))])
    np.testing.assert_allclose(model.head(scores.taps(3))[3], scores.logits(3), rtol=0, atol=tolerance(name))
    assert scores.taps(1).shape == (4, model.about.width)
    with torch.inference_mode():
        told = stock(torch.tensor([[3, 1, 4, 1, 5, 2]]), use_cache=False, output_hidden_states=True).hidden_states
    for layer in (0, 1):  # transformers' last entry is behind the final norm
        np.testing.assert_allclose(scores.taps(layer)[[0, 1, 3]], told[layer][0, 3:], rtol=0, atol=tolerance(name))
    if name not in ("gpt2", "granite"):  # these add positions to the embeddings, or scale them
        np.testing.assert_allclose(model.embed(tokens), scores.taps(0), rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="not asked for"):
        scores.taps(2)


@pytest.mark.parametrize("layers", [(0,), (0, 2), (2, 1)])
@pytest.mark.parametrize("name", ["llama", "qwen2-window", "gemma3", "gpt2", "gpt_neox"])
def test_a_view_is_the_model_built_of_those_layers(pairs: Any, name: str, layers: tuple[int, ...]) -> None:
    whole, model = pairs(name)
    view = model.view(layers)
    stock = copy.deepcopy(whole)
    stack = stock.transformer.h if name == "gpt2" else stock.base_model.layers
    chosen = torch.nn.ModuleList([stack[layer] for layer in layers])
    setattr(stock.base_model, "h" if name == "gpt2" else "layers", chosen)
    stock.config.num_hidden_layers = len(layers)
    if getattr(stock.config, "layer_types", None):
        stock.config.layer_types = [whole.config.layer_types[layer] for layer in layers]
    assert view.about.layers == len(layers)
    run = Run(stock, view, seed=6, tolerance=1e-10)
    for _ in range(6):
        run.step()
    # The model it was taken from is as it was, and neither scores the other's caches.
    again = Run(whole, model, seed=7, tolerance=1e-10)
    again.step()
    with pytest.raises(ValueError, match="its own caches"):
        model.score([Query(view.open(), (1,), (-1,))])


def test_views_name_layers_that_exist_once(pairs: Any) -> None:
    _, model = pairs("llama")
    for layers in ((3,), (-1,), (1, 1)):
        with pytest.raises(ValueError, match="each once"):
            model.view(layers)


def test_padded_vocabulary_never_leaves_the_model() -> None:
    stock = build("llama")
    model = HFModel(copy.deepcopy(stock), name="padded", vocab_size=50)
    cache = model.open()
    [scores] = model.score([Query(cache, (3,), (-1,), (0,), 4)])
    assert model.about.vocab_size == scores.vocab_size == 50
    assert scores.logits(0).shape == (50,)
    assert model.head(model.embed((1, 2))).shape == (2, 50)
    expected = recompute(stock, (3,))[:50]
    assert scores.argmax(0) == expected.argmax()
    ids, logits = scores.top(0)
    assert ids.tolist() == np.argsort(-expected, kind="stable")[:4].tolist()
    np.testing.assert_array_equal(logits, scores.logits(0)[ids])
    with pytest.raises(ValueError, match="outside the vocabulary"):
        model.score([Query(cache, (50,), (-1,))])
    with pytest.raises(WeightsError, match="62"):
        HFModel(copy.deepcopy(stock), name="small", vocab_size=62)


def test_ties_go_to_the_lowest_id(pairs: Any) -> None:
    stock = build("llama")
    with torch.no_grad():
        stock.lm_head.weight.zero_()
    model = HFModel(stock, name="flat")
    [scores] = model.score([Query(model.open(), (1,), (-1,), (0,), 3)])
    assert scores.argmax(0) == 0
    assert scores.top(0)[0].tolist() == [0, 1, 2]


def test_context_and_broken_queries(pairs: Any) -> None:
    _, model = pairs("gpt2")
    cache = model.open()
    tell(model, cache, [1] * (CONTEXT - 1))
    model.score([Query(cache, (1, 2, 3), (-1, -1, -1))])  # siblings share the last position
    with pytest.raises(ValueError, match=f"position {CONTEXT} lies outside the context of {CONTEXT}"):
        model.score([Query(cache, (1, 2), (-1, 0))])
    fresh = model.open()
    broken = [
        (Query(fresh, (), ()), "no tree"),
        (Query(fresh, (1, 2), (-1,)), "no tree"),
        (Query(fresh, (1,), (0,)), "does not come before"),
        (Query(fresh, (-1,), (-1,)), "outside the vocabulary"),
        (Query(fresh, (1,), (-1,), (1,)), "no row 1"),
        (Query(fresh, (1,), (-1,), (), 0, (4,)), "no layer 4"),
    ]
    for query, reason in broken:
        with pytest.raises(ValueError, match=reason):
            model.score([query])
    with pytest.raises(ValueError, match="once"):
        model.score([Query(fresh, (1,), (-1,)), Query(fresh, (1,), (-1,))])
    [scores] = model.score([Query(fresh, (1, 2), (-1, 0), (1,))])
    with pytest.raises(ValueError, match="row 0 were not asked"):
        scores.logits(0)
    assert len(scores.top(1)[0]) == 0
    assert model.score([]) == []


def test_about(pairs: Any) -> None:
    _, model = pairs("qwen3", torch.float32)
    about = model.about
    assert (about.name, about.vocab_size, about.context, about.layers, about.width) == ("qwen3", VOCAB, CONTEXT, 3, 32)
    assert not about.row_invariant
    assert {"dtype": "float32", "device": "cpu", "architecture": "qwen3"}.items() <= dict(about.details).items()
    assert model.abilities == {"taps", "ends", "layers"}


def test_a_closed_model_scores_nothing() -> None:
    model = HFModel(build("llama"), name="gone")
    cache = model.open()
    model.close()
    with pytest.raises(ValueError, match="its own caches"):
        model.score([Query(cache, (1,), (-1,))])


class TestKit(ModelChecks):
    """The kit's judge is the model itself; here transformers has already judged it."""

    tolerance = 1e-9

    @pytest.fixture(params=["llama", "gemma3"])
    def model(self, pairs: Any, request: pytest.FixtureRequest) -> HFModel:
        found: HFModel = pairs(request.param)[1]
        return found
