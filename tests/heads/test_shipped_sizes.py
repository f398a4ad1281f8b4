"""What is shipped stays small: for SmolLM2 in the package, for the 1.5B beside the benchmarks."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "foredraft"
MEGABYTE = 1_000_000


def test_what_the_package_brings_for_smollm2_is_at_most_12_megabytes() -> None:
    """The head and the table of successors together: a wheel that carries them is downloaded by everybody."""
    found = [path for path in PACKAGE.glob("*/shipped/*") if path.name.startswith("smollm2.")]
    assert {path.suffix for path in found} == {".safetensors", ".successors"}
    assert sum(path.stat().st_size for path in found) <= 12 * MEGABYTE


def test_the_head_of_the_larger_model_is_at_most_32_megabytes() -> None:
    head = ROOT / "benchmarks" / "drafters" / "qwen2.5-coder-1.5b.safetensors"
    assert 0 < head.stat().st_size <= 32 * MEGABYTE
