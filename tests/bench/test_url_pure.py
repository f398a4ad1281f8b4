"""The pure parts of measuring a server: events, pieces, counters, records, figures."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foredraft.bench.url_counters import Counters, of_answer, of_metrics, total
from foredraft.bench.url_events import BadStream, Events
from foredraft.bench.url_reading import Endless, Reading, ServerError
from foredraft.bench.url_record import Answer, Answers, Counted, Failure
from foredraft.bench.url_report import BURST, bursts, busy, report

STREAM = ': hello\n\ndata: {"a": "é日𝄞"}\r\n\r\nevent: x\rid: 1\rdata: one\rdata:two\r\rdata: [DONE]\n\n'
WHOLE = ['{"a": "é日𝄞"}', "one\ntwo", "[DONE]"]


@given(st.lists(st.integers(0, len(STREAM.encode())), max_size=12))
def test_events_do_not_depend_on_where_the_network_cuts(places: list[int]) -> None:
    content, events = STREAM.encode(), Events()
    cuts = [0, *sorted(places), len(content)]
    assert [one for low, high in zip(cuts, cuts[1:]) for one in events.feed(content[low:high])] == WHOLE


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"<html>\n", "no event"),
        (b"error: it broke\n", "no event"),
        (b"data: \xff\xfe\n\n", "not UTF-8"),
        (b"data: " + b"x" * 200, "more than 100 bytes"),
        (b"data: xxxxxxxxx\n" * 12, "more than 100 bytes"),
    ],
)
def test_what_is_no_event_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(BadStream, match=why):
        Events(longest=100).feed(content)


def test_a_long_line_within_the_limit_is_read() -> None:
    line = b"data: " + b"x" * 100_000 + b"\n\n"
    events = Events()
    assert [one for at in range(0, len(line), 1000) for one in events.feed(line[at : at + 1000])] == ["x" * 100_000]


# --- pieces -----------------------------------------------------------------------------------------------------------


def piece(**fields: object) -> str:
    return json.dumps({"choices": [{"index": 0, **fields}]})


def test_text_comes_from_chats_completions_and_thoughts() -> None:
    reading = Reading(8)
    reading.take(piece(delta={"role": "assistant", "content": None}), 0.5)
    reading.take(piece(delta={"reasoning_content": "hm"}), 1.0)
    reading.take(piece(delta={"content": " yes"}), 2.0)
    reading.take(piece(text="!", finish_reason="stop"), 3.0)
    reading.take(json.dumps({"choices": [], "usage": {"completion_tokens": 5, "prompt_tokens": 3}}), 4.0)
    assert (reading.text, reading.arrivals, reading.finish) == ("hm yes!", [1.0, 2.0, 3.0], "stop")
    assert (reading.tokens, reading.prompt_tokens, reading.whole, reading.done) == (5, 3, True, False)


def test_what_is_null_is_not_there() -> None:
    reading = Reading(8)
    reading.take(json.dumps({"choices": [{"delta": {"content": "yes"}}], "error": None, "usage": None}), 1.0)
    reading.take(piece(delta=None, finish_reason="stop"), 2.0)
    reading.take(json.dumps({"choices": None, "usage": {"completion_tokens": 5}}), 3.0)
    assert (reading.text, reading.finish, reading.tokens) == ("yes", "stop", 5)


@pytest.mark.parametrize("usage", [{"completion_tokens": "5"}, {"completion_tokens": True}, [], {}, None])
def test_a_count_that_is_none_is_not_taken_for_one(usage: object) -> None:
    reading = Reading(8)
    reading.take(json.dumps({"choices": [], "usage": usage}), 0.0)
    assert reading.tokens is None


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ("{", BadStream),
        ("7", BadStream),
        ('{"choices": 3}', BadStream),
        ('{"choices": [3]}', BadStream),
        ('{"choices": [{"delta": "text"}]}', BadStream),
        ("[" * 100_000, BadStream),
        ('{"error": {"message": "out of memory"}}', ServerError),
        (piece(text="x" * 5000), Endless),
    ],
)
def test_a_piece_that_is_none_is_refused(data: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        Reading(1).take(data, 0.0)


# --- counters ---------------------------------------------------------------------------------------------------------

METRICS = """\
# TYPE vllm:spec_decode_num_drafts_total counter
vllm:spec_decode_num_drafts_total{engine="0",model_name="a"} 10.0
vllm:spec_decode_num_drafts_total{engine="1",model_name="a"} 10.0
vllm:spec_decode_num_drafts_created{engine="0",model_name="a"} 1.7e9
vllm:spec_decode_num_draft_tokens_total{engine="0"} 60.0
vllm:spec_decode_num_accepted_tokens_total{engine="0"} 30.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",position="0"} 18.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",position="2"} 4.0
vllm:generation_tokens_total 99
"""


def test_counters_of_vllm() -> None:
    found = of_metrics(METRICS)
    assert found == Counters(20, 60, 30, positions=(18, 0, 4))
    assert found.rate == 0.5
    assert found.length == 2.5
    assert found.by_position == [0.9, 0.0, 0.2]


def test_counters_of_others_and_of_none() -> None:
    assert of_metrics("llamacpp:spec_decode_num_draft_tokens_total 7\n") == Counters(drafted=7)
    assert of_metrics("llamacpp:spec_decode_num_draft_tokens_total NaN\n") == Counters()
    assert of_metrics("# nothing\nvllm:generation_tokens_total 99\n") is None


def test_counters_with_an_answer() -> None:
    timings = {"predicted_n": 30, "draft_n": 20, "draft_n_accepted": 10}
    found = of_answer({"timings": timings})
    assert found == Counters(drafted=20, accepted=10, passes=20, emitted=30)
    assert (found.rate, found.length) == (0.5, 1.5)
    inner = {"num_spec_steps": 4, "num_draft_tokens": 12, "num_accepted_draft_tokens": 6}
    assert of_answer({"metrics": {"speculative_decoding": inner}}) == Counters(4, 12, 6)
    assert of_answer({"timings": {"predicted_n": 30}}) is None
    assert of_answer({"metrics": None}) is None


def test_counters_add_up() -> None:
    one, other = Counters(1, 2, 3, 4, 5, (1,)), Counters(1, 1, 1, 1, 1, (1, 1))
    assert total([one, other]) == Counters(2, 3, 4, 5, 6, (2, 1))
    assert one + other - other == Counters(1, 2, 3, 4, 5, (1, 0))
    assert (Counters().rate, Counters().length, Counters().by_position) == (None, None, [])


# --- records and figures ----------------------------------------------------------------------------------------------


def answer(case: str, begun: float, arrivals: tuple[float, ...] = (1.0, 1.5), **fields: object) -> Answer:
    base = {"concurrency": 1, "prompt": case, "task": "a", "session": 0, "seconds": 2.0, "text": case}
    return Answer(**{**base, "case": case, "begun": begun, "arrivals": arrivals, **fields})  # type: ignore[arg-type]


def test_lines_are_read_again(tmp_path: object) -> None:
    folder = Answers(f"{tmp_path}/out", {"a": 1})
    failed = Failure("stalled", "no text for 1 s")
    lines = [
        answer("p", 0.25, tokens=9, counters=Counters(1, 2, 1, positions=(1,)), finish="stop"),
        answer("q", 0.5, (), failure=failed, earlier=(failed, Failure("cut", ""))),
        Counted(2, 1, Counters(3, 4, 5)),
    ]
    for line in lines:
        folder.add(line.as_json())
    assert list(Answers(f"{tmp_path}/out", {"a": 1}).done.values()) == lines


def test_time_is_counted_once_however_many_are_under_way() -> None:
    assert busy([answer("a", 0.0), answer("b", 1.0), answer("c", 10.0)]) == 5.0
    assert busy([answer("a", 0.0), answer("b", 0.5, seconds=0.5)]) == 2.0
    assert busy([answer("a", 0.0), answer("b", 1.0, session=1)]) == 4.0
    assert busy([]) == 0.0


def test_pieces_at_once_are_one_burst() -> None:
    arrivals = (1.0, 1.0 + BURST / 2, 1.0 + BURST, 2.0, 3.0)
    assert bursts(answer("a", 0.0, arrivals)) == [1.0, 2.0, 3.0]


SETUP = {
    "model": "toy",
    "engine": "url",
    "suite": "s",
    "concurrency": [1],
    "machine": {},
    "version": "0",
    "max_tokens": 4,
}


def test_failures_count_but_have_no_share_in_speeds() -> None:
    lines = [
        answer("a", 0.0, tokens=4),
        answer("b", 2.0, tokens=6, earlier=(Failure("refused", "no"),)),
        answer("c", 4.0, failure=Failure("cut", "short"), tokens=100),
    ]
    [run] = report(SETUP, lines, 4, 4)["runs"]
    assert (run["requests"], run["completed"], run["not_asked"]) == (3, 2, 1)
    assert run["failures"] == {"refused": 1, "cut": 1}
    assert (run["tokens"], run["seconds"], run["tok_s"], run["user_tok_s"]) == (10, 4.0, 2.5, 2.5)
    assert run["token_ms"] == pytest.approx(1000 * 1.0 / 8)
    assert run["first_ms"] == {"median": 1000.0, "p95": 1000.0}
    assert run["gap_ms"]["median"] == 500.0
    assert run["tokens_per_burst"] == 2.5
    assert run["speculation_from"] is None


def test_levels_are_compared_with_the_first() -> None:
    lines = [answer("a", 0.0), answer("b", 2.0)]
    lines += [answer("a", 4.0, concurrency=2), answer("b", 4.0, concurrency=2, text="other")]
    one, two = report(SETUP | {"concurrency": [1, 2]}, lines, 2, 2)["runs"]
    assert (one["identical"], two["identical"], two["different_prompts"]) == (None, False, 1)
    assert (two["tok_s"], two["user_tok_s"]) == (2.0, 1.0)


def test_loops_are_shown_apart() -> None:
    [run] = report(SETUP, [answer("a", 0.0, text="one two " * 20), answer("b", 2.0)], 2, 2)["runs"]
    assert run["looping_share"] == 0.5
    assert run["without_looping"]["tokens"] == 2


def test_nothing_answered_is_a_result_too() -> None:
    [run] = report(SETUP, [answer("a", 0.0, (), failure=Failure("cut", ""))], 1, 1)["runs"]
    assert (run["tok_s"], run["first_ms"], run["gap_ms"], run["looping_share"], run["by_task"]) == (None,) * 4 + ({},)
