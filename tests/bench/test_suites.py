"""Suites: what the package brings, what a file may hold, and how wrong lines are named."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from foredraft.bench.prompts import Prompt
from foredraft.bench.suites import check_met_once, hash_of, in_turn, limited, load_suite, parse_suite
from foredraft.core.errors import UsageError


def test_the_builtin_suite_has_ten_prompts_for_each_of_six_tasks() -> None:
    prompts = load_suite("builtin")
    assert Counter(prompt.task for prompt in prompts) == dict.fromkeys(
        ("chat", "summarise", "code", "edit", "qa", "maths"), 10
    )
    assert len({prompt.turns for prompt in prompts}) == 60
    # 50 to 300 tokens: words of English and code are one to two tokens each.
    assert all(35 <= len(prompt.turns[0].split()) <= 170 for prompt in prompts)


def line(**changes: object) -> str:
    return json.dumps({"id": "a", "task": "t", "turns": ["hello", "again"]} | changes)


def test_all_turns_are_kept_and_empty_lines_are_passed_over() -> None:
    [prompt] = parse_suite(f"\n{line()}\n\n", "x")
    assert (prompt.id, prompt.task, prompt.turns) == ("a", "t", ("hello", "again"))
    assert prompt.cases == ("a", "a#2")
    [single] = parse_suite(line(turns=["hello"]), "x")
    assert single.cases == ("a",)


def test_no_prompt_is_met_twice_by_those_who_remember() -> None:
    texts = [line(), line(id="b", turns=["hallo", "again"]), line(id="c", turns=["hello"])]
    check_met_once(parse_suite("\n".join(texts[:2]), "x"))
    with pytest.raises(UsageError, match="'a' and 'c' are the same text"):
        check_met_once(parse_suite("\n".join(texts), "x"))


def test_a_line_separator_inside_a_text_ends_no_line() -> None:
    text = json.dumps({"id": "a", "task": "t", "turns": ["one\u2028two"]}, ensure_ascii=False)
    assert parse_suite(text, "x")[0].turns[0] == "one\u2028two"


WRONG = {
    "no JSON": ("{", "line 2 of x is not JSON"),
    "nested without end": ("[" * 100_000, "line 2 of x is not JSON"),
    "no object": ("[1]", "line 2 of x is not an object"),
    "no id": (line(id=None), "line 2 of x has no id"),
    "an id that is no text": (line(id=7), "line 2 of x has no id"),
    "no task": (line(task=" "), "line 2 of x has no task"),
    "no turns": (line(turns=[]), "line 2 of x has no turns"),
    "turns that are no list": (line(turns="hello"), "line 2 of x has no turns"),
    "an empty turn": (line(turns=[" "]), "line 2 of x has no turns"),
    "an id again": (line(), "line 2 of x has the id 'a' again"),
    "the id of a later turn": (line(id="a#2"), "line 2 of x has the id 'a#2' again"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_lines_are_named_by_number(case: str) -> None:
    wrong, message = WRONG[case]
    with pytest.raises(UsageError, match=message):
        parse_suite(f"{line()}\n{wrong}\n", "x")


def test_an_empty_file_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no prompts"):
        parse_suite("\n", "x")
    with pytest.raises(UsageError, match="cannot read suite"):
        load_suite(str(tmp_path / "none.jsonl"))
    with pytest.raises(UsageError, match="cannot read suite"):
        load_suite(str(tmp_path))
    (tmp_path / "latin.jsonl").write_bytes(b"\n\xc3\xa9\n\xe9\n")
    with pytest.raises(UsageError, match=r"line 3 of .*latin\.jsonl is not UTF-8"):
        load_suite(str(tmp_path / "latin.jsonl"))
    with pytest.raises(UsageError, match="cannot read suite"):
        load_suite("a\0b")


@pytest.mark.parametrize("entry", [{"id": "\ud800"}, {"task": "\udfff"}, {"turns": ["whole", "\ud83d"]}])
def test_half_a_character_is_refused_by_line(entry: dict[str, Any]) -> None:
    """JSON may spell it, but no file, terminal or server takes it."""
    good = {"id": "a", "task": "t", "turns": ["hi"]}
    with pytest.raises(UsageError, match="line 2 of x has half a character"):
        parse_suite(f"{json.dumps(good)}\n{json.dumps(good | {'id': 'b'} | entry)}\n", "x")


def test_spec_bench_lines_do_as_they_are() -> None:
    lines = [
        {"question_id": 81, "category": "writing", "turns": ["one", "two"], "reference": ["x"]},
        {"question_id": 161, "category": "translation", "turns": ["three"]},
    ]
    first, second = parse_suite("\n".join(map(json.dumps, lines)), "x")
    assert (first.id, first.task, first.turns) == ("81", "mt_bench", ("one", "two"))
    assert (second.id, second.task) == ("161", "translation")
    with pytest.raises(UsageError, match="line 1 of x has no id"):
        parse_suite(json.dumps(lines[0] | {"question_id": True}), "x")


def test_a_limit_takes_the_first_of_every_task() -> None:
    text = "\n".join(line(id=f"{task}{n}", task=task) for n in range(3) for task in "xy")
    prompts = parse_suite(text, "x")
    assert [prompt.id for prompt in limited(prompts, 2)] == ["x0", "y0", "x1", "y1"]
    assert limited(prompts, None) == prompts
    with pytest.raises(UsageError, match="at least 1"):
        limited(prompts, 0)


def test_tasks_in_turn() -> None:
    prompts = [Prompt(name, name[0], ("x",)) for name in ("a0", "a1", "a2", "b0", "c0", "c1")]
    assert [one.id for one in in_turn(prompts)] == ["a0", "b0", "c0", "a1", "c1", "a2"]
    assert in_turn([]) == []


def test_the_hash_tells_prompts_apart() -> None:
    first, other = parse_suite(line(), "x"), parse_suite(line(turns=["hallo"]), "x")
    assert hash_of(first) == hash_of(parse_suite(line(), "y")) != hash_of(other)
