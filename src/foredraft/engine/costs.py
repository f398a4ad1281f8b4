"""What passes cost here, measured once for a model, machine and number of threads, and remembered beside the models.

A curve holds for the file it was measured on (size and time of change), the engine as it was built with its
instruction set, the threads and the processor. Anything else, or a damaged entry, counts as none; a folder that cannot
be written to costs another measurement the next time and nothing else, and so do others who had the processors
meanwhile, where that shows (on the native engine).
"""

from __future__ import annotations

import hashlib
import json
import platform
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from foredraft import __version__
from foredraft.core.protocols import Costs
from foredraft.engine.backends import Loaded
from foredraft.engine.measure import Curve, measure
from foredraft.engine.threads import available_processors
from foredraft.models.sources import models_folder

# Kernels take eight rows at once, some of them four: the steps behind that are measured, not drawn through.
ROWS = (1, 2, 3, 4, 5, 6, 8, 9, 12, 16, 32)
CONTEXT = 128
PASSES = 5
ENTRIES = 64  # remembered, the newest
# Of the processors that it could use an undisturbed process has at least this share while passes run.
UNDISTURBED = 0.75


def costs_of(loaded: Loaded) -> Costs:
    """Seconds of a pass by rows: remembered, else measured now, which takes some sixty plain passes.

    What was measured while others had the processor is not remembered: beside them rows seem to cost next to nothing.
    """
    facts = _facts(loaded)
    place = _place(facts)
    found = _recall(place, facts) if facts["files"] else None
    if found is None:
        room = loaded.model.about.context
        context = max(0, min(CONTEXT, room - ROWS[-1]))
        rows = [count for count in ROWS if context + count <= room]
        curve = measure(loaded.model, rows, context=context, passes=PASSES)
        found = curve.costs
        if facts["files"] and not _disturbed(loaded, curve):
            _remember(place, facts, found)
    return found


def _disturbed(loaded: Loaded, curve: Curve) -> bool:
    """Whether others had the processors meanwhile. Only the native engine's threads never rest during a pass."""
    could = min(float(loaded.threads), available_processors())
    return loaded.engine == "native" and curve.processors < UNDISTURBED * could


def _facts(loaded: Loaded) -> dict[str, Any]:
    """What a curve depends on, as JSON has it."""
    path = loaded.source.path
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    return {
        "version": __version__,
        "files": [_identity(file) for file in files],
        "kernels": [_identity(Path(file)) for file in _kernels()],
        "engine": loaded.engine,
        "details": [list(detail) for detail in loaded.model.about.details],
        "threads": loaded.threads,
        "rows": list(ROWS),
        "machine": [platform.node(), platform.machine(), _processor()],
    }


def _identity(file: Path) -> list[str | int]:
    return [str(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns]


def _kernels() -> list[str]:
    """The native engine's own file, where there is one: built anew, it is another engine of the same version."""
    found = find_spec("foredraft._native")
    return [found.origin] if found is not None and found.origin and Path(found.origin).is_file() else []


def _place(facts: dict[str, Any]) -> Path:
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return models_folder() / "costs" / f"{name[:32]}.json"


def _recall(place: Path, facts: dict[str, Any]) -> Costs | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        entry = json.loads(place.read_text(encoding="utf-8"))
        rows, seconds = tuple(map(int, entry["rows"])), tuple(map(float, entry["seconds"]))
        sound = len(rows) == len(seconds) > 0 and list(rows) == sorted(set(rows)) and rows[0] >= 1 and min(seconds) > 0
        if entry["facts"] == facts and sound:
            return Costs(rows, seconds)
    return None


def _remember(place: Path, facts: dict[str, Any], costs: Costs) -> None:
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = place.with_suffix(".part")
        draft.write_text(json.dumps({"facts": facts, "rows": costs.rows, "seconds": costs.seconds}), encoding="utf-8")
        draft.replace(place)
        newest = sorted(place.parent.glob("*.json"), key=lambda entry: entry.stat().st_mtime_ns, reverse=True)
        for entry in newest[ENTRIES:]:
            entry.unlink(missing_ok=True)


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
