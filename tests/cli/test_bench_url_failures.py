"""`foredraft bench --url` against servers that die, stall, stream garbage or close: counted, and the run goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from foredraft.bench.url_client import Question, Server
from sse_server import Body, Handler, Told, event, said, serving, well
from url_suite import PIECES, Capture, measured, stalls, status


def dies(handler: Handler, body: Body) -> None:
    handler.begin()
    handler.event(said("Ja"))
    handler.die()


def dies_unheard(handler: Handler, body: Body) -> None:
    handler.die()


def stalls_with_comments(handler: Handler, body: Body) -> None:
    handler.begin()
    while not handler.told.over.wait(0.05):
        handler.send(b": still here\n\n")


def garbage(handler: Handler, body: Body) -> None:
    handler.begin()
    handler.send(bytes(range(256)) * 4 + b"\n\n")
    handler.end()


def half_json(handler: Handler, body: Body) -> None:
    handler.begin()
    handler.send(b'data: {"choices": [{"delta"\n\n')
    handler.end()


def wrong_type(handler: Handler, body: Body) -> None:
    handler.page(200, "text/html", b"<html>welcome</html>")


def closes(handler: Handler, body: Body) -> None:
    handler.begin()
    handler.event(said("Ja"))
    handler.end()


def error(handler: Handler, body: Body) -> None:
    handler.begin()
    handler.event({"error": {"message": "out of memory"}})
    handler.end()


def endless(handler: Handler, body: Body) -> None:
    handler.begin()
    try:
        while not handler.told.over.is_set():
            handler.event(said("and on " * 50))
    except OSError:
        handler.close_connection = True  # whoever asked has heard enough


def slow_page(handler: Handler, body: Body) -> None:
    """An error page that never quite ends."""
    handler.begin("text/html")
    while not handler.told.over.wait(0.05):
        handler.send(b".")


def huge_line(handler: Handler, body: Body) -> None:
    handler.begin()
    handler.send(b"data: " + b"x" * (3 << 20))
    handler.end()


BAD: list[tuple[Callable[[Handler, Body], None], str, str]] = [
    (dies, "broken", ""),
    (dies_unheard, "broken", ""),
    (stalls, "stalled", "no text for 0.3 s"),
    (stalls_with_comments, "stalled", "no text for 0.3 s"),
    (garbage, "garbage", "no event"),
    (half_json, "garbage", "not JSON"),
    (wrong_type, "content type", "text/html"),
    (status, "status", '503: \'{"error": "overloaded"}\''),
    (closes, "cut", "after 1 pieces"),
    (error, "error", "out of memory"),
    (endless, "endless", "at most 8 tokens"),
    (huge_line, "garbage", "more than"),
    (slow_page, "content type", "text/html"),
]


@pytest.mark.parametrize(("bad", "kind", "why"), BAD, ids=[bad.__name__ for bad, _, _ in BAD])
def test_a_failure_is_counted_by_kind_and_the_run_goes_on(
    bad: Callable[[Handler, Body], None], kind: str, why: str, suite: Path, capsys: Capture
) -> None:
    def answer(handler: Handler, body: Body) -> None:
        (bad if body["messages"][0]["content"] == "Hello?" else well(PIECES, tokens=6))(handler, body)

    with serving(Told(answer)) as url:
        [found] = measured(url, suite, capsys, "--timeout", "0.3", status=1)["runs"]
    assert found["failures"] == {kind: 1}
    assert found["first_failure"].startswith(f"{kind}: ")
    assert why in found["first_failure"]
    assert (found["requests"], found["completed"], found["not_asked"], found["tokens"]) == (2, 1, 1, 6)


def test_characters_cut_in_half_are_whole_again(suite: Path, capsys: Capture) -> None:
    def halves(handler: Handler, body: Body) -> None:
        handler.begin()
        content = b"".join(event(said(piece)) for piece in PIECES) + event(said("", "stop"))
        content = content.replace(b"\\u00e9", "é".encode()).replace(b"\\ud834\\udd1e", "𝄞".encode())
        for at in range(0, len(content), 3):
            handler.send(content[at : at + 3])
        handler.end()

    told = Told(halves)
    with serving(told) as url:
        [found] = measured(url, suite, capsys)["runs"]
    assert (found["completed"], found["tokens"], found["tokens_counted_by"]) == (3, 12, "pieces")
    assert any(len(body["messages"]) == 3 and body["messages"][1]["content"] == "".join(PIECES) for body in told.asked)


def test_what_breaks_after_the_end_is_nobodys_concern(suite: Path, capsys: Capture) -> None:
    def breaks_late(handler: Handler, body: Body) -> None:
        handler.begin()
        handler.event(said("Ja", "stop"))
        handler.event(b"[DONE]")
        handler.close_connection = True  # in the middle of the stream of chunks, by HTTP

    with serving(Told(breaks_late)) as url:
        [found] = measured(url, suite, capsys)["runs"]
    assert (found["completed"], found["failures"]) == (3, {})


@pytest.mark.parametrize("more", [b"", b": still here\n\n"], ids=["silent", "comments"])
def test_what_comes_after_the_end_takes_no_time(more: bytes) -> None:
    def never_ends(handler: Handler) -> None:
        while not handler.told.over.wait(0.02):
            if more:
                handler.send(more)

    with serving(Told(well(PIECES))) as url, Server(url, timeout=0.3) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Handler, "end", never_ends)
        reply = server.ask(Question(("Hello?",), 8, 0.0, 0), "toy", {})
    assert (reply.failure, reply.reading.text) == (None, "".join(PIECES))
    assert reply.seconds == reply.reading.ended


def test_a_connection_the_server_closed_meanwhile_is_opened_again(suite: Path, capsys: Capture) -> None:
    def closes_after(handler: Handler, body: Body) -> None:
        well(PIECES, tokens=6)(handler, body)
        handler.close_connection = True

    with serving(Told(closes_after)) as url:
        [found] = measured(url, suite, capsys)["runs"]
    assert (found["completed"], found["failures"]) == (3, {})
