"""A small recorded run, made by hand, in a folder as `foredraft bench --out` leaves it."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from foredraft.bench.journal import Journal
from foredraft.core.protocols import Costs

SETUP: dict[str, Any] = {
    "model": "/somewhere/private/toy.gguf",
    "model_sha256": "ab" * 32,
    "engine": "native",
    "isa": "avx512",
    "threads": 2,
    "row_invariant": True,
    "suite": "/somewhere/private/own.jsonl",
    "drafters": ["lookup", "model:/somewhere/private/<b>small</b>.gguf,quantize=int4,head=16384", "none"],
    "policy": "adaptive",
    "max_tokens": 8,
    "temperature": 0.0,
    "warm": False,
    "machine": {"processor": "p"},
    "version": "0.1",
    "commit": "c" * 40,
}
NASTY = '<script>alert("x")</script>&'


def plain(tokens: int, each: float) -> dict[str, Any]:
    steps = [{"tokens": [token], "seconds": [0.0, each, 0.0, 0.0]} for token in range(tokens)]
    return {"seconds": tokens * each, "opening": 0.0, "finish": "length", "memory": [2_000_000, None], "steps": steps}


def drafted(tokens: int, each: float, right: int, wrong: int) -> dict[str, Any]:
    """Rounds of `right` + `wrong` drafts, `right` of them accepted, until there are so many tokens."""
    steps: list[dict[str, Any]] = []
    while (done := sum(len(step["tokens"]) for step in steps)) < tokens:
        said = list(range(done, min(tokens, done + right + 1)))
        guess = [*said[:right], *[99] * wrong]
        accepted = min(right, len(said))
        step: dict[str, Any] = {"tokens": said, "seconds": [0.1 * each, 0.8 * each, 0.1 * each, 0.0]}
        if guess:
            tree = {"tokens": guess, "source": "lookup"}
            step |= {"tree": tree, "accepted": accepted, "path": list(range(accepted))}
        steps.append(step)
    return {"seconds": each * len(steps), "opening": 0.0, "finish": "length", "steps": steps}


def case(name: str, task: str, each: float = 1.5) -> dict[str, Any]:
    """lookup takes `each` a round of two tokens where plain decoding takes 1 a token."""
    trials = {"plain": plain(8, 1.0), SETUP["drafters"][0]: drafted(8, each, 1, 2)}
    trials |= {SETUP["drafters"][1]: drafted(8, 2.0, 0, 1), "none": plain(8, 1.1)}
    return {
        "id": name,
        "task": task,
        "prompt_tokens": 3,
        "prompt_seconds": 0.5,
        "order": list(trials),
        "trials": trials,
    }


def recorded(folder: Path) -> Path:
    """Writes the run: two tasks of two prompts each, one of them with a name that is no friend of HTML."""
    journal = Journal(folder, SETUP)
    journal.keep_costs(Costs((1, 2, 4), (1.0, 1.1, 1.6)))
    for one in (case("a1", "a"), case("a2", "a", 2.2), case("b1", "b_c", 1.2), case(NASTY, "b_c", 2.6)):
        journal.add(one)
    return folder


VOID = {"meta", "br"}


class Balanced(HTMLParser):
    """Checks that every element ends where it should."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(text: str) -> Balanced:
    found = Balanced()
    found.feed(text)
    assert found.open == []
    return found
