"""Tokenizers kept on disk: the same as built ones, used for the file they were made from, and for no other."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from foredraft.core.errors import WeightsError
from foredraft.models import tokenizer_cache
from foredraft.models.gguf_header import read_header
from foredraft.models.sources import Source
from foredraft.models.tokenizer import WORTH_KEEPING, Tokenizer, from_gguf
from foredraft.models.tokenizer_cache import Entry
from texts import texts
from vocabularies import CONTROL, GEMMA, MARKUP, sentencepiece_metadata, trained, write_gguf, write_metadata

FAMILIES = ("gpt-2", "smollm", "qwen2", "llama-bpe", "gemma", "llama")


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of entries, empty."""
    monkeypatch.setenv("FOREDRAFT_MODELS", str(tmp_path / "models"))
    return tokenizer_cache.folder()


def big(path: Path, family: str = "qwen2", last: str = "the end", **fields: Any) -> Path:
    """A file whose vocabulary is big enough to be kept; `last` is its last token, far behind what names an entry."""
    if family in ("gemma", "llama"):
        metadata = sentencepiece_metadata(add_space_prefix=family == "llama", **fields)
        more = [f"word{at}" for at in range(WORTH_KEEPING)] + [last]
        for key, values in [("tokens", more), ("token_type", [1] * len(more)), ("scores", [-1e6] * len(more))]:
            metadata[f"tokenizer.ggml.{key}"] += values
        return write_metadata(path, metadata)
    small = read_header(write_gguf(path, family)).metadata
    more = [f"word{at}" for at in range(WORTH_KEEPING)] + [last]
    tokens, types = (small[f"tokenizer.ggml.{key}"] for key in ("tokens", "token_type"))
    return write_gguf(path, family, tokens=tokens + more, token_type=types + [1] * len(more), **fields)


def load(path: Path) -> Tokenizer:
    return Tokenizer.from_source(Source("m", path, "gguf"))


def told(tokenizer: Tokenizer) -> dict[str, Any]:
    """All that a tokenizer says of itself."""
    names = ("size", "added", "special", "stop_ids", "bos", "add_bos", "chat_template", "names", "words", "prefix")
    return {name: getattr(tokenizer, name) for name in names} | {"rest": tokenizer.rest, "strips": tokenizer.strips}


def mark(path: Path, text: str) -> None:
    """Replaces the entry of `path` by one that says `text` instead of a template: whoever reads it can be told."""
    header = read_header(path)
    seal, fields, _ = next(tokenizer_cache.folder().iterdir()).read_bytes().split(b"\n", 2)
    changed = json.loads(fields) | {"chat_template": text}
    entry = Entry(from_gguf(header).core, changed)
    tokenizer_cache.save(path, tokenizer_cache.stamp(path), json.loads(seal)["length"], entry)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_kept_tokenizer_equals_the_built_one(tmp_path: Path, kept: Path, family: str) -> None:
    path = big(tmp_path / "m.gguf", family)
    built, first = from_gguf(read_header(path)), load(path)
    assert len(list(kept.iterdir())) == 1
    second = load(path)
    assert second.core is not first.core
    assert told(first) == told(second) == told(built)
    assert second.core.to_str() == built.core.to_str()
    for text in texts(150, 5, (*CONTROL, *MARKUP, *GEMMA)):
        for control in (False, True):
            ids = built.encode(text, control=control)
            assert second.encode(text, control=control) == ids
        assert second.decode(ids, skip_special=False) == built.decode(ids, skip_special=False)


def test_an_entry_is_used(tmp_path: Path) -> None:
    path = big(tmp_path / "m.gguf")
    load(path)
    mark(path, "kept")
    assert load(path).chat_template == "kept"
    os.utime(path, (1, 1))  # the time of a file is not what it says
    assert load(path).chat_template == "kept"
    (tmp_path / "copy.gguf").write_bytes(path.read_bytes())
    assert load(tmp_path / "copy.gguf").chat_template == "kept"


def test_a_file_that_differs_in_one_token_has_another_entry(tmp_path: Path, kept: Path) -> None:
    """Though its beginning, its size and its time are the same."""
    path = big(tmp_path / "m.gguf", last="the end")
    old = path.stat()
    load(path)
    mark(path, "kept")
    big(path, last="the and")
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert path.stat().st_size == old.st_size
    found = load(path)
    assert found.piece(found.size - 1) == "the and"
    assert found.chat_template is None
    assert load(path).chat_template is None
    assert len(list(kept.iterdir())) == 1  # they share a name, and the last one has it


def test_weights_do_not_matter(tmp_path: Path) -> None:
    path = big(tmp_path / "m.gguf")
    load(path)
    mark(path, "kept")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert load(path).chat_template == "kept"


