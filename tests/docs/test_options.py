"""docs/options.md holds the code's own table, row by row."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from foredraft.engine.foreign import METHODS, TABLE, UNSUPPORTED_METHODS

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "options.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TEXT.splitlines() if line.startswith("| ")]


def test_every_option_has_its_row() -> None:
    rows = {cells[1].strip("`"): cells for cells in ROWS if len(cells) == 4}
    assert rows.pop("option")[0] == "system"
    assert list(rows) == [one.name for one in TABLE]
    for one in TABLE:
        system, _, here, note = rows[one.name]
        assert system == one.system
        assert (here == "not supported") == (not one.ours)
        assert one.note in note
        if one.drafter:
            drafter, option = one.ours.split(":")
            assert here == f"`{option}` of `{drafter}`"


def test_every_method_has_its_row() -> None:
    rows = {cells[0].strip("`"): cells[1] for cells in ROWS if len(cells) == 2}
    assert rows.pop("method") == "drafter"
    expected = {name: f"`{ours}`" for name, ours in METHODS.items()}
    assert rows == expected | {name: f"not supported: {why}" for name, why in UNSUPPORTED_METHODS.items()}


def test_the_tables_are_as_they_are_made() -> None:
    spec = importlib.util.spec_from_file_location("generate_options", DOCS / "generate_options.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.page(TEXT) == TEXT
