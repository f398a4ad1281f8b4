"""Past texts in files: kept, saved, loaded, and files that are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from foredraft.core.errors import UsageError
from foredraft.core.tree import EMPTY
from foredraft.draft import files
from foredraft.draft.suffix import FAMILY, Options, Suffix
from letters import Letters
from suffixes import draft, opened, said


def test_past_texts_are_kept_in_a_file(tmp_path: Path) -> None:
    options = Options(file=str(tmp_path / "past"))
    first = Suffix(options, "words")
    said(first, [1, 2, 3, 4])
    said(first, [5, 5], "somebody")
    second = Suffix(options, "words")
    assert draft(second, opened(second, [1, 2])).tokens == (3, 4)
    assert draft(second, opened(second, [1, 2], "another")).tokens == (3, 4)
    assert draft(second, opened(second, [5])) is EMPTY  # texts of a tenant stay in memory
    second.clear()
    assert draft(second, opened(second, [1, 2])).tokens == (3, 4)


def test_a_tenants_texts_can_be_saved_and_loaded(tmp_path: Path) -> None:
    drafter = Suffix(Options(), "words")
    said(drafter, [1, 2, 3], "a")
    drafter.save(tmp_path / "a", "a")
    assert list(drafter.load(tmp_path / "a").kept) == [1, 2, 3, -1]


Damage = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], "is damaged: delete it"),
        (lambda data: data + b"\0", "is damaged: delete it"),
        (lambda data: data[:-8] + b"\1" + data[-7:], "is damaged: delete it"),
        (lambda data: data.replace(b'"sizes": [5]', b'"sizes": [-5]'), "is damaged: delete it"),
        (lambda data: data.replace(b'"sizes": [5]', b'"sizes": null'), "is damaged: delete it"),
        (lambda data: data.replace(b"suffix", b"sufflx"), "is no suffix file: give another, or a new name"),
        (lambda data: b"", "is no suffix file: give another, or a new name"),
        (lambda data: b"[]", "is no suffix file: give another, or a new name"),
        (lambda data: b"\xff\0" * 4000, "is no suffix file: give another, or a new name"),
    ],
)
def test_wrong_files_are_refused_and_left_alone(tmp_path: Path, damage: Damage, message: str) -> None:
    path = tmp_path / "past"
    drafter = Suffix(Options(file=str(path)), "words")
    said(drafter, [1, 2, 3, 4])
    path.write_bytes(damage(path.read_bytes()))
    wrong = path.read_bytes()
    with pytest.raises(UsageError) as refused:
        Suffix(Options(file=str(path)), "words")
    assert str(refused.value) == f"{path} {message}"
    assert path.read_bytes() == wrong


def test_files_of_another_vocabulary_or_in_no_place_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "past"
    Suffix(Options(file=str(path)), "words")
    with pytest.raises(UsageError) as refused:
        Suffix(Options(file=str(path)), "others")
    assert str(refused.value) == (f"{path} was made with another model's vocabulary: give each vocabulary its own file")
    with pytest.raises(UsageError, match="cannot be written .No such file or directory.: choose another place"):
        Suffix(Options(file=str(tmp_path / "no" / "past")), "words")
    with pytest.raises(UsageError, match="cannot be read .Is a directory.: give another"):
        Suffix(Options(file=str(tmp_path)), "words")


def test_vocabularies_are_told_apart_by_the_bytes_of_their_ids() -> None:
    names = {files.vocabulary_of(Letters(letters, 5)) for letters in ("abcde", "abced", "abcd", "abc")}
    assert len(names) == 4
    assert FAMILY.needs(Options(file="x")).tokenizer
    assert not FAMILY.needs(Options()).tokenizer
