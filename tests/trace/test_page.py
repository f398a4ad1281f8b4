"""The file: whole, closed, and safe whatever a model says."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

import traces
from foredraft.trace.page import embedded, page

NASTY = "</script><script>alert(1)</script><!-- \u2028 \u2029 & {{DATA}} ]]> \x00 é"


class Parts(HTMLParser):
    """Elements and their attributes, and what scripts and styles hold."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] in ("script", "style") and data.strip():
            self.inside.append((self.found[-1][0], data))


def nasty() -> dict[str, Any]:
    data = traces.traced()
    texts = [NASTY, *data["texts"][1:]]
    return data | {"texts": texts, "prompt": NASTY, "text": NASTY, "facts": {NASTY: NASTY}, "sources": [NASTY]}


def test_what_a_model_says_stays_data() -> None:
    data = nasty()
    parts = Parts(page(data))
    scripts = [(attributes, text) for (tag, text) in parts.inside if tag == "script" for attributes in [None]]
    assert len(scripts) == 2
    assert json.loads(scripts[0][1]) == data
    assert [tag for tag, _ in parts.found].count("script") == 2
    assert "alert(1)" not in scripts[1][1]


def test_embedded_json_cannot_end_its_element() -> None:
    text = embedded({"x": NASTY})
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text) == {"x": NASTY}


def test_the_policy_lets_run_what_was_shipped_and_nothing_else() -> None:
    parts = Parts(page(nasty()))
    policy = next(attributes["content"] for tag, attributes in parts.found if "http-equiv" in attributes)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    style = next(text for tag, text in parts.inside if tag == "style")
    script = [text for tag, text in parts.inside if tag == "script"][1]
    for text in (style, script):
        assert f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" in policy


def test_nothing_is_fetched_from_elsewhere() -> None:
    parts = Parts(page(traces.traced()))
    for tag, attributes in parts.found:
        assert not {"src", "srcset", "action", "poster"} & set(attributes), tag
        assert attributes.get("href", "data:,") == "data:,"
    for _, text in parts.inside:
        assert not re.search(r"@import|url\((?!#)|fetch\(|XMLHttp|WebSocket|import\(|innerHTML|insertAdjacent", text)
        assert {*re.findall(r"\w+://[^\"'\s]+", text)} <= {"http://www.w3.org/2000/svg"}


def test_512_tokens_in_full_trees_are_less_than_two_megabytes() -> None:
    data = traces.traced(tokens=512)
    assert len(data["tokens"]) == 512
    full = {"tokens": [1] * 32, "parents": [*range(-1, 31)], "p": [0.1234] * 32, "claim": [0.1234] * 32}
    full |= {"sources": [[0, 1, 2]] * 32, "path": []}
    rounds = [one | {"tree": full} for one in data["rounds"]]
    assert len(page(data | {"rounds": rounds}).encode()) < 2e6
