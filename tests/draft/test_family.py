"""How a drafter is written, and what is said to one that is written wrongly."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field
from typing import Any

import pytest

from foredraft.core.errors import UnknownName, UsageError
from foredraft.core.protocols import Needs, Request
from foredraft.draft import DRAFTERS, family, line_up, names, specify
from foredraft.draft.family import Family, Provided, option_fields, parse
from foredraft.draft.lookup import Lookup, Options
from foredraft.draft.model import ModelDrafter
from foredraft.draft.none import Nothing
from foredraft.models.toy import Tables, ToyModel


@dataclass(frozen=True)
class AllKinds:
    count: int
    share: float = field(default=0.5, metadata={"help": "a share"})
    flag: bool = False
    path: str = ""


def nothing(options: Any, provided: Provided) -> Nothing:
    return Nothing()


KINDS = Family("kinds", "a family of every kind of option", AllKinds, lambda options: Needs(), nothing)


def parse_kinds(text: str) -> Any:
    return parse(text, lambda name: KINDS).options


def test_options_are_converted_by_their_types() -> None:
    assert parse_kinds("kinds:count=3") == AllKinds(3)
    assert parse_kinds(" kinds : share=0.25 , count=3,flag=YES,path=/a=b") == AllKinds(3, 0.25, True, "/a=b")
    assert parse_kinds("kinds:count=3,flag=0").flag is False


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kinds:count=many", "count of drafter 'kinds' must be a whole number, not 'many'"),
        ("kinds:count=-1", "count of drafter 'kinds' must be a whole number, not '-1'"),
        ("kinds:count=1.5", "count of drafter 'kinds' must be a whole number, not '1.5'"),
        ("kinds:count=1,share=half", "share of drafter 'kinds' must be a number, not 'half'"),
        ("kinds:count=1,flag=maybe", "flag of drafter 'kinds' must be true or false, not 'maybe'"),
        ("kinds:7", "drafter 'kinds' takes options as option=value, not '7'"),
        ("kinds:share=0.1", "drafter 'kinds' needs count: write kinds:count=…"),
        ("kinds:count=1,count=2", "drafter 'kinds' was given 'count' twice: give it once"),
        ("kinds:count=1,k=x", "k of drafter 'kinds' must be a whole number, not 'x'"),
        (
            "kinds:count=1,colour=red",
            "unknown option of drafter 'kinds': 'colour': choose from count, flag, num_speculative_tokens, path, share",
        ),
    ],
)
def test_a_wrong_option_is_refused_in_one_sentence(text: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_kinds(text)
    assert str(refused.value) == message
    assert "\n" not in message


def test_the_positional_option_may_stand_without_its_name() -> None:
    assert specify("model:some/path").options.model == "some/path"
    assert specify("model:model=some/path,tree=2x1").options.shape.widths == (2, 1)
    assert specify("model:some/path").needs == Needs(model="some/path")
    with pytest.raises(UsageError, match="drafter 'model' was given 'model' twice"):
        specify("model:a,b")
    with pytest.raises(UsageError, match="drafter 'model' needs model: write model:model=…"):
        specify("model")


def test_the_number_of_drafts_has_two_names_and_is_given_once() -> None:
    assert specify("lookup").num_speculative_tokens is None
    assert specify("none").num_speculative_tokens == 0
    assert specify("lookup:k=3").num_speculative_tokens == 3
    assert specify("lookup:num_speculative_tokens=4,n=2").num_speculative_tokens == 4
    with pytest.raises(UsageError, match="drafter 'lookup' was given 'k' twice"):
        specify("lookup:k=3,k=4")
    with pytest.raises(UsageError, match="drafter 'lookup' was given num_speculative_tokens and k, two names of one"):
        specify("lookup:k=3,num_speculative_tokens=4")


def test_a_tree_drafts_to_its_own_size_unless_told_otherwise() -> None:
    assert specify("model:path").num_speculative_tokens is None
    assert specify("model:path,tree=3x2x1").num_speculative_tokens == 3 + 6 + 6
    assert specify("model:path,tree=3x2x1,k=5").num_speculative_tokens == 5


def test_drafters_are_joined_once_each_and_not_with_none() -> None:
    assert [spec.family.name for spec in line_up("lookup:k=3+suffix").specs] == ["lookup", "suffix"]
    assert line_up("lookup:k=3+suffix").fixed == 3
    assert line_up("lookup+suffix").fixed is None
    assert [spec.family.name for spec in line_up("forced+auto").specs] == [
        "forced",
        "prediction",
        "recycling",
        "suffix",
    ]
    own = line_up("auto+suffix:depth=8")  # of what auto stands for, what is named is taken as it is named
    assert [spec.text for spec in own.specs] == ["forced", "prediction", "recycling", "suffix:depth=8"]
    assert own.auto
    with pytest.raises(UsageError, match="'lookup' stands twice"):
        line_up("lookup+lookup:n=4")
    with pytest.raises(UsageError, match="joins drafters and 'none'"):
        line_up("none+lookup")


@pytest.mark.parametrize("tree", ["3x", "0", "3x0", "x", "axb", "256", "-1"])
def test_a_tree_that_is_no_widths_is_refused(tree: str) -> None:
    with pytest.raises(UsageError, match="tree of drafter 'model' must be widths joined by x, as in 3x2x1"):
        specify(f"model:path,tree={tree}")


def test_options_check_themselves_when_parsed() -> None:
    with pytest.raises(UsageError, match="lookup needs 1 <= min <= n, not min=5 and n=3"):
        specify("lookup:min=5")


def test_an_unknown_drafter_is_refused_by_name() -> None:
    with pytest.raises(UnknownName, match=r"unknown drafter 'oracle': choose from .*lookup.*model.*none"):
        specify("oracle:k=3")


@pytest.mark.parametrize("name", sorted(DRAFTERS))
def test_every_drafter_of_the_table_describes_itself(name: str) -> None:
    found = family(name)
    assert name in names()
    assert found.name == name
    assert found.summary
    assert "\n" not in found.summary
    for option, kind, default, text in option_fields(found):
        assert kind in ("int", "float", "bool", "str"), option
        assert text, f"{name}:{option} has no help"
        assert default is not MISSING or option in (found.positional, "model")


def test_option_fields_tell_name_type_default_and_help() -> None:
    assert option_fields(KINDS)[:2] == [("count", "int", MISSING, ""), ("share", "float", 0.5, "a share")]


def test_families_build_their_drafters() -> None:
    assert isinstance(family("lookup").build(Options(), Provided()), Lookup)
    assert isinstance(family("none").build(specify("none").options, Provided()), Nothing)
    options = specify("model:path,tree=2x2").options
    with pytest.raises(UsageError, match="drafter 'model' needs a draft model: write model:NAME"):
        family("model").build(options, Provided())
    made = family("model").build(options, Provided(model=ToyModel(Tables.random(3, seed=0))))
    assert isinstance(made, ModelDrafter)
    assert made.shape.widths == (2, 2)


def test_no_drafting_is_a_drafter_too() -> None:
    drafter = Nothing()
    state = drafter.open(Request((1,), 0))
    assert state is not None
    assert drafter.propose([]) == []
    drafter.update([])
    drafter.close(state)


def test_a_path_may_hold_an_equals_sign() -> None:
    assert specify("model:/a/b=c.gguf,k=3").options.model == "/a/b=c.gguf"
