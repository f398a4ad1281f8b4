"""In which numbers what is learnt multiplies; its weights and their updates stay float32, and the target has a type of
its own."""

from __future__ import annotations

import re
from pathlib import Path

from foredraft.core.errors import UnknownName

PRECISIONS = ("float32", "bfloat16")
# x86 and ARM processors that multiply bfloat16 as such; others do it more slowly than float32.
HALVES = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


def precision_for(kind: str, asked: str = "", cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What is asked for, or else bfloat16 where a device of this kind (cpu, cuda) multiplies it as such. Raises
    UnknownName."""
    if asked:
        if asked not in PRECISIONS:
            raise UnknownName("precision", asked, PRECISIONS)
        return asked
    return "bfloat16" if kind == "cuda" or HALVES & _flags(cpuinfo) else "float32"


def _flags(cpuinfo: Path) -> frozenset[str]:
    """What the first processor says of itself; nothing where that is not said so."""
    try:
        found = re.search(r"^(flags|Features)\s*:(.*)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return frozenset()
    return frozenset(found[2].split()) if found else frozenset()
