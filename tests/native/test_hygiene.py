"""One binary for all x86-64 processors: nothing compiled for more than the baseline may be reached on less.

A linker keeps one copy of an inline function, from whichever object has it. Were it the AVX-512 one, every processor
without would stop at it. So objects of kernels have no symbol that a linker merges, and no other object has an
instruction that such a processor lacks, but for functions that say by their name what they need.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KERNELS = {"portable", "avx2", "avxvnni", "avx512", "amx"}
# In 64-bit code these bytes begin nothing but a VEX or EVEX instruction, after prefixes of segment or address size.
WIDE = re.compile(r"^\s*[0-9a-f]+:\t(?:(?:26|2e|36|3e|64|65|67) )*(?:62|c4|c5) [0-9a-f ]+\t(.*)$")
FUNCTION = re.compile(r"^[0-9a-f]+ <(.+)>:$")

pytestmark = [
    pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="there is one instruction set here"),
    pytest.mark.skipif(not shutil.which("nm") or not shutil.which("objdump"), reason="binutils are not installed"),
]


def output(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def merged_symbols(compiled: Path) -> list[str]:
    """Functions and variables of which a linker keeps one copy of many."""
    lines = (line.split() for line in output("nm", "--defined-only", compiled).splitlines())
    return [name for *_, kind, name in lines if kind in "WwVvu"]


def wide_instructions(compiled: Path) -> list[tuple[str, str]]:
    """(function, instruction) for all that the first x86-64 processors lacked, in functions that do not name it."""
    found, function = [], ""
    for line in output("objdump", "-d", "-w", "--insn-width=16", compiled).splitlines():
        if named := FUNCTION.match(line):
            function = named[1]
        elif (wide := WIDE.match(line)) and "avx" not in function.lower():
            found.append((function, wide[1]))
    return found


@pytest.fixture(scope="module")
def objects() -> list[Path]:
    """What the installed module was linked from."""
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}-*"
    folders = sorted((ROOT / "build").glob(tag), key=lambda folder: folder.stat().st_mtime)
    found = sorted(folders[-1].glob("CMakeFiles/*.dir/**/*.o")) if folders else []
    if not found:
        pytest.skip("the module was not built in this folder")
    return found


def of_kernels(compiled: Path) -> bool:
    return compiled.parent.name == "kernels"


def test_kernels_share_no_function(objects: list[Path]) -> None:
    kernels = [one for one in objects if of_kernels(one)]
    assert {one.name.split(".")[0] for one in kernels} >= KERNELS
    assert {one.name: merged_symbols(one) for one in kernels} == {one.name: [] for one in kernels}


def test_a_kernel_defines_its_table_and_nothing_else(objects: list[Path]) -> None:
    """Whatever else it exported could be called from outside, or replace another file's."""
    for one in filter(of_kernels, objects):
        symbols = output("nm", "--defined-only", "--extern-only", "--demangle", one).splitlines()
        names = [line.split(maxsplit=2)[2] for line in symbols]
        assert names == [f"foredraft::{one.name.split('.')[0]}_kernels()"], one.name


def test_nothing_else_needs_more_than_the_baseline(objects: list[Path]) -> None:
    others = [one for one in objects if not of_kernels(one) or one.name.startswith("portable")]
    assert len(others) > 5
    assert {one.name: wide_instructions(one)[:3] for one in others} == {one.name: [] for one in others}


def test_kernels_do_use_what_they_are_for(objects: list[Path]) -> None:
    """Else the last test would pass whatever it looked at."""
    wide = {one.name.split(".")[0]: len(wide_instructions(one)) for one in objects if of_kernels(one)}
    assert all(wide[name] > 1000 for name in KERNELS - {"portable"}), wide


@pytest.mark.skipif(not shutil.which("g++"), reason="g++ is not installed")
@pytest.mark.parametrize(
    ("flags", "body", "merged", "wide"),
    [
        ("-O1", "inline int f(int x) { return x + 1; } int (*taken)(int) = f;", True, False),
        ("-O1", "template <class T> T f(T x) { return x + 1; } template int f<int>(int);", True, False),
        ("-O1", "inline int &f() { static int x; return x; } int g() { return f(); }", True, False),
        ("-O1", "namespace { int f(int x) { return x + 1; } } int g(int x) { return f(x); }", False, False),
        ("-O1 -mavx2", "float f(float x, float y) { return x * y; }", False, True),
        ("-O1 -mavx512f", "typedef float V __attribute__((vector_size(64))); V f(V x) { return x + x; }", False, True),
        ("-O1 -mbmi2", "unsigned long f(unsigned long x, int n) { return x << n; }", False, True),
        ("-O1 -mavx2", "float f_avx2(float x, float y) { return x * y; }", False, False),
    ],
)
def test_what_these_tests_would_find(flags: str, body: str, merged: bool, wide: bool, tmp_path: Path) -> None:
    source, compiled = tmp_path / "case.cpp", tmp_path / "case.o"
    source.write_text(body)
    output("g++", *flags.split(), "-c", source, "-o", compiled)
    assert bool(merged_symbols(compiled)) == merged
    assert bool(wide_instructions(compiled)) == wide
