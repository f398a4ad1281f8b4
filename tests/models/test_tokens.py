"""What drafters see of a tokenizer: plain text alone, and bytes that add up to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foredraft.core.protocols import AnyDrafter, Needs
from foredraft.core.tokens import Tokens
from foredraft.draft import Lineup, specify
from foredraft.draft.family import Provided
from foredraft.draft.none import Nothing
from foredraft.engine.backends import Loaded, make_drafting
from foredraft.models.gguf_header import read_header
from foredraft.models.sources import Source
from foredraft.models.tokenizer import Tokenizer, from_directory, from_gguf
from foredraft.models.tokens import PlainTokens
from foredraft.models.toy import Tables, ToyModel
from vocabularies import CORPUS, sentencepiece_metadata, write_directory, write_gguf, write_metadata

KINDS = ("byte-level file", "byte-level directory", "SentencePiece", "SentencePiece with a space before")
TEXTS = st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(CORPUS), st.just("<|im_end|> x"))


@pytest.fixture(scope="module", params=KINDS)
def tokens(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PlainTokens:
    folder = tmp_path_factory.mktemp("vocabulary")
    if request.param == KINDS[0]:
        return PlainTokens(from_gguf(read_header(write_gguf(folder / "m.gguf", "smollm", padding=3))))
    if request.param == KINDS[1]:
        write_directory(folder, "smollm")
        return PlainTokens(from_directory(folder))
    metadata = sentencepiece_metadata(add_space_prefix=request.param == KINDS[3])
    return PlainTokens(from_gguf(read_header(write_metadata(folder / "m.gguf", metadata))))


def test_bytes_of_tokens_add_up_to_the_text(tokens: PlainTokens) -> None:
    prefix = tokens.tokenizer.prefix

    @given(TEXTS)
    def check(text: str) -> None:
        ids = tokens.encode(text)
        assert tokens.tokenizer.special.isdisjoint(ids)
        spelt = [tokens.token_bytes(token) for token in ids]
        assert b"".join(piece for piece in spelt if piece is not None).decode() == ((prefix + text) if text else "")
        assert None not in spelt
        assert tokens.decode(ids) == text

    check()


def test_nothing_is_put_before_a_text_and_control_tokens_have_no_bytes(tokens: PlainTokens) -> None:
    model = replace(tokens.tokenizer, add_bos=True)
    assert model.encode("the")[0] == model.bos
    assert PlainTokens(model).encode("the") == model.encode("the")[1:]
    assert all(tokens.token_bytes(token) is None for token in model.special)
    assert tokens.size == model.size
    padding = [token for token in range(model.size) if model.piece(token) is None]
    assert all(tokens.token_bytes(token) is None for token in padding)


class Reader(Nothing):
    """Keeps what it was given."""

    def __init__(self, provided: Provided) -> None:
        self.provided = provided


@pytest.mark.parametrize("wanted", [False, True])
def test_a_drafter_that_needs_a_tokenizer_gets_the_targets(tmp_path: Path, wanted: bool) -> None:
    write_directory(tmp_path, "smollm")
    tokenizer = from_directory(tmp_path)
    model = ToyModel(Tables.random(tokenizer.size, order=0, seed=0))
    target = Loaded(Source("toy", tmp_path, "hf"), "toy", model, tokenizer, 1)
    spec = specify("none")

    def build(options: object, provided: Provided) -> AnyDrafter:
        return Reader(provided)

    family = replace(spec.family, needs=lambda options: Needs(tokenizer=wanted), build=build)
    lineup = Lineup("reader", (replace(spec, family=family),))
    (drafter,) = make_drafting(lineup, target).drafters.values()
    assert isinstance(drafter, Reader)
    assert drafter.provided.second_tokenizer is None
    if not wanted:
        assert drafter.provided.tokenizer is None
        return
    found: Tokens | None = drafter.provided.tokenizer
    assert found is not None
    assert found.encode("the fox") == tokenizer.encode("the fox")


def test_tokens_of_a_directory_and_of_a_file_spell_alike(tmp_path: Path) -> None:
    write_directory(tmp_path / "hf", "smollm")
    first: Tokenizer = from_directory(tmp_path / "hf")
    second = from_gguf(read_header(write_gguf(tmp_path / "m.gguf", "smollm")))
    ours, theirs = PlainTokens(first), PlainTokens(second)
    assert [ours.token_bytes(token) for token in range(first.size)] == [
        theirs.token_bytes(token) for token in range(first.size)
    ]
