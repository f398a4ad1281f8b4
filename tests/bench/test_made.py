"""Suites that are made: the same every time, of the lengths they are named for, and nothing is met twice."""

from __future__ import annotations

from collections import Counter

from foredraft.bench.made import LENGTHS, REPEAT
from foredraft.bench.suites import check_met_once, hash_of, load_suite


def test_copy_has_texts_to_edit_and_texts_to_repeat() -> None:
    prompts = load_suite("copy")
    assert Counter(prompt.task for prompt in prompts) == {"edit": 10, "repeat": 10}
    assert len({prompt.id for prompt in prompts}) == 20
    repeated = [prompt.turns[0] for prompt in prompts if prompt.task == "repeat"]
    assert all(text.startswith(REPEAT) and len(text.removeprefix(REPEAT)) > 200 for text in repeated)
    assert not any("ummar" in text.removeprefix(REPEAT)[:40] for text in repeated)  # the text alone, no other order


def test_long_has_four_questions_for_each_length() -> None:
    prompts = load_suite("long")
    assert Counter(prompt.task for prompt in prompts) == dict.fromkeys(LENGTHS, 4)
    for prompt in prompts:
        [text] = prompt.turns
        assert 2.6 * LENGTHS[prompt.task] < len(text) < 3.4 * LENGTHS[prompt.task] + 1
    assert hash_of(prompts) == hash_of(load_suite("long"))
    check_met_once(prompts)


def test_no_module_stands_in_two_prompts_and_the_one_asked_about_is_there() -> None:
    met: Counter[str] = Counter()
    for prompt in load_suite("long"):
        names = [line.split("`")[1] for line in prompt.turns[0].splitlines() if line.startswith("Module `")]
        met.update(names)
        question = prompt.turns[0].splitlines()[-1]
        assert any(f"`{name}`" in question for name in (names[0], names[-1]))
    assert set(met.values()) == {1}