@pytest.mark.parametrize("damage", ["empty", "cut", "garbage", "seal", "length", "fields", "core", "lines", "makers"])
def test_damaged_entries_are_built_again(tmp_path: Path, kept: Path, damage: str) -> None:
    path = big(tmp_path / "m.gguf", "gemma")
    good = told(load(path))
    mark(path, "kept")
    (place,) = kept.iterdir()
    seal, fields, core = place.read_bytes().split(b"\n", 2)
    other = json.loads(seal)
    hurt = {
        "empty": b"",
        "cut": b"\n".join((seal, fields, core[:-1])),
        "garbage": bytes(range(256)) * 20,
        "seal": b"\n".join((seal.replace(b"header", b"reader"), fields, core)),
        "length": b"\n".join((json.dumps(other | {"length": -1}).encode(), fields, core)),
        "fields": b"\n".join((seal, fields.replace(b'"bos": 2', b'"bos": 3'), core)),
        "core": b"\n".join((seal, fields, core.replace(b"qu", b"qa", 1))),
        "lines": b"\n".join((b"[]", b"[]", b"[]")),
        "makers": b"\n".join((json.dumps(other | {"makers": "0" * 64}).encode(), fields, core)),
    }[damage]
    assert hurt != place.read_bytes()
    place.write_bytes(hurt)
    assert told(load(path)) == good
    assert place.read_bytes() != hurt  # and put in its place
    assert told(load(path)) == good


def test_a_whole_entry_that_the_library_cannot_read_is_built_again(tmp_path: Path, kept: Path) -> None:
    path = big(tmp_path / "m.gguf")
    good = told(load(path))
    (place,) = kept.iterdir()
    seal, fields, _ = place.read_bytes().split(b"\n", 2)
    with path.open("rb") as file:
        sealed = tokenizer_cache._seal(file, json.loads(seal)["length"], fields, b"{}")
    place.write_bytes(b"\n".join((json.dumps(sealed).encode(), fields, b"{}")))
    assert tokenizer_cache.load(path) is None
    assert told(load(path)) == good


@pytest.mark.parametrize("blocked", ["models", "tokenizers", "place"])
def test_a_folder_that_cannot_be_used_is_done_without(tmp_path: Path, kept: Path, blocked: str) -> None:
    path = big(tmp_path / "m.gguf")
    good = told(load(path))
    (place,) = kept.iterdir()
    place.unlink()
    kept.rmdir()
    where = {"models": kept.parent, "tokenizers": kept, "place": place}[blocked]
    if blocked == "models":
        kept.parent.rmdir()
    if blocked == "place":
        (place / "a folder where the entry should be").mkdir(parents=True)
    else:
        where.write_text("a file where a folder should be")
    assert told(load(path)) == good
    assert told(load(path)) == good
    assert not list(tmp_path.rglob("*.part"))


def test_a_file_that_changes_while_it_is_read_is_not_kept(tmp_path: Path, kept: Path) -> None:
    path = big(tmp_path / "m.gguf")
    before = tokenizer_cache.stamp(path)
    made = from_gguf(read_header(path))
    os.utime(path, (1, 1))
    tokenizer_cache.save(path, before, 1000, Entry(made.core, {}))
    assert not kept.exists()
    path.unlink()
    tokenizer_cache.save(path, tokenizer_cache.stamp(path), 1000, Entry(made.core, {}))
    assert not kept.exists()


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(WeightsError, match="check the path"):
        load(tmp_path / "pipe.gguf")


def test_small_vocabularies_and_broken_files_leave_nothing(tmp_path: Path, kept: Path) -> None:
    load(write_gguf(tmp_path / "m.gguf", "qwen2"))
    (tmp_path / "bad.gguf").write_bytes(b"GGUF and no more")
    with pytest.raises(WeightsError, match="fetch it again"):
        load(tmp_path / "bad.gguf")
    with pytest.raises(WeightsError, match="check the path"):
        load(tmp_path / "none.gguf")
    with pytest.raises(WeightsError, match="kind 't5'"):
        load(big(tmp_path / "m.gguf", "gemma", model="t5"))
    assert not kept.exists()


def test_merges_that_strings_would_lose_are_kept_as_pairs() -> None:
    data = json.loads(trained("qwen2"))
    compact = json.loads(tokenizer_cache._compact(json.dumps(data)))
    assert compact["model"]["merges"] == [" ".join(pair) for pair in data["model"]["merges"]]
    for pair in (["a b", "c"], ["a", "b c"], ["#version", "s"]):
        odd = data | {"model": data["model"] | {"merges": [["a", "b"], pair]}}
        assert json.loads(tokenizer_cache._compact(json.dumps(odd))) == odd
