"""Heads by their files: found, held against the target, built; and the text stays the target's, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from foredraft.core.errors import UsageError, WeightsError
from foredraft.core.heads import Feed
from foredraft.core.params import SamplingParams
from foredraft.core.protocols import About
from foredraft.draft import line_up
from foredraft.draft.one_pass import OnePassDrafter
from foredraft.engine import heads, shipped
from foredraft.engine.backends import Loaded, load_model, make_drafting
from foredraft.engine.heads import load_head
from foredraft.engine.llm import LLM
from foredraft.engine.stats import stats
from foredraft.heads.files import read_config, write_head
from foredraft.models.native import NativeModel
from foredraft.models.native_head_block import NativeBlock
from gguf_cases import write_gguf
from random_heads import logits_of, random_head, taps_of

TEXT = tuple(range(5, 40))
SAYS = tuple(range(0, 459, 2))
FACTS = {field.name for field in fields(About)}  # of the target that a head says it was trained for


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    path = tmp_path_factory.mktemp("target") / "tiny.gguf"
    return load_model(str(write_gguf(path, "smollm", "Q8_0").path), threads=2)


@pytest.fixture(scope="module")
def written(loaded: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """written(**changes): a head's file; what is changed are settings of the head or facts about its target. made: the
    method and its sizes."""
    folder = tmp_path_factory.mktemp("heads")

    def write(**changes: Any) -> Path:
        about = replace(loaded.model.about, **{key: changes.pop(key) for key in list(changes) if key in FACTS})
        made, taps = changes.pop("made", {}), changes.pop("taps", None)
        config, tensors = random_head(about, says=SAYS, block=4, **made)
        config = replace(config, taps=taps or config.taps)
        path = folder / f"{len(list(folder.iterdir()))}.safetensors"
        write_head(path, replace(config, **changes), tensors, int8=True)
        return path

    return write


# --- what a file becomes ----------------------------------------------------------------------------------------------


def test_a_file_becomes_the_head_that_it_says(loaded: Loaded, written: Callable[..., Path]) -> None:
    target = loaded.model
    head = load_head(str(written()), target, threads=1)
    assert isinstance(head, NativeBlock)
    assert (head.taps, head.block, head.says.tolist()) == ((0, 1), 4, list(SAYS))
    taps = taps_of(target, TEXT, head.taps)
    found = head.score([Feed(head.open(), TEXT[1:], taps[:-1], 4)])[0]
    wanted = logits_of(target, random_head(target.about, says=SAYS, block=4), TEXT, taps)
    assert np.abs(found - wanted).mean() < 0.1 * wanted.std()


def test_without_the_native_engine_numpy_computes_it(
    loaded: Loaded, written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "module", lambda wanted: None)
    head = load_head(str(written()), loaded.model)
    assert type(head).__name__ == "PlainBlock"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": 64}, "a target of width 64, not 96: give the head that was trained for 'tiny'"),
        ({"layers": 9}, "a target of 9 layers, not 2"),
        ({"vocab_size": 600}, "a target of 600 tokens, not 459"),
        ({"details": (("fingerprint", "0" * 64),), "name": "other"}, r"trained for another target \(other\): give"),
        ({"taps": (0, 7)}, "reads layer 7 of a target that has 2"),
    ],
    ids=str,
)
def test_heads_of_others_are_refused(
    loaded: Loaded, written: Callable[..., Path], changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said) as error:
        load_head(str(written(**changes)), loaded.model)
    assert "\n" not in str(error.value)


def test_what_is_no_head_is_refused(loaded: Loaded, written: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no trained head at nowhere.safetensors: give the file of one"):
        load_head("nowhere.safetensors", loaded.model)
    with pytest.raises(UsageError, match="no trained head comes with 'tiny': give the file of one, as in block:PATH"):
        load_head("", loaded.model)
    whole = written().read_bytes()
    for name, content in (("cut", whole[: len(whole) // 2]), ("empty", b""), ("text", b"hello " * 50)):
        damaged = tmp_path / f"{name}.safetensors"
        damaged.write_bytes(content)
        with pytest.raises(WeightsError, match=name) as error:
            load_head(str(damaged), loaded.model)
        assert "\n" not in str(error.value)
    with pytest.raises(WeightsError, match="no trained head that this version reads"):
        load_head(str(written(version=2)), loaded.model)
    with pytest.raises(WeightsError, match="it is of method 'seer', and known are block"):
        load_head(str(written(method="seer")), loaded.model)
    with pytest.raises(WeightsError, match="it reads more than one layer"):
        load_head(str(written(made={"method": "medusa"}, taps=(0, 1))), loaded.model, method="medusa")


def test_a_head_of_another_method_is_refused(loaded: Loaded, written: Callable[..., Path]) -> None:
    path = written()
    with pytest.raises(
        UsageError, match=f"is a head of method 'block': give one of method 'other', or write block:{path}"
    ):
        load_head(str(path), loaded.model, method="other")


def test_the_file_that_comes_with_the_package_says_what_it_said() -> None:
    """Its settings, read and written again, are the text that stands in it."""
    path = shipped.SHIPPED / "smollm2.safetensors"
    with safe_open(str(path), framework="np") as file:
        stored = (file.metadata() or {})["foredraft"]
    assert read_config(path).json() == stored


# --- what `auto` and names come to ------------------------------------------------------------------------------------


def test_auto_asks_a_known_head_last(
    loaded: Loaded, written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "block" not in make_drafting(line_up("auto"), loaded).drafters
    monkeypatch.setitem(shipped.HEADS, dict(loaded.model.about.details)["fingerprint"], str(written()))
    drafting = make_drafting(line_up("auto"), loaded)
    assert list(drafting.drafters) == [spec.family.name for spec in line_up("auto").specs] + ["block"]
    assert drafting.needs_taps
    assert isinstance(drafting.drafters["block"], OnePassDrafter)
    assert list(make_drafting(line_up("lookup"), loaded).drafters) == ["lookup"]
    assert list(make_drafting(line_up("block+auto"), loaded).drafters)[0] == "block"
    drafting.close()


def test_a_target_without_taps_is_refused(loaded: Loaded, written: Callable[..., Path]) -> None:
    class Bare(NativeModel):
        pass

    bare: Any = Bare(*loaded.model._parts, loaded.model.about)  # type: ignore[attr-defined]
    bare.abilities = frozenset({"ends"})
    with pytest.raises(UsageError, match="drafter 'block' needs taps of the target"):
        make_drafting(line_up(f"block:{written()}"), replace(loaded, model=bare))


# --- the text ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantize", ["int8", "int4"])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("verifier", ["match", "recursive"])
def test_the_text_is_that_of_plain_decoding(
    loaded: Loaded, written: Callable[..., Path], quantize: str, temperature: float, verifier: str
) -> None:
    """Bit for bit with `match`, though drafts were accepted and rejected; several texts share every pass."""
    path = written()
    params = SamplingParams(max_tokens=40, temperature=temperature, seed=5, n=2 if temperature else 1)
    prompts = [list(TEXT), [7, 8, 9] * 30, [11]]
    plain = LLM(loaded, "none").generate(prompts, params)
    drafted = LLM(loaded, f"block:{path},quantize={quantize},k=12", verifier=verifier).generate(prompts, params)
    if verifier == "match" or not temperature:
        assert [[one.token_ids for one in each.outputs] for each in drafted] == [
            [one.token_ids for one in each.outputs] for each in plain
        ]
    totals = stats([step for each in drafted for one in each.outputs for step in one.steps])
    assert totals.faults == ()
    assert 0 < totals.accepted < totals.drafted


@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize(
    "made", [{"method": "medusa"}, {"method": "hydra"}, {"method": "hydra", "prefix": 1}, {"method": "mtp"}], ids=str
)
def test_heads_of_every_method_leave_the_text_alone(
    loaded: Loaded, written: Callable[..., Path], made: dict[str, Any], temperature: float
) -> None:
    path = written(made=made)
    params = SamplingParams(max_tokens=40, temperature=temperature, seed=5, n=2 if temperature else 1)
    prompts = [list(TEXT), [7, 8, 9] * 30, [11]]
    plain = LLM(loaded, "none").generate(prompts, params)
    drafter = f"{made['method']}:{path},k=12"
    for tree in ("", ",tree=static") if made["method"] != "hydra" else ("",):
        drafted = LLM(loaded, drafter + tree).generate(prompts, params)
        assert [[one.token_ids for one in each.outputs] for each in drafted] == [
            [one.token_ids for one in each.outputs] for each in plain
        ]
        totals = stats([step for each in drafted for one in each.outputs for step in one.steps])
        assert totals.faults == ()
        assert totals.drafted > 0
