"""The page in a real browser: it plays, it steps by keys, it fetches nothing, and it can be read in every light."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'")

from playwright.sync_api import expect

from foredraft.trace.page import page
from foredraft.trace.record import Json
from page_reader import TOKENS, Reader, in_a_browser

pytestmark = in_a_browser


def test_it_plays_to_the_end_and_shows_the_text(reader: Reader, record: Json) -> None:
    reader.page.get_by_label("Speed").select_option("1")
    assert reader.shown("tokens") == ""
    reader.page.locator("h1").click()
    reader.keys.press("Space")
    expect(reader.page.locator("#status")).to_contain_text("Both have finished")
    assert reader.shown("tokens") == record["text"]
    assert reader.shown("plain") == record["text"]
    assert reader.text("#ours output").startswith(f"{TOKENS}/{TOKENS} tokens")
    assert reader.text("#theirs output").startswith(f"{TOKENS}/{TOKENS} tokens")


def test_playing_can_be_paused_inside_a_round(reader: Reader) -> None:
    reader.page.get_by_label("Speed").select_option("200")
    reader.page.get_by_role("button", name="Play").click()
    reader.page.locator("#hand").wait_for(state="attached")
    reader.page.get_by_role("button", name="Pause").click()
    stood = reader.page.evaluate("document.getElementById('hand').style.left")
    reader.page.wait_for_timeout(50)
    assert reader.page.evaluate("document.getElementById('hand').style.left") == stood
    assert reader.page.get_by_role("button", name="Play").count() == 1
    # Before the pass nobody knows what the target holds of the drafts, nor which of them stand.
    assert reader.text("#round-name").startswith("Round 1 of")
    assert "accepted" not in reader.text("#round-name")
    for hidden in ("#nodes .p", "#nodes .mark"):
        assert not any(one.is_visible() for one in reader.page.locator(hidden).all())


def test_both_clocks_run_by_measured_times(reader: Reader, record: Json) -> None:
    """A round of this record takes 20 ms: 4 of drafting, then 14 of the pass; a token of plain decoding takes 12."""
    times = [0.0, 0.002, 0.01, 0.019, 0.02, 0.0201, 9.0]
    found = reader.page.evaluate(
        "times => { const trace = opened(JSON.parse(document.getElementById('data').textContent)); "
        "return times.map(time => standing(trace, time)); }",
        times,
    )
    first = record["rounds"][0]["count"]
    assert [now["round"] for now in found] == [-1, 0, 0, 0, 0, 1, len(record["rounds"]) - 1]
    assert [now["decided"] for now in found] == [True, False, False, False, True, False, True]
    assert [now["verifying"] for now in found] == [False, False, True, False, False, False, False]
    assert [now["shown"] for now in found] == [0, 0, 0, 0, first, first, TOKENS]
    assert [now["plain"] for now in found] == [0, 0, 0, 1, 1, 1, TOKENS]
    assert found[1]["drafting"] == pytest.approx(0.5)


def test_keys_step_jump_and_change_speed(reader: Reader, record: Json) -> None:
    texts, tokens, rounds = record["texts"], record["tokens"], record["rounds"]

    def stands_after(number: int) -> None:
        said = [texts[token["piece"]] for token in tokens if token["round"] < number]
        assert reader.shown("tokens") == "".join(said)
        assert reader.page.locator("#jump").input_value() == str(number)

    for number in (1, 2, 3):
        reader.keys.press("ArrowRight")
        stands_after(number)
        one = rounds[number - 1]
        drafted = len(one["tree"]["tokens"]) if "tree" in one else 0
        assert reader.text("#round-name").startswith(
            f"Round {number} of {len(rounds)}: {drafted} drafted, {one['accepted']} accepted"
        )
        assert reader.page.locator("#nodes [data-fate=accepted]").count() == one["accepted"]
        assert reader.page.locator("#nodes [data-fate]").count() == 1 + drafted + one["count"] - one["accepted"]
    reader.keys.press("ArrowLeft")
    stands_after(2)
    reader.keys.press("End")
    stands_after(len(rounds))
    reader.keys.press("p")
    stands_after(len(rounds))  # plain decoding had finished later
    reader.keys.press("Home")
    stands_after(0)
    reader.keys.press("n")
    stands_after(1)
    reader.keys.press("g")
    reader.keys.type("5")
    reader.keys.press("Enter")
    stands_after(5)
    reader.keys.press("n")  # the keys are the page's again
    stands_after(6)
    reader.page.locator("#seek").focus()
    reader.keys.press("ArrowLeft")
    stands_after(5)
    reader.keys.press("n")
    stands_after(6)
    reader.page.locator("h1").click()
    before = reader.page.locator("#speed").input_value()
    reader.keys.press("+" if before != "1" else "-")
    assert reader.page.locator("#speed").input_value() != before
    reader.page.get_by_label("Keys").uncheck()
    reader.keys.press("n")
    stands_after(6)


def test_probabilities_of_the_tree_are_those_of_the_record(reader: Reader, record: Json) -> None:
    at = next(
        place
        for place, one in enumerate(record["rounds"])
        if "tree" in one and one["accepted"] < len(one["tree"]["path"]) + 1
    )
    reader.page.goto(f"{reader.page.url}#{at + 1}")
    tree = record["rounds"][at]["tree"]
    shares = reader.page.evaluate(
        "[...document.querySelectorAll('#nodes .box:not([data-fate=root]) .bar')].map(one => "
        "[one.style.getPropertyValue('--share'), one.style.getPropertyValue('--claim')].map(Number))"
    )
    for node, (p, claim) in enumerate(zip(tree["p"], tree["claim"], strict=True)):
        assert shares[node] == [pytest.approx(p, abs=1e-4), pytest.approx(claim, abs=1e-4)]


def test_tokens_are_picked_by_arrows_and_lead_to_their_round(reader: Reader, record: Json) -> None:
    reader.keys.press("End")
    reader.page.locator("#tokens").focus()
    reader.keys.press("Home")
    assert "token 1, round 1" in reader.text("#token-words")
    reader.keys.press("ArrowRight")
    assert "token 2," in reader.text("#token-words")
    reader.keys.press("Enter")
    number = record["tokens"][1]["round"] + 1
    assert reader.text("#round-name").startswith(f"Round {number} of")
    entries = reader.page.locator("#top li").all_inner_texts()
    assert len(entries) == len(record["tokens"][1]["top"])


TABBED = ["first", "back", "play", "on", "last", "seek", "jump", "speed", "letters", "keys", "tokens", "plain", "tree"]


def test_everything_is_reached_in_order_by_a_visible_focus(reader: Reader) -> None:
    for name in TABBED:
        reader.keys.press("Tab")
        where, outline = reader.page.evaluate(
            "[document.activeElement.id, getComputedStyle(document.activeElement).outlineStyle]"
        )
        assert (where, outline) == (name, "solid")


def test_a_long_prompt_scrolls_in_its_place_by_keys(browser: Any, record: Json, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_bytes(page(record | {"prompt": "once more " * 400}).encode())
    reader = Reader(browser, tmp_path / "page.html")
    reader.keys.press("Tab")
    assert reader.page.evaluate("document.activeElement.id") == "prompt"
    assert reader.page.locator("#prompt").bounding_box()["height"] < 100
    reader.context.close()


def test_controls_and_pictures_have_names(reader: Reader, record: Json) -> None:
    reader.keys.press("ArrowRight")
    for name in ("To the start", "One round back", "Play", "One round on", "To the end"):
        assert reader.page.get_by_role("button", name=name, exact=True).count() == 1
    for role in ("slider", "spinbutton", "combobox", "checkbox", "listbox", "img", "region"):
        for one in reader.page.get_by_role(role).all():
            named = one.evaluate(
                "one => one.ariaLabel || one.labels?.[0]?.textContent || "
                "document.getElementById(one.getAttribute('aria-labelledby'))?.textContent"
            )
            assert named, (role, one.evaluate("one => one.outerHTML.slice(0, 80)"))
    label = reader.page.locator("#nodes .box").nth(1).get_attribute("aria-label")
    assert all(word in label for word in ("depth 1", f"drafted by {record['sources'][0]}", "target", "claimed"))


@pytest.mark.parametrize("box", ["tokens", "plain"])
def test_the_newest_token_is_in_sight(browser: Any, file: Path, box: str) -> None:
    reader = Reader(browser, file, viewport={"width": 375, "height": 640})
    for key in ("End", "Home", "n", "n", "n", "End"):
        reader.keys.press(key)
        newest = reader.page.locator(f"#{box} .on").last
        if newest.count():
            around, own = reader.page.locator(f"#{box}").bounding_box(), newest.bounding_box()
            assert around["y"] <= own["y"]
            assert own["y"] + own["height"] <= around["y"] + around["height"]
    reader.context.close()


def test_the_table_has_every_round(reader: Reader, record: Json) -> None:
    reader.page.get_by_text("All rounds as a table").click()
    expect(reader.page.locator("#rounds tbody tr")).to_have_count(len(record["rounds"]))


# Ratio of the luminances of every visible text and the worst of the grounds behind it (WCAG 2.2, 1.4.3).
CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => [r, g, b].map(v => linear(v / 255))
    .reduce((sum, v, at) => sum + v * [.2126, .7152, .0722][at], 0);
  const grounds = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      const painted = (style.backgroundImage.match(/(rgb|color|oklab)a?\\([^()]*\\)/g) || []).map(rgba);
      if (painted.length) return painted;
      const plain = rgba(style.backgroundColor);
      if (plain[3] > 250) return [plain];
    }
    return [[255, 255, 255, 255]];
  };
  const found = [];
  const walker = document.createTreeWalker(document.getElementById('page'), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const one = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !one.checkVisibility({visibilityProperty: true})) continue;
    const style = getComputedStyle(one);
    const ink = light(rgba(one.closest('svg') ? style.fill : style.color));
    const ratio = Math.min(...grounds(one).map(light).map(ground =>
      (Math.max(ink, ground) + .05) / (Math.min(ink, ground) + .05)));
    if (ratio < 4.5) found.push([ratio.toFixed(2), one.outerHTML.slice(0, 60), walker.currentNode.textContent]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast(browser: Any, file: Path, scheme: str) -> None:
    reader = Reader(browser, file, color_scheme=scheme)
    ground = reader.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    reader.page.locator("#help summary").click()
    reader.page.locator("h1").click()
    for key in ("End", "ArrowLeft", "ArrowLeft"):
        reader.keys.press(key)
        assert reader.page.evaluate(CONTRAST) == []
    reader.context.close()


def test_without_colour_lines_letters_and_marks_remain(browser: Any, file: Path) -> None:
    reader = Reader(browser, file, forced_colors="active")
    reader.keys.press("End")
    assert reader.page.get_by_label("Letters").is_checked()
    styles = reader.page.evaluate(
        "[...document.querySelectorAll('#tokens .on')].map(one => [one.dataset.by, "
        "getComputedStyle(one).textDecorationLine, getComputedStyle(one, '::after').content])"
    )
    assert {("0", "underline", '"A"'), ("target", "none", '"T"')} == {tuple(style) for style in styles}
    weights = reader.page.evaluate(
        "[...document.querySelectorAll('#tokens .on')].map(one => Number(getComputedStyle(one).fontWeight))"
    )
    assert len(set(weights)) > 2  # how hard a token was
    for number, mark in ((1, "●"), (2, "●")):
        reader.page.goto(f"{file.as_uri()}#{number}")
        assert mark in "".join(reader.page.locator("#nodes .mark").all_inner_texts())
    reader.context.close()


def test_sources_differ_by_the_kind_of_line(browser: Any, tmp_path: Path, record: Json) -> None:
    several = record | {"sources": list("abcdef")}
    first = next(place for place, one in enumerate(record["rounds"]) if "tree" in one)
    tree = record["rounds"][first]["tree"]
    several["rounds"] = [*record["rounds"]]
    sources = [[place % 5] for place in range(len(tree["tokens"]))]
    several["rounds"][first] = record["rounds"][first] | {"tree": tree | {"sources": sources}}
    (tmp_path / "page.html").write_bytes(page(several).encode())
    reader = Reader(browser, tmp_path / "page.html")
    kinds = reader.page.evaluate(
        "[...document.querySelectorAll('#legend li > .tok')].map(one => getComputedStyle(one).textDecorationStyle + "
        "getComputedStyle(one).textDecorationLine)"
    )
    assert len(kinds) >= 5
    assert len(set(kinds)) == len(kinds)
    reader.context.close()


def test_reduced_motion_shows_rounds_whole(browser: Any, file: Path, record: Json) -> None:
    reader = Reader(browser, file, reduced_motion="reduce")
    reader.page.evaluate(
        "() => { const tree = document.getElementById('tree'); window.phases = new Set(); "
        "new MutationObserver(() => window.phases.add(tree.dataset.phase)).observe(tree, {attributes: true}); }"
    )
    reader.page.get_by_label("Speed").select_option("5")
    reader.page.get_by_role("button", name="Play").click()
    expect(reader.page.locator("#status")).to_contain_text("Both have finished")
    assert reader.page.evaluate("[...window.phases]") == ["decided"]
    assert reader.shown("tokens") == record["text"]
    reader.context.close()


@pytest.mark.parametrize("width", [320, 600])
def test_narrow_windows_scroll_one_way(browser: Any, file: Path, width: int) -> None:
    reader = Reader(browser, file, viewport={"width": width, "height": 640})
    reader.keys.press("End")
    reader.page.locator("#help summary").click()
    reader.page.get_by_text("All rounds as a table").click()
    assert reader.page.evaluate("document.documentElement.scrollWidth") <= width
    reader.context.close()


def test_without_scripts_the_text_is_there(browser: Any, file: Path, record: Json) -> None:
    reader = Reader(browser, file, java_script_enabled=False)
    assert "".join(reader.page.locator("noscript pre").text_content().split()) == "".join(record["text"].split())
    reader.context.close()
