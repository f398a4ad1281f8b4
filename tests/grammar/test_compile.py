"""What is asked of a text becomes a state, or is refused in one sentence."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from foredraft.core.errors import UsageError
from foredraft.core.params import SamplingParams, StructuredOutputsParams
from foredraft.grammar.compile import KEPT, LONGEST, check
from foredraft.grammar.vocabulary import Vocabulary
from grammars import END, PIECES, allowed, first, follow, grammars, longest_first


def nested(schema: dict[str, Any], depth: int) -> dict[str, Any]:
    """A list of lists of … what the schema allows."""
    return {"type": "array", "items": nested(schema, depth - 1)} if depth else schema


SELF = {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no alternative": ({"json": {"enum": []}}, "Unsatisfiable"),
    "a contradiction": ({"json": {"type": "string", "minLength": 5, "maxLength": 3}}, "minLength"),
    "a keyword that is not enforced": ({"json": {"not": {"type": "string"}}}, "not"),
    "a schema of itself": ({"json": SELF}, "no text of finite length"),
    "a schema that is only a reference to itself": ({"json": {"$ref": "#"}}, "no text"),
    "too many cases": (
        {"json": {"allOf": [{"anyOf": [{"required": [f"{at}"]}, {"required": [f"{at}x"]}]} for at in range(20)]}},
        "JSON schema",
    ),
    "an open group": ({"regex": "(a"}, "unclosed group"),
    "looking ahead": ({"regex": "a(?!b)"}, "look-around"),
    "an empty class": ({"regex": r"[^\s\S]"}, "no text matches"),
    "an unknown rule": ({"grammar": "start: foo"}, "unknown name"),
    "no rule": ({"grammar": ""}, "no start rule"),
    "no start": ({"grammar": 'a: "b"'}, "start"),
    "no Lark": ({"grammar": '{"grammars": []}'}, "grammar cannot be used"),
    "a rule of itself": ({"grammar": 'start: "a" start'}, "no text of finite length"),
    "a temperature of its own": ({"grammar": "start: x\nx[temperature=0.5]: /a/"}, "temperature"),
    "tokens taken back": ({"grammar": 'start: x\nx[stop="b"]: /a*/'}, "stop"),
    "tokens taken back, after a mark": ({"grammar": 'start: x\n?x[stop="b"]: /a*/'}, "stop"),
    "tokens taken back, after a bracket": ({"grammar": 'start: x\nx[capture="]", stop = "b"]: /a*/'}, "stop"),
    "nested too deeply": ({"json": nested({"type": "string"}, 300)}, "recursion limit"),
    "GBNF without a root": ({"grammar": 'top ::= "a"'}, "as GBNF (No 'root' rule found)"),
    "GBNF that breaks off": ({"grammar": 'root ::= ("a"'}, "as GBNF"),
    "GBNF of itself": ({"grammar": 'root ::= "a" root'}, "no text of finite length"),
    "GBNF nested too deeply": ({"grammar": "root ::= " + "(" * 20_000}, "as GBNF"),
    "too long": ({"grammar": "x" * (LONGEST + 1)}, str(LONGEST)),
}


FOUND_LATER = {"an empty class", "a schema that is only a reference to itself"}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_in_one_sentence_and_soon(case: str) -> None:
    options, named = REFUSED[case]
    begun = time.perf_counter()
    with pytest.raises(UsageError) as refused:
        grammars().first(StructuredOutputsParams(**options))
    assert time.perf_counter() - begun < 10
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("case", sorted(REFUSED.keys() - FOUND_LATER))
def test_it_is_refused_without_a_vocabulary_too(case: str) -> None:
    with pytest.raises(UsageError):
        check(StructuredOutputsParams(**REFUSED[case][0]))


def references(count: int) -> dict[str, Any]:
    """A schema whose first definition needs the second, and so on to the last."""
    lists = {f"a{at}": {"type": "array", "items": {"$ref": f"#/$defs/a{at + 1}"}, "minItems": 1} for at in range(count)}
    return {"$ref": "#/$defs/a0", "$defs": {**lists, f"a{count}": {"type": "null"}}}


def rules(count: int, last: str = '"x"') -> str:
    """A grammar whose first rule needs the second, and so on."""
    return "start: a0\n" + "".join(f'a{at}: a{at + 1} | "y"\n' for at in range(count)) + f"a{count}: {last}"


def test_gbnf_is_its_lark() -> None:
    """And Lark that speaks of `::=` stays Lark."""
    gbnf = 'root ::= "a" rest # so it begins\nrest ::= ("b" | "c")? [ab]\n'
    lark = 'start: "a" rest\nrest: ("b" | "c")? /[ab]/\n'
    states = [grammars().first(StructuredOutputsParams(grammar=text)) for text in (gbnf, lark)]
    for text in ("", "a", "ab", "ac", "aca"):
        ours, theirs = (allowed(follow(state, longest_first(text))) for state in states)
        assert ours == theirs
    check(StructuredOutputsParams(grammar='start: "a ::= b"'))


MANY = "start: " + "".join(f"a{at} " for at in range(9000)) + "".join(f'\na{at}: "x"' for at in range(9000))


DEEP: dict[str, dict[str, Any]] = {
    "rules of rules": {"grammar": rules(20_000)},
    "rules of rules in a ring": {"grammar": rules(20_000, '"x" | a0')},
    "rules that are not read": {"grammar": rules(20_000, '"x" -> y')},
    "references": {"json": references(10_000)},
    "references within lists": {
        "json": {
            "$ref": "#/$defs/a0",
            "$defs": {f"a{at}": nested({"$ref": f"#/$defs/a{at + 1}"}, 40) for at in range(60)} | {"a60": True},
        }
    },
    "references by anchors": {
        "json": {
            "$ref": "#a0",
            "$defs": {f"a{at}": nested({"$ref": f"#a{at + 1}"}, 40) | {"$anchor": f"a{at}"} for at in range(60)}
            | {"a60": {"$anchor": "a60"}},
        }
    },
}


@pytest.mark.parametrize("case", DEEP)
def test_what_would_end_the_stack_is_refused(case: str) -> None:
    """llguidance alone ends the process."""
    for refusing in (check, grammars().first):
        begun = time.perf_counter()
        with pytest.raises(UsageError, match="levels deep, rule in rule|is large and has rules with marks") as refused:
            refusing(StructuredOutputsParams(**DEEP[case]))
        assert time.perf_counter() - begun < 10
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("case", ["rules of rules", "references"])
def test_what_is_nearly_as_deep_is_taken(case: str) -> None:
    wanted = {"rules of rules": {"grammar": rules(990)}, "references": {"json": references(300)}}[case]
    vocabulary = Vocabulary(
        [bytes([byte]) for byte in range(256)] + [b"<end>"], [256], [256], lambda text: [*text.encode()]
    )
    state = type(grammars())(vocabulary).first(StructuredOutputsParams(**wanted))
    text = b"y" if case == "rules of rules" else b"[" * 300 + b"null"
    assert follow(state, text).few() is not None


LONG: dict[str, dict[str, Any]] = {
    "blank lines": {"grammar": "\n" * 200_000 + 'start: "a"'},
    "quotes": {"grammar": 'start: "' + '\\"' * 200_000 + '"'},
    "a repetition with room": {"grammar": 'start: "a"{' + " " * 200_000 + "3}"},
    "rules": {
        "grammar": "start: " + " ".join(f"a{at}" for at in range(9000)) + "".join(f'\na{at}: "x"' for at in range(9000))
    },
    "rules of rules": {"grammar": rules(900)},
    "definitions": {"json": {"$ref": "#/$defs/a0", "$defs": {f"a{at}": {"type": "null"} for at in range(9000)}}},
    "references": {"json": references(400)},
}


@pytest.mark.parametrize("case", LONG)
def test_what_is_long_is_read_once(case: str) -> None:
    begun = time.perf_counter()
    check(StructuredOutputsParams(**LONG[case]))
    assert time.perf_counter() - begun < 10


@pytest.mark.parametrize(
    "grammar",
    [
        'start: x // [stop="b"]\nx: "stop=" | /\\/stop=/ # temperature=1',
        'start: stop\nstop: "a"',
        'start: x\nx[stop_capture="a", suffix="b"]: /a*/',
    ],
)
def test_what_only_looks_like_an_option_is_none(grammar: str) -> None:
    check(StructuredOutputsParams(grammar=grammar))


ONE_OF = "structured_outputs must be one of json, json_object, regex, choice and grammar, not "


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, ONE_OF + "none"),
        ({"regex": "a", "choice": ("b",)}, ONE_OF + "regex and choice"),
        ({"choice": ()}, "choice must be at least one string, not ()"),
        ({"choice": (1,)}, "choice must be at least one string, not (1,)"),
        ({"regex": 3}, "regex must be a string, not 3"),
        ({"json": "[]"}, "json must be a JSON schema, which is an object, not []"),
        ({"json": '{"a":'}, "json must be a JSON schema, and this is no JSON (Expecting value"),
        ({"json": {"a": float("nan")}}, "json must be a JSON schema, and this is no JSON (Out of range"),
        ({"json": '{"a":' * 100_000 + "1" + "}" * 100_000}, "json must be a JSON schema, and this one is nested"),
    ],
)
def test_wrong_parameters_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        StructuredOutputsParams(**options)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_a_grammar_ends_the_text_so_the_end_counts() -> None:
    with pytest.raises(UsageError, match="ignore_eos must be false"):
        SamplingParams(ignore_eos=True, structured_outputs=StructuredOutputsParams(regex="a"))


def test_choices_are_taken_literally() -> None:
    tokens = [bytes([byte]) for byte in range(256)]
    vocabulary = Vocabulary([*tokens, b"<end>"], [256], [256], lambda text: list(text.encode()))
    grammar = type(grammars())(vocabulary)
    for choice in ('a "b" \\ \n\t/x/', "é日本\u2028", "$.*[", "", "\x00\x1f", "x" * 300):
        state = grammar.first(StructuredOutputsParams(choice=(choice, "other")))
        for byte in choice.encode():
            assert state.allows(byte), choice
            state = state.after(byte)
        assert state.allows(256)
        assert {byte for byte in range(256) if state.allows(byte)} == (set() if choice else {ord("o")})


def test_json_is_spelt_as_python_spells_it_unless_the_schema_says_otherwise() -> None:
    tokens = [bytes([byte]) for byte in range(256)]
    grammar = type(grammars())(Vocabulary([*tokens, b"<end>"], [256], [256], lambda text: list(text.encode())))
    schema = {
        "type": "object",
        "properties": {"b": {"type": "array", "items": {"type": "integer"}}, "a": {"type": "string"}},
        "required": ["b", "a"],
    }
    value = {"b": [1, 2], "a": "x é"}
    compact = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    usual, loose = json.dumps(value, ensure_ascii=False), json.dumps(value, indent=3, ensure_ascii=False)

    def holds(state: Any, text: str) -> bool:
        return state.prefix([*text.encode(), 256]) == len(text.encode()) + 1 and follow(state, text.encode()).allows(
            256
        )

    given = grammar.first(StructuredOutputsParams(json=schema))
    assert [holds(given, text) for text in (usual, compact, loose)] == [True, False, False]
    loosely = {"whitespace_flexible": True, "item_separator": ",", "key_separator": ":"}
    free = grammar.first(StructuredOutputsParams(json=schema | {"x-guidance": loosely}))
    assert [holds(free, text) for text in (usual, compact, loose)] == [True, True, True]
    text = grammar.first(StructuredOutputsParams(json=json.dumps(schema)))
    assert text is given, "the same schema as text, its keys in the same order, is the same grammar"
    assert not holds(given, json.dumps({"a": "x", "b": []}))
    anything = grammar.first(StructuredOutputsParams(json_object=True))
    assert holds(anything, usual)
    assert not holds(anything, "[1]")


def test_the_last_grammars_are_kept_and_the_oldest_let_go() -> None:
    made = grammars()
    one = made.first(StructuredOutputsParams(regex="a"))
    assert made.first(StructuredOutputsParams(regex="a")) is one
    for count in range(1, KEPT + 1):
        made.first(StructuredOutputsParams(regex=f"a{{{count}}}b"))
    assert made.first(StructuredOutputsParams(regex="a")) is not one


def test_a_text_that_the_tokenizer_would_change_is_spelt_by_the_longest_pieces() -> None:
    vocabulary = Vocabulary(PIECES, [END], [END], lambda text: longest_first("a" + text))  # as if it put an a before
    state = type(grammars())(vocabulary).first(StructuredOutputsParams(choice=("abcb",)))
    assert state.forced() == ((5, 1), 2)
    assert allowed(state) == allowed(first(["abcb"]))


def test_without_forcing_every_spelling_is_allowed() -> None:
    made = grammars()
    text = 'start: "abcb" | "abcc"'
    assert allowed(made.first(StructuredOutputsParams(grammar=text))) == {5}
    free = made.first(StructuredOutputsParams(grammar='%llguidance {"no_forcing": true}\n' + text))
    assert allowed(free) == {0, 3, 5}


def test_a_schema_can_have_keywords_left_aside() -> None:
    schema = {"x-guidance": {"lenient": True}, "enum": ["a"], "not": {"const": "b"}}
    check(StructuredOutputsParams(json=schema))
    with pytest.raises(UsageError, match="not"):
        check(StructuredOutputsParams(json={key: schema[key] for key in ("enum", "not")}))
