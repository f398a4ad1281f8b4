"""The page in a real browser: nothing is loaded, nothing sticks out, and it can be read without a mouse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from foredraft.bench.events import read
from foredraft.bench.journal import Journal
from foredraft.bench.page import page
from page_reader import chromium, in_a_browser
from recorded import SETUP, case, recorded

pytestmark = in_a_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as launched:
        yield launched


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    path = folder / "report.html"
    path.write_text(page([read(recorded(folder / name)) for name in ("one", "two")]), encoding="utf-8")
    return path.as_uri()


def opened(browser: Any, address: str, **context: Any) -> tuple[Any, list[str]]:
    """The page, and whatever the browser complained of or asked for beside it."""
    shown = browser.new_context(**context).new_page()
    noticed: list[str] = []
    shown.on("console", lambda message: noticed.append(message.text))
    shown.on("request", lambda request: noticed.append(request.url) if request.url != address else None)
    shown.goto(address)
    return shown, noticed


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_is_loaded_and_nothing_sticks_out(browser: Any, address: str, scheme: str, width: int) -> None:
    shown, noticed = opened(browser, address, color_scheme=scheme, viewport={"width": width, "height": 800})
    assert noticed == []
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    assert shown.locator("figure svg[role=img]").count() == 10
    # The text of every picture lies within it.
    outside = """[...document.querySelectorAll("svg[role=img]")].flatMap(svg => {
        const box = svg.getBoundingClientRect();
        return [...svg.querySelectorAll("text")].filter(text => {
            const own = text.getBoundingClientRect();
            const across = own.left >= box.left - 1 && own.right <= box.right + 1;
            return !across || own.top < box.top - 1 || own.bottom > box.bottom + 1;
        }).map(text => text.textContent);
    })"""
    assert shown.evaluate(outside) == []


def test_ink_and_paper_change_with_the_scheme(browser: Any, address: str) -> None:
    colours = "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    found = [opened(browser, address, color_scheme=scheme)[0].evaluate(colours) for scheme in ("light", "dark")]
    sums = [[sum(map(int, one[4:-1].split(","))) for one in pair] for pair in found]
    assert sums[0][0] < 150 < 700 < sums[0][1]
    assert sums[1][1] < 150 < 600 < sums[1][0]


def test_a_table_opens_by_keyboard_and_without_script(browser: Any, address: str) -> None:
    shown, _ = opened(browser, address, java_script_enabled=False)
    summary = shown.locator("summary").first
    assert not shown.locator("details table").first.is_visible()
    summary.focus()
    shown.keyboard.press("Enter")
    assert shown.locator("details table").first.is_visible()


def test_a_long_name_leaves_the_figures_beside_it_in_sight(browser: Any, tmp_path: Any) -> None:
    one, name = case("a1", "a"), "auto+block:" + "x" * 400
    one["trials"] = {"plain": one["trials"]["plain"], name: one["trials"]["lookup"]}
    Journal(tmp_path, SETUP | {"drafters": [name]}).add(one)
    path = tmp_path / "report.html"
    path.write_text(page([read(tmp_path)]), encoding="utf-8")
    shown, _ = opened(browser, path.as_uri(), viewport={"width": 1200, "height": 800})
    for table in shown.locator("main > section > .wide").all():
        assert table.evaluate("one => one.scrollWidth <= one.clientWidth")
