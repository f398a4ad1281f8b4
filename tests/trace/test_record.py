"""From steps to the data of a page, on a generation written by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

import traces
from foredraft.core.events import Step, Times
from foredraft.core.tree import DraftTree
from foredraft.engine.compare import Arm, Comparison
from foredraft.engine.outputs import Completion
from foredraft.trace.again import Judged, Seen
from foredraft.trace.record import labels, pieces, record

TREE = DraftTree(
    tokens=(4, 5, 6, 7),
    parents=(-1, 0, 0, -1),
    score=(math.log(0.5), math.log(0.4), -math.inf, math.log(0.25)),
    sources=("b", "a+b", "a", "a"),
    laws=(None,) * 4,
    probes=(False, False, False, True),
)
STEPS = (
    Step(0, (), rows=3),
    Step(0, (4, 5, 9), accepted=2, tree=TREE, path=(0, 1), rows=5, seconds=Times(1, 2, 3, 4), wall=10, text="ab?"),
    Step(3, (8,), rows=1, seconds=Times(0, 5, 0, 0), wall=5, spent=(("late", 0.5),), expected=(1.5, 0.25), fault="no"),
)
SEEN = (
    Seen(),
    Seen((0.5, 0.25, 0.0, 1 / 3), tuple(Judged(p, 1.5, ((4, 0.5), (9, p))) for p in (0.5, 0.25, 0.125))),
    Seen((), (Judged(1.0, 0.0, ((8, 1.0),)),)),
)
LETTERS = {4: "a", 5: "b", 6: "c", 7: "d", 8: "!", 9: "?"}


def decode(ids: object) -> str:
    return "".join(LETTERS[token] for token in ids)  # type: ignore[attr-defined]


def completion(steps: tuple[Step, ...]) -> Completion:
    tokens = tuple(token for step in steps for token in step.tokens)
    return Completion(0, decode(tokens), tokens, "length", None, 7, (), steps)


def found() -> Comparison:
    plain = tuple(Step(at, (token,), rows=1, wall=6.0) for at, token in enumerate((4, 5, 9, 8)))
    return Comparison(Arm(completion(STEPS), 16.5, opening=1.0), Arm(completion(plain), 24.5, opening=0.25))


def recorded(comparison: Comparison) -> dict[str, object]:
    return record(comparison, SEEN, decode, LETTERS.__getitem__, "why?", {"model": "m"}, promised=True)


def test_a_generation_by_hand() -> None:
    data = recorded(found())
    assert data["texts"] == ["a", "b", "c", "d", "?", "!"]
    assert data["sources"] == ["b", "a", "late"]
    assert data["rounds"] == [
        {
            "first": 0,
            "count": 3,
            "accepted": 2,
            "rows": 5,
            "begin": 1.0,  # the drafter's opening is on the clock
            "times": [1, 2, 3, 4],
            "spent": [],
            "tree": {
                "tokens": [0, 1, 2, 3],
                "parents": [-1, 0, 0, -1],
                "p": [0.5, 0.25, 0.0, 0.3333],
                "claim": [0.5, 0.8, 0.0, 0.25],  # of the node, once its parent is accepted
                "sources": [[0], [0, 1], [1], [1]],
                "path": [0, 1],
                "probes": [3],
            },
        },
        {
            "first": 3,
            "count": 1,
            "accepted": 0,
            "rows": 1,
            "begin": 11.0,
            "times": [0, 5, 0, 0],
            "spent": [[2, 0.5]],
            "expected": [1.5, 0.25],
            "fault": "no",
        },
    ]
    top = [[0, 0.5], [4, 0.25]]
    assert data["tokens"][1] == {"piece": 1, "label": 1, "round": 0, "node": 1, "p": 0.25, "bits": 1.5, "top": top}  # type: ignore[index]
    assert [token["node"] for token in data["tokens"]] == [0, 1, -1, -1]  # type: ignore[attr-defined]
    assert data["plain"] == {"seconds": 24.5, "ends": [6.25, 12.25, 18.25, 24.25]}
    assert (data["opening"], data["seconds"], data["first_difference"]) == (1.0, 16.5, None)
    assert json.loads(json.dumps(data, allow_nan=False)) == data


def test_a_text_that_ends_inside_a_draft_has_no_token_of_the_targets_own() -> None:
    cut = replace(STEPS[1], tokens=(4,), accepted=1)
    seen = (Seen(), Seen(SEEN[1].drafts, SEEN[1].tokens[:1]))
    comparison = replace(found(), speculative=Arm(completion((STEPS[0], cut)), 11.0, 1.0))
    data = record(comparison, seen, decode, LETTERS.__getitem__, "", {}, promised=True)
    assert [token["node"] for token in data["tokens"]] == [0]
    assert data["rounds"][0]["tree"]["path"] == [0]


def test_plain_decoding_that_says_something_else_is_shown_with_its_own_words() -> None:
    other = completion(tuple(Step(at, (token,), rows=1, wall=6.0) for at, token in enumerate((4, 7))))
    data = recorded(replace(found(), plain=Arm(other, 12.0)))
    assert data["first_difference"] == 1
    assert [data["texts"][place] for place in data["plain"]["pieces"]] == ["a", "d"]  # type: ignore[index]


def test_pieces_are_the_text() -> None:
    def halves(ids: object) -> str:
        return bytes(ids).decode(errors="replace")  # type: ignore[call-overload, no-any-return]

    tokens = tuple("né!".encode())
    assert pieces(halves, tokens, "né!") == ["n", "", "é", "!"]
    assert pieces(halves, tokens[:2], "n\ufffd") == ["n", "\ufffd"]  # it ended inside a character
    assert pieces(halves, tokens, "n") == ["n", "", "", ""]  # a stop string took the rest
    assert pieces(halves, (), "") == []
    with pytest.raises(ValueError, match="do not spell"):
        pieces(halves, tokens, "na")


def test_labels_show_what_has_no_text() -> None:
    spelt = {0: b" root", 1: b"\xe2\x80", 2: None, 3: b"", 4: None}
    label = labels(lambda ids: {2: "<end>"}.get(ids[0], ""), spelt.__getitem__)
    assert [label(token) for token in range(5)] == [" root", "«E2 80»", "<end>", "«»", "#4"]


@pytest.mark.parametrize("text", ["\u202eevil", "\u200b", "\x1b[31m", "\u00a0", "\u200d", "\u2028"])
def test_what_cannot_be_seen_is_shown_as_bytes(text: str) -> None:
    assert labels(lambda ids: "", lambda token: text.encode())(0) == f"«{text.encode().hex(' ').upper()}»"


@pytest.mark.parametrize("text", [" a\n\t", "\r\n", "می\u200cخواهم", "👩\u200d🚀", "é日"])
def test_what_can_be_seen_is_shown(text: str) -> None:
    assert labels(lambda ids: "", lambda token: text.encode())(0) == text


def test_a_whole_generation_is_told() -> None:
    data = traces.traced()
    texts = data["texts"]
    assert "".join(texts[token["piece"]] for token in data["tokens"]) == data["text"]
    assert data["first_difference"] is None
    assert sum(one["count"] for one in data["rounds"]) == len(data["tokens"]) == len(data["plain"]["ends"]) == 40
    for one in data["rounds"]:
        for place, node in enumerate(one["tree"]["path"] if "tree" in one else ()):
            token = data["tokens"][one["first"] + place]
            assert (token["label"], token["p"]) == (one["tree"]["tokens"][node], one["tree"]["p"][node])
