"""The page of a benchmark: whole, escaped, self-contained, and every picture has its numbers as a table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from foredraft.bench.charts import Dot, dots
from foredraft.bench.events import read
from foredraft.bench.figures import PLOTS
from foredraft.bench.journal import Journal
from foredraft.bench.losing import losses
from foredraft.bench.page import page
from foredraft.bench.report import report
from foredraft.core.errors import UsageError
from recorded import NASTY, SETUP, case, parsed, recorded


def test_the_page_is_whole_and_needs_nothing_but_itself(tmp_path: Path) -> None:
    text = page([read(recorded(tmp_path))])
    found = parsed(text)
    tags = [tag for tag, _ in found.seen]
    assert not {"script", "link", "img", "iframe", "object"} & set(tags)
    assert not [attributes for _, attributes in found.seen if {"src", "onload", "onclick"} & set(attributes)]
    assert all(str(attributes.get("href", "#")).startswith("#") for _, attributes in found.seen)
    assert "url(" not in text.replace("url(#hatch", "")
    assert "default-src 'none'" in text
    ids = [attributes["id"] for _, attributes in found.seen if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_names_from_outside_are_text_and_paths_stay_private(tmp_path: Path) -> None:
    text = page([read(recorded(tmp_path))])
    assert NASTY not in text
    assert "&lt;script&gt;" in text
    assert "<b>small" not in text
    assert "/somewhere/private/toy.gguf" not in text
    assert "own.jsonl" in text


def test_names_can_neither_turn_the_words_beside_them_nor_hide_what_they_are(tmp_path: Path) -> None:
    turning = "a\u202eb\u2066c\x00\x07d"
    one = case(turning, turning)
    one["trials"] = {"plain": one["trials"]["plain"], turning: one["trials"]["lookup"]}
    Journal(tmp_path, SETUP | {"drafters": [turning]}).add(one)
    text = page([read(tmp_path)])
    assert not set(text) & set("\u202e\u2066\x00\x07")
    assert text.count("a\ufffdb\ufffdc\ufffd\ufffdd") > 5


def test_one_unsure_figure_does_not_flatten_the_picture_of_the_others() -> None:
    groups = {"all": {"sure": Dot(1.5, (1.4, 1.6)), "unsure": Dot(1.2, (0.01, 400.0))}}
    drawn = dots("t", groups, {"sure": 0, "unsure": 1}, "times")
    sure, unsure = (float(x) for x in re.findall(r"translate\(([\d.]+) ", drawn))
    assert sure - unsure > 20
    assert "0.01 to 400.00" in drawn
    assert max(float(x) for x in re.findall(r'x2="([\d.]+)"', drawn)) < 720
    assert drawn.count("goes-on") == 1


def test_the_name_of_a_task_is_as_long_as_its_picture_has_room_for() -> None:
    drawn = dots("t", {"w" * 400: {"d": Dot(1.0)}}, {"d": 0}, "times")
    assert max(map(len, re.findall(r"<text[^>]*>([^<]*)<", drawn))) <= 60


def test_every_picture_has_title_description_and_table(tmp_path: Path) -> None:
    text = page([read(recorded(tmp_path))])
    figures = re.findall(r"<figure>.*?</figure>", text, re.DOTALL)
    assert len(figures) == len(PLOTS) == 5
    for figure in figures:
        assert re.search(r'<svg viewBox="[^"]+" role="img" aria-label="[^"]+"><title>[^<]+</title><desc>', figure)
        assert "<summary>The same as a table</summary>" in figure
        assert figure.count("<tr>") > 1


def test_tables_have_the_numbers_of_the_result(tmp_path: Path) -> None:
    run = read(recorded(tmp_path))
    result = report(run.setup, run.cases, run.drafters)
    plots = {plot.title: plot for plot in (make(run, result) for make in PLOTS) if plot is not None}
    lookup = result["runs"][0]
    rows = {row[0]: row[1:] for row in plots["Speed-up by task and drafter"].rows}
    low, high = lookup["speedup_ci"]
    assert rows["all tasks: lookup"] == [f"{lookup['speedup']:.2f}x", f"{low:.2f} – {high:.2f}"]
    assert rows["a: lookup"][0] == f"{16 / (4 * 1.5 + 4 * 2.2):.2f}x"
    curve = dict(plots["What a pass costs by its rows"].rows)
    assert curve["measured before the run, 4 rows"] == "1.60"
    assert curve["median of the rounds, 4 rows"] == "1.48"  # 0.8 of 1.2, 1.5, 2.2 and 2.6
    split = {row[0]: row[1:] for row in plots["Time of a round"].rows}
    assert split["plain"] == ["0.000", "1000.000", "0.000", "0.000", "1000.000"]
    assert split["lookup"] == ["187.500", "1500.000", "187.500", "0.000", "1875.000"]
    positions = {row[0]: row[1:] for row in plots["Acceptance by position"].rows}
    assert positions["lookup"] == ["100%", "0%", "0%"]


def test_losses_are_named_worst_first_with_what_it_was(tmp_path: Path) -> None:
    run = read(recorded(tmp_path))
    found = losses(run.cases, run.drafters)
    assert [one.speedup for one in found] == sorted(one.speedup for one in found)
    assert {one.drafter for one in found} == set(SETUP["drafters"][:2])  # plain beside itself is noise
    assert len([one for one in found if one.drafter == "lookup"]) == 2
    worst = found[0]
    assert (worst.speedup, worst.length, worst.acceptance) == (0.5, 1.0, 0.0)
    assert worst.why == "passes cost more than they brought"
    assert losses([], ["lookup"]) == []


def test_several_runs_are_compared_and_can_be_gone_to(tmp_path: Path) -> None:
    runs = [read(recorded(tmp_path / name)) for name in ("one", "two")]
    text = page(runs)
    found = parsed(text)
    ids = {attributes["id"] for tag, attributes in found.seen if tag == "section"}
    links = {str(attributes["href"])[1:] for tag, attributes in found.seen if tag == "a"}
    assert ids == links == {"run0", "run1"}
    assert "one: lookup" in text
    assert "two: lookup" in text


def test_an_unfinished_run_says_so_and_an_empty_one_is_refused(tmp_path: Path) -> None:
    assert "This run is not finished" in page([read(recorded(tmp_path / "a"))])
    Journal(tmp_path / "a", SETUP).finish({})
    assert "This run is not finished" not in page([read(tmp_path / "a")])
    Journal(tmp_path / "b", SETUP)
    with pytest.raises(UsageError, match="has no case yet"):
        page([read(tmp_path / "b")])


def test_a_single_prompt_without_drafts_or_costs_is_a_page_too(tmp_path: Path) -> None:
    one = case("a1", "a")
    one["trials"] = {"plain": one["trials"]["plain"], "none": one["trials"]["none"]}
    Journal(tmp_path, SETUP | {"drafters": ["none"]}).add(one)
    text = page([read(tmp_path)])
    parsed(text)
    assert "On no prompt" in text
    assert "Acceptance by position" not in text
