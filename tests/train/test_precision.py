"""Which precision a machine gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from foredraft.core.errors import UnknownName
from foredraft.train.precision import precision_for

CPU = "cpu"


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("model name\t: one\nflags\t\t: fpu sse avx512_bf16 avx\n", "bfloat16"),
        ("flags\t\t: fpu amx_bf16 amx_int8\n", "bfloat16"),
        ("Features\t: fp asimd bf16 i8mm\n", "bfloat16"),
        ("flags\t\t: fpu sse avx512f\nbugs\t\t: bf16\n", "float32"),
        ("processor: 0\n", "float32"),
    ],
)
def test_halves_are_for_processors_that_multiply_them(tmp_path: Path, said: str, found: str) -> None:
    (tmp_path / "cpuinfo").write_text(said)
    assert precision_for(CPU, cpuinfo=tmp_path / "cpuinfo") == found
    assert precision_for(CPU, "float32", tmp_path / "cpuinfo") == "float32"


def test_what_a_machine_does_not_say() -> None:
    assert precision_for(CPU, cpuinfo=Path("/nowhere/cpuinfo")) == "float32"
    assert precision_for("cuda", cpuinfo=Path("/nowhere/cpuinfo")) == "bfloat16"
    with pytest.raises(UnknownName, match="float16"):
        precision_for(CPU, "float16")
