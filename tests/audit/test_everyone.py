"""Who takes part: every drafter there is, by specifications that a target alone can serve."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from foredraft.audit.everyone import IDLE, LENGTH, SPECIFIED, everyone, named
from foredraft.audit.identical import Identical, Scope, compare_texts
from foredraft.bench.entrants import admit
from foredraft.bench.prompts import Prompt
from foredraft.core.errors import UsageError
from foredraft.draft import AUTO, DRAFTERS, NONE
from foredraft.engine.backends import load_model
from gguf_cases import write_gguf


def families(names: list[str]) -> list[str]:
    return [name.partition(":")[0] for name in names]


def test_every_drafter_takes_part_or_it_is_said_why_not(tmp_path: Path) -> None:
    variants, left = everyone("target", str(tmp_path))
    found = [variant.name for variant in variants]
    assert found[0] == AUTO
    assert {*families(found), *left} == {AUTO, *DRAFTERS} - {NONE}
    assert left.keys() == IDLE.keys()
    lengths = {variant.name.partition(":")[0]: variant.length for variant in variants}
    assert lengths[AUTO] is None  # it says itself how much it drafts
    assert {lengths[name] for name in SPECIFIED} == {LENGTH}


def test_a_name_alone_stands_for_its_specification(tmp_path: Path) -> None:
    found = named("staged, lookup:n=3,k=4,model:other,head=9", "a{b}.gguf", str(tmp_path))
    assert [one.name for one in found] == ["staged:model=a{b}.gguf,head=4000", "lookup:n=3,k=4", "model:other,head=9"]
    assert [one.length for one in found] == [LENGTH, None, LENGTH]
    assert named("corpus", "x", str(tmp_path))[0].name == SPECIFIED["corpus"]  # not where the file lies
    with pytest.raises(UsageError, match="named twice"):
        named("blind,blind", "x", str(tmp_path))


def test_a_target_alone_serves_them_all(tmp_path: Path) -> None:
    """Whatever the target, they run and change nothing; that they are sometimes wrong takes a real vocabulary."""
    target = str(write_gguf(tmp_path / "tiny.gguf", "smollm", "Q8_0").path)
    loaded = load_model(target, threads=1)
    entrants, unable = admit(loaded, named(",".join(SPECIFIED), target, str(tmp_path)))
    assert not unable
    scope = Scope((Prompt("a", "t", ("abcabcabc",)),), few=1, max_tokens=12, raw=True)
    found = Identical(tuple(compare_texts(entrants, scope)))
    for entrant in entrants:
        entrant.close()
    loaded.model.close()
    assert families(found.drafters) == [*SPECIFIED]
    assert not found.mismatches
    assert not found.failed
    assert [*tmp_path.glob("builtin.jsonl.*.corpus")]
