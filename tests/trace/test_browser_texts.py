"""The page in a real browser: texts that would turn letters around, halves of characters, and what was said before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from foredraft.trace.page import page
from foredraft.trace.record import Json
from page_reader import Reader, in_a_browser

pytestmark = in_a_browser


def saying(record: Json, *said: str, label: str = "") -> Json:
    """The record as if its first tokens said so, and were all shown as `label` where that is given."""
    texts, tokens = [*record["texts"], *said, label], [dict(token) for token in record["tokens"]]
    for at, token in enumerate(tokens[: len(said)]):
        token["piece"] = len(record["texts"]) + at
        token["label"] = len(texts) - 1 if label else token["label"]
    return record | {"texts": texts, "tokens": tokens}


def test_words_that_turn_letters_around_leave_the_others_where_they_are(
    browser: Any, record: Json, tmp_path: Path
) -> None:
    turning = "\u202eabc\u2066"  # and what is left open would swallow the end of an isolate
    turned = saying(record, turning, "def", "ghi") | {"sources": [turning], "facts": {turning: turning}}
    (tmp_path / "page.html").write_bytes(page(turned).encode())
    reader = Reader(browser, tmp_path / "page.html")
    reader.keys.press("End")
    lefts = reader.page.evaluate("[0, 1, 2].map(at => byId(`token-${at}`).getBoundingClientRect().left)")
    assert lefts == sorted(lefts)
    after = reader.page.evaluate(
        "['#legend li', '#facts div'].map(where => { const [name, told] = [...document.querySelector(where).childNodes]"
        ".slice(-2), range = document.createRange(); range.selectNode(told); "
        "return range.getBoundingClientRect().left - name.getBoundingClientRect().left; })"
    )
    assert all(between > 0 for between in after)
    reader.context.close()


def test_bytes_of_half_a_character_stay_together_among_hebrew(browser: Any, record: Json, tmp_path: Path) -> None:
    """A sign before the token stands for it; were it not on its own, its digits would be sorted among the letters."""
    (tmp_path / "page.html").write_bytes(page(saying(record, "שלום", "", "שלום", label="«E2 80»")).encode())
    reader = Reader(browser, tmp_path / "page.html")
    reader.keys.press("End")
    alone, shown = reader.page.evaluate(
        "[getComputedStyle(byId('token-1'), '::before').unicodeBidi, byId('token-1').dataset.silent]"
    )
    assert (alone, shown) == ("isolate", "«E2 80»")
    reader.context.close()


def test_what_was_said_is_never_called_impossible(reader: Reader) -> None:
    told = reader.page.evaluate("[1, 0.5, 0.0123, 0.0003, 0].map(percent)")
    assert told == ["100", "50", "1.2", "<0.1", "0"]


def test_stepping_back_shows_what_stood_before(browser: Any, file: Path) -> None:
    reader = Reader(browser, file, viewport={"width": 375, "height": 640})
    reader.keys.press("End")
    for _ in range(25):
        reader.keys.press("ArrowLeft")
        around = reader.page.locator("#tokens").bounding_box()
        newest = reader.page.locator("#tokens .on").last.bounding_box()
        scrolled = reader.page.evaluate("byId('tokens').scrollTop")
        assert scrolled == 0 or newest["y"] > around["y"] + around["height"] / 2
    reader.context.close()
