"""The layers of the package, read from its source: who imports whom, who may call what, and how long things are."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import foredraft

ROOT = Path(foredraft.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# Folder -> the folders of the package it may import from, besides itself. Folders not named may import anything.
# One leaf, foredraft._native, may be imported anywhere: each of its functions has a numpy twin.
BELOW = ("core", "verify", "policy", "grammar")
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "core": (),
    "verify": ("core",),
    "policy": ("core",),
    "grammar": ("core",),
    "models": BELOW,
    "heads": BELOW,
    "draft": (*BELOW, "heads"),
    "engine": (*BELOW, "models", "heads", "draft"),
    "bench": (*BELOW, "models", "heads", "draft", "engine"),
    "audit": (*BELOW, "models", "heads", "draft", "engine", "bench", "testing"),
    "trace": (*BELOW, "models", "heads", "draft", "engine"),
}

# Heavy library -> the folders and files that may import it; a file is named by its beginning.
HEAVY: dict[str, tuple[str, ...]] = {
    "torch": ("models/hf", "heads/", "train/"),
    "transformers": ("models/hf", "train/"),
    "accelerate": ("models/hf", "train/"),
    "fastapi": ("server/",),
    "uvicorn": ("server/",),
    "prometheus_client": ("server/",),
    "llguidance": ("grammar/",),
    "matplotlib": ("bench/", "trace/"),
    "ray": ("train/", "server/"),
}

CALLS = ("propose", "score", "keep", "update", "ahead", "verifier")

# File -> which of them it makes. A measurement times passes that belong to no sequence, on a cache of its own: there is
# nothing to propose, to verify or to commit.
CALLERS: dict[str, set[str]] = {"core/round.py": set(CALLS), "engine/measure.py": {"score", "keep"}}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """(module, line) of every import of a file, those inside functions and under TYPE_CHECKING too."""
    return imported(tree_of(path), ("foredraft", *path.relative_to(ROOT).parent.parts))


def imported(tree: ast.Module, package: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            yield module, node.lineno
            for alias in node.names:  # `from foredraft import draft` names a folder too
                yield f"{module}.{alias.name}", node.lineno
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names = [argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant)]
            yield from ((str(name), node.lineno) for name in names)


def round_calls(tree: ast.Module) -> set[str]:
    """Which of the calls of a round are made; `ahead` of a stream and `update` of a dictionary are others."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            owner, _, called = ast.unparse(node.func).rpartition(".")
            other = (called == "update" and "drafter" not in owner) or (called == "ahead" and "stream" in owner)
            if called in CALLS and not other:
                found.add(called)
    return found


def test_there_is_something_to_check() -> None:
    assert len(FILES) > 20
    assert {"core", "verify", "policy", "models", "draft", "engine"} <= {path.parent.name for path in FILES}


@pytest.mark.parametrize("folder", sorted(MAY_IMPORT))
def test_a_folder_imports_from_the_layers_below_it_alone(folder: str) -> None:
    allowed = {folder, *MAY_IMPORT[folder]}
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()}
    wrong = []
    for path in FILES:
        if path.relative_to(ROOT).parts[0] == folder:
            for module, line in imports(path):
                parts = module.split(".")
                if parts[0] == "foredraft" and len(parts) > 1 and parts[1] in folders - allowed:
                    wrong.append(f"{name_of(path)}:{line} imports {module}")
    assert not wrong


def test_the_core_needs_numpy_and_the_standard_library_alone() -> None:
    wrong = [
        f"{name_of(path)}:{line} imports {module}"
        for path in FILES
        if path.relative_to(ROOT).parts[0] in ("core", "verify", "policy")
        for module, line in imports(path)
        if module.split(".")[0] not in {*sys.stdlib_module_names, "numpy", "foredraft"}
    ]
    assert not wrong


def test_heavy_libraries_are_imported_by_the_files_that_need_them() -> None:
    wrong = [
        f"{name_of(path)}:{line} imports {module}"
        for path in FILES
        for module, line in imports(path)
        if (places := HEAVY.get(module.split(".")[0])) is not None and not name_of(path).startswith(places)
    ]
    assert not wrong


def test_no_relative_import_hides_a_layer() -> None:
    wrong = [
        f"{name_of(path)}:{node.lineno}"
        for path in FILES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not wrong


def test_the_round_alone_proposes_scores_verifies_and_keeps() -> None:
    """In the layers of an engine. A drafter may call a model of its own, and the testing kit may call anything."""
    for path in FILES:
        if path.relative_to(ROOT).parts[0] in ("core", "engine", "policy", "verify", "grammar"):
            assert round_calls(tree_of(path)) == CALLERS.get(name_of(path), set()), name_of(path)


def test_the_readers_above_see_what_they_look_for() -> None:
    tree = ast.parse(
        "import torch.nn as nn\n"
        "from . import cost\n"
        "def late():\n"
        "    from foredraft.models import toy\n"
        "    importlib.import_module('foredraft.engine')\n"
        "    sequence.verifier(tree, laws, stream)\n"
        "    self.model.score(queries)\n"
        "    cache.keep(rows); stream.ahead(2); seen.update(rows); drafter.update(news)\n"
    )
    found = {module for module, _ in imported(tree, ("foredraft", "policy"))}
    assert {"torch.nn", "foredraft.policy.cost", "foredraft.models.toy", "foredraft.engine"} <= found
    assert round_calls(tree) == {"verifier", "score", "keep", "update"}


IMPORTING = """
import sys, time
begin = time.process_time()
import foredraft
spent = time.process_time() - begin
heavy = {name.split(".")[0] for name in sys.modules} & set(sys.argv[1:])
print(spent, *sorted(heavy))
"""


def test_importing_foredraft_is_light() -> None:
    """Neither torch nor the server, and less than 0.3 s of processor time: the best of three, for machines are busy."""
    spent = []
    for _ in range(3):
        run = subprocess.run(
            [sys.executable, "-c", IMPORTING, *HEAVY], capture_output=True, text=True, check=True, timeout=60
        )
        seconds, *heavy = run.stdout.split()
        assert heavy == []
        spent.append(float(seconds))
    assert min(spent) < 0.3


# --- size -----------------------------------------------------------------------------------------------------------


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_the_heart_stays_small_enough_to_read() -> None:
    """Lines that are not blank, comments and docstrings included: the counting rule of every size we state."""
    core = [path for path in FILES if path.relative_to(ROOT).parts[0] == "core"]
    heart = [*core, ROOT / "verify" / "match.py", ROOT / "engine" / "loop.py"]
    assert sum(bool(line.strip()) for path in heart for line in lines(path)) < 2000


def test_no_file_is_long() -> None:
    assert {name_of(path): len(lines(path)) for path in FILES if len(lines(path)) > 400} == {}


def test_every_recipe_is_a_short_file() -> None:
    """Those of train/ that define a class called so; what recipes have in common is in `recipe.py`."""
    recipes = [
        path
        for path in (ROOT / "train").glob("*.py")
        for node in tree_of(path).body
        if isinstance(node, ast.ClassDef) and node.name.endswith("Recipe") and node.name not in ("HeadRecipe", "Recipe")
    ]
    assert len(recipes) >= 9
    assert {name_of(path): len(lines(path)) for path in recipes if len(lines(path)) > 150} == {}


def test_no_function_is_long() -> None:
    functions = (
        (path, node)
        for path in FILES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    sizes = {f"{name_of(path)} {node.name}": (node.end_lineno or 0) - node.lineno + 1 for path, node in functions}
    assert {name: size for name, size in sizes.items() if size > 80} == {}
