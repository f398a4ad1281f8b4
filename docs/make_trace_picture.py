"""Makes docs/trace.png: a generation of the default model, traced and photographed in Chromium.

    make_trace_picture.py [--page FILE.html] [--round N]

Without --round, that after the first third which accepted most among those with a rejected branch.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from foredraft.cli import run

PICTURE = Path(__file__).parent / "trace.png"
PROMPT = "Rename radius to r in this code and print all of it: def area(radius): return 3.14159 * radius * radius"
SIZE = {"width": 1280, "height": 1024}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--round", type=int)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page = given.page or Path(folder) / "page.html"
        if given.page is None and (status := run(["trace", "--max-tokens", "160", "--out", str(page), PROMPT])):
            return status
        photograph(page.resolve(), given.round)
    return 0


def photograph(page: Path, number: int | None) -> None:
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("no chromium here: apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        shown = browser.new_page(viewport=SIZE, color_scheme="light")
        shown.goto(page.as_uri())
        if number is None:
            number = telling(json.loads(shown.locator("#data").text_content() or ""))
        shown.goto(f"{page.as_uri()}#{number}")
        shown.wait_for_timeout(400)  # lines fade in
        shown.screenshot(path=str(PICTURE))
        browser.close()


def telling(data: dict[str, Any]) -> int:
    """The number of the round with most accepted drafts, of those whose tree has a few branches and a rejected one.

    After the first third, so that there is a text to see.
    """
    rounds = list(enumerate(data["rounds"], 1))[len(data["rounds"]) // 3 :]

    def worth(one: dict[str, Any]) -> tuple[bool, int]:
        tree = one.get("tree")
        if tree is None:
            return False, 0
        branches = len(tree["parents"]) - len(set(tree["parents"])) + 1
        return 2 <= branches <= 9 and one["accepted"] < len(tree["tokens"]), one["accepted"]

    return max(rounds, key=lambda pair: worth(pair[1]))[0]


if __name__ == "__main__":
    sys.exit(main())
