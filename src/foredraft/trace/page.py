"""From a record to one HTML file that needs nothing else: no network, no build step, no library.

Nothing of the record is trusted, for a model may say anything: it travels as JSON that no HTML parser can leave, the
script puts it on the page as text alone, and the page's own policy lets run what was shipped and nothing else.
"""

from __future__ import annotations

import html
import json
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from importlib.resources import files
from typing import Any

SCRIPTS = ("clock.js", "tree.js", "text.js", "charts.js", "page.js")
TITLE = 60  # characters of the prompt in the page's title


def page(record: Mapping[str, Any]) -> str:
    """The whole file."""
    style, script = _asset("page.css"), "\n".join(map(_asset, SCRIPTS))
    prompt = " ".join(str(record["prompt"]).split())
    parts = {
        "POLICY": f"default-src 'none'; img-src data:; script-src '{_hash(script)}'; style-src '{_hash(style)}'",
        "TITLE": html.escape(f"foredraft trace: {prompt[:TITLE]}{'…' if len(prompt) > TITLE else ''}"),
        "STYLE": style,
        "TEXT": html.escape(str(record["text"])),
        "DATA": embedded(record),
        "SCRIPT": script,
    }
    text, *pieces = _asset("page.html").split("{{")  # cut before anything is filled in, so that no part is read twice
    for piece in pieces:
        name, _, rest = piece.partition("}}")
        text += parts[name] + rest
    return text


def embedded(record: Mapping[str, Any]) -> str:
    """JSON for a script element: no `<` that could end it, no line separators that old readers stumble over."""
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _hash(text: str) -> str:
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()


def _asset(name: str) -> str:
    return (files("foredraft.trace") / "assets" / name).read_text(encoding="utf-8")
