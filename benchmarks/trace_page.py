"""How large a page of `foredraft trace` is, and how long a browser takes to open it.

    trace_page.py [--model smollm2] [--max-tokens 512] [--page FILE.html] [--times 5]

Traces a generation of --max-tokens tokens, unless --page names a page, and opens it in Chromium --times times, each in
a fresh context. Milliseconds run from the start of the navigation until the script has drawn the page and the browser
has painted it. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from foredraft import SamplingParams, load
from foredraft.trace.page import page as page_of
from foredraft.trace.run import trace

PROMPT = "Write a long story about a lighthouse keeper who finds a letter. Tell it in many short sentences."
PAINTED = """() => new Promise(done => requestAnimationFrame(() => setTimeout(() => done(performance.now()))))"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page = given.page or Path(folder) / "page.html"
        if given.page is None:
            page.write_bytes(traced(given.model, given.max_tokens).encode())
        print(json.dumps({"bytes": page.stat().st_size} | opened(page.resolve(), given.times)))
    return 0


def traced(model: str, tokens: int) -> str:
    """The page of a text of `tokens` tokens, which goes on where the model would end it."""
    params = SamplingParams(max_tokens=tokens, temperature=0.8, seed=1, ignore_eos=True)
    with load(model) as llm:
        ids = llm.encode_chat([{"role": "user", "content": PROMPT}])
        record, _ = trace(llm, ids, params, PROMPT, {"model": model})
    return page_of(record)


def opened(page: Path, times: int) -> dict[str, Any]:
    """Tokens of the page, and the milliseconds until it is painted: the median and the longest."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("no chromium here: apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        spent = []
        for _ in range(times):
            context = browser.new_context()
            shown = context.new_page()
            shown.goto(page.as_uri())
            spent.append(float(shown.evaluate(PAINTED)))
            tokens = shown.locator("#tokens .tok").count()
            context.close()
        browser.close()
    return {"tokens": tokens, "opened_ms": round(statistics.median(spent)), "slowest_ms": round(max(spent))}


if __name__ == "__main__":
    sys.exit(main())
