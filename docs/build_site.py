"""Builds the documentation as a site, and checks every link and anchor of it.

    build_site.py [--pages]

The pages of the site are those of the repository: README.md as its first, CONTRIBUTING.md, LOG.md and docs/. Links to
files that are no pages, such as sources, stand as plain text there. The site goes to build/site and opens from the
disk. --pages only puts the pages together, in build/pages. HTML is made by zensical: `pip install 'foredraft[docs]'`.
"""

from __future__ import annotations

import argparse
import posixpath
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "zensical.toml"
PAGES, SITE = ROOT / "build" / "pages", ROOT / "build" / "site"
FENCE = re.compile(r"(^```\w*\n.*?^```$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[([^\]\n]*)\]\(([^)\s]+)\)")
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//")


# --- pages ----------------------------------------------------------------------------------------------------------


def sources() -> dict[str, Path]:
    """Page of the site -> the file it is made of."""
    found = {"index.md": ROOT / "README.md"}
    found |= {name: ROOT / name for name in ("CONTRIBUTING.md", "LOG.md")}
    docs = ROOT / "docs"
    return found | {path.relative_to(docs).as_posix(): path for path in sorted(docs.rglob("*.md"))}


def page(name: str, pages: dict[str, Path]) -> str:
    """The text of a page, with links that lead to pages of the site, and those that lead nowhere there as plain text.

    Raises ValueError for a link to a file that the repository does not have.
    """
    source = pages[name]
    places = {path: one for one, path in pages.items()}

    def linked(match: re.Match[str]) -> str:
        text, target = match.groups()
        if ELSEWHERE.match(target) or target.startswith("#"):
            return match[0]
        where, mark, section = target.partition("#")
        path = (source.parent / where).resolve()
        if not path.exists():
            raise ValueError(f"{source.relative_to(ROOT)} links to {target}, which does not exist")
        if path not in places:
            return text
        return f"[{text}]({posixpath.relpath(places[path], posixpath.dirname(name) or '.')}{mark}{section})"

    parts = FENCE.split(source.read_text(encoding="utf-8"))
    return "".join(part if place % 2 else LINK.sub(linked, part) for place, part in enumerate(parts))


def put_together(folder: Path) -> None:
    """Writes all pages."""
    shutil.rmtree(folder, ignore_errors=True)
    pages = sources()
    for name in pages:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page(name, pages), encoding="utf-8")


def navigation() -> list[str]:
    """The pages that the site leads to, in order."""

    def inside(entry: Any) -> Iterator[str]:
        for value in entry.values():
            if isinstance(value, str):
                yield value
            else:
                for one in value:
                    yield from inside(one)

    project = tomllib.loads(CONFIG.read_text(encoding="utf-8"))["project"]
    return [name for entry in project["nav"] for name in inside(entry)]


# --- links ----------------------------------------------------------------------------------------------------------


@dataclass
class Links(HTMLParser):
    """What a page of HTML links to, and the anchors it has."""

    targets: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if key in ("href", "src") and value is not None:
                self.targets.append(value)
            elif key in ("id", "name") and value:
                self.anchors.add(value)


def links_of(path: Path) -> Links:
    found = Links()
    found.feed(path.read_text(encoding="utf-8"))
    return found


def broken(site: Path) -> list[str]:
    """The links of a site that lead to no file of it or to no anchor there, by page. Other hosts are not asked."""
    pages = {path.resolve(): links_of(path) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, links in pages.items():
        for target in links.targets:
            if ELSEWHERE.match(target) or path.name == "404.html":  # the theme's own, which has no text to skip to
                continue
            where, _, anchor = unquote(target).partition("#")
            where = where.partition("?")[0]
            base = site.resolve() if where.startswith("/") else path.parent
            goal = (base / where.lstrip("/")).resolve() if where else path
            goal = goal / "index.html" if goal.is_dir() else goal
            there = pages.get(goal)
            if not goal.exists() or (anchor and there is not None and anchor not in there.anchors):
                found.append(f"{path.relative_to(site.resolve())}: {target}")
    return found


def build() -> list[str]:
    """Builds the site, strictly; returns its broken links. Raises SystemExit where it cannot be built."""
    if find_spec("zensical") is None:
        raise SystemExit("the site needs zensical: pip install 'foredraft[docs]'")
    put_together(PAGES)
    shutil.rmtree(SITE, ignore_errors=True)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "-f", str(CONFIG)]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if made.returncode:
        raise SystemExit(f"zensical failed:\n{made.stdout}{made.stderr}")
    return broken(SITE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", action="store_true", help="only put the pages together")
    if parser.parse_args().pages:
        put_together(PAGES)
        return
    lost = build()
    print("\n".join(lost), file=sys.stderr)
    if lost:
        raise SystemExit(f"{len(lost)} links of the site are broken")
    print(f"{len(list(SITE.rglob('*.html')))} pages: {SITE / 'index.html'}", file=sys.stderr)


if __name__ == "__main__":
    main()
