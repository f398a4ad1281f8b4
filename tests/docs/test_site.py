"""The site: every page is led to once, links lead to pages of it, and its checker finds broken ones."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))  # as when the script runs

import build_site


def test_every_page_is_led_to_once() -> None:
    led = build_site.navigation()
    assert len(led) == len(set(led))
    assert set(led) == set(build_site.sources())


def test_links_lead_to_pages_and_others_stand_as_text(tmp_path: Path) -> None:
    texts = {
        "index.md": "[a](docs/a.md#here), [source](src/x.py), [far](https://x.test/a.md), [b](docs/deep/b.md)",
        "a.md": "[home](../README.md#top) `[no](link.md)`\n\n```sh\n[kept](../src/x.py)\n```\n[own](#here)",
        "deep/b.md": "[a](../a.md) and [`x`](../../src/x.py)",
    }
    files = {"index.md": "README.md", "a.md": "docs/a.md", "deep/b.md": "docs/deep/b.md"}
    pages = {name: tmp_path / path for name, path in files.items()}
    for name, path in pages.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(texts[name], encoding="utf-8")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "x.py").touch()
    (tmp_path / "docs" / "link.md").touch()
    made = {name: build_site.page(name, pages) for name in pages}
    assert made["index.md"] == "[a](a.md#here), source, [far](https://x.test/a.md), [b](deep/b.md)"
    assert made["a.md"].startswith("[home](index.md#top)")
    assert made["a.md"].endswith("```sh\n[kept](../src/x.py)\n```\n[own](#here)")
    assert made["deep/b.md"] == "[a](../a.md) and `x`"


def test_a_link_to_nothing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_site, "ROOT", tmp_path)
    path = tmp_path / "README.md"
    path.write_text("[a](docs/none.md)", encoding="utf-8")
    with pytest.raises(ValueError, match=r"README.md links to docs/none.md"):
        build_site.page("index.md", {"index.md": path})


def test_broken_links_and_anchors_are_found(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "index.html").write_text(
        '<h1 id="top"></h1><a href="sub/a.html#yes"></a><a href="sub/a.html#no"></a><a href="gone.html"></a>'
        '<a href="#top"></a><a href="#bottom"></a><img src="https://x.test/a.png"><a href="sub/"></a>',
        encoding="utf-8",
    )
    (tmp_path / "sub" / "a.html").write_text('<p id="yes"></p><a href="../index.html?q=1#top"></a>', encoding="utf-8")
    assert build_site.broken(tmp_path) == [
        "index.html: sub/a.html#no",
        "index.html: gone.html",
        "index.html: #bottom",
        "index.html: sub/",
    ]


def test_the_site_is_built_and_no_link_of_it_is_broken() -> None:
    pytest.importorskip("zensical", reason="the site's own tool: pip install 'foredraft[docs]'")
    assert build_site.build() == []
    built = {path.relative_to(build_site.SITE).as_posix() for path in build_site.SITE.rglob("*.html")}
    assert {name.removesuffix(".md") + ".html" for name in build_site.navigation()} <= built
