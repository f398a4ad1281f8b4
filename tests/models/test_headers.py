"""Headers of weight files: read as written, and every way of being damaged is one sentence."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foredraft.core.errors import WeightsError
from foredraft.models.directories import BITS, check_directory, safetensors_header
from foredraft.models.facts import facts
from foredraft.models.gguf_header import KINDS, read_header
from foredraft.models.sources import Source, models_folder
from vocabularies import write_gguf, write_metadata

# --- GGUF -------------------------------------------------------------------------------------------------------------


def written(path: Path) -> Path:
    """A file with a key of every type and tensors of several."""
    writer = gguf.GGUFWriter(path, "llama")
    for add, value in [
        (writer.add_uint8, 255),
        (writer.add_int8, -1),
        (writer.add_uint16, 65535),
        (writer.add_int16, -2),
        (writer.add_int32, -3),
        (writer.add_uint64, 2**63),
        (writer.add_int64, -(2**40)),
        (writer.add_float32, 0.5),
        (writer.add_float64, 0.1),
    ]:
        add(f"test.{add.__name__}", value)
    writer.add_array("test.strings", ["a", "", "日本"])
    writer.add_array("test.ints", [1, -2, 3])
    writer.add_array("test.floats", [0.5])
    writer.add_array("test.bools", [True, False])
    writer.add_uint32("llama.block_count", 3)
    writer.add_tensor("token_embd.weight", np.zeros((5, 64), np.float16))
    quantised = gguf.quants.quantize(np.ones((2, 96), np.float32), gguf.GGMLQuantizationType.Q4_1)
    writer.add_tensor("blk.0.attn_q.weight", quantised, raw_dtype=gguf.GGMLQuantizationType.Q4_1)
    writer.add_tensor("norm.weight", np.ones(7, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_header_says_what_the_format_library_says(tmp_path: Path) -> None:
    path = written(tmp_path / "m.gguf")
    ours, reference = read_header(path), gguf.GGUFReader(path)
    expected = {key: found.contents() for key, found in reference.fields.items() if not key.startswith("GGUF.")}
    assert ours.metadata == expected
    assert ours.metadata["test.strings"] == ["a", "", "日本"]
    assert (ours.architecture, ours.setting("block_count"), ours.setting("none", 7)) == ("llama", 3, 7)
    for tensor, other in zip(ours.tensors, reference.tensors, strict=True):
        assert (tensor.name, tensor.kind) == (other.name, other.tensor_type.name)
        assert tensor.shape == tuple(map(int, other.shape))
        assert (tensor.offset, tensor.nbytes, tensor.count) == (other.data_offset, other.n_bytes, other.n_elements)


def test_every_tensor_type_has_the_format_librarys_sizes() -> None:
    theirs = {int(kind): (kind.name, *map(int, sizes)) for kind, sizes in gguf.GGML_QUANT_SIZES.items()}
    assert {code: KINDS[code] for code in theirs if code in KINDS} == {
        code: sizes for code, sizes in theirs.items() if code in KINDS
    }
    assert len(set(theirs) - set(KINDS)) < 5  # newer versions of the library may know more


@given(st.data())
def test_a_file_cut_anywhere_is_one_sentence(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    whole = written(tmp_path_factory.getbasetemp() / "whole.gguf").read_bytes()
    cut = tmp_path_factory.getbasetemp() / "cut.gguf"
    cut.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 33))])  # the last 32 bytes may be padding
    with pytest.raises(WeightsError, match="fetch it again"):
        read_header(cut)


@given(st.lists(st.tuples(st.integers(0, 1400), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_damaged_header_is_read_or_refused_and_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    content = bytearray(written(tmp_path_factory.getbasetemp() / "whole.gguf").read_bytes())
    for at, byte in changes:
        content[at % len(content)] = byte
    damaged = tmp_path_factory.getbasetemp() / "damaged.gguf"
    damaged.write_bytes(content)
    try:
        header = read_header(damaged)
    except WeightsError:
        return
    assert all(tensor.offset + tensor.nbytes <= len(content) for tensor in header.tensors)


def raw(*parts: int | bytes | str) -> bytes:
    """A header by hand: 8-byte counts, strings with their length, bytes as they are."""
    packed = b""
    for part in parts:
        match part:
            case int():
                packed += struct.pack("<Q", part)
            case str():
                packed += struct.pack("<Q", len(part)) + part.encode()
            case bytes():
                packed += part
    return packed


V3 = b"GGUF" + struct.pack("<I", 3)
U32 = struct.Struct("<I").pack
TENSOR = raw("t", U32(1), 32, U32(0), 0)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "does not begin as a GGUF file does"),
        (b"PK\x03\x04" + bytes(100), "does not begin as a GGUF file does"),
        (V3, "ends in the middle"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(40), "big-endian"),
        (b"GGUF" + U32(1) + bytes(40), "version 1"),
        (raw(V3, 2**60, 0), "more entries"),
        (raw(V3, 0, 2**60), "more entries"),
        (raw(V3, 0, 1, 2**62, bytes(40)), "a string longer than itself"),
        (raw(V3, 0, 1, "k", U32(99), bytes(20)), "unknown type 99"),
        (raw(V3, 0, 1, "k", U32(9), U32(9), bytes(20)), "array of unsupported type 9"),
        (raw(V3, 0, 1, "k", U32(9), U32(8), 2**61), "more entries"),
        (raw(V3, 0, 1, "k", U32(9), U32(12), 2**61), "more entries"),
        (raw(V3, 0, 1, "general.alignment", U32(4), U32(0)), "alignment that is not a power of two"),
        (raw(V3, 0, 1, "split.count", U32(4), U32(3)), "join them with llama-gguf-split"),
        (raw(V3, 1, 0, "t", U32(9), bytes(80)), "tensor of 9 dimensions"),
        (raw(V3, 1, 0, "t", U32(0), bytes(80)), "tensor of 0 dimensions"),
        (raw(V3, 1, 0, "t", U32(1), 32, U32(4), 0), "unknown type 4"),
        (raw(V3, 1, 0, "t", U32(1), 31, U32(8), 0), "impossible shape"),
        (raw(V3, 1, 0, "t", U32(2), 32, 0, U32(0), 0), "impossible shape"),
        (raw(V3, 1, 0, "t", U32(4), *[2**62] * 4, U32(0), 0), "ends before its tensor 't'"),
        (raw(V3, 1, 0, "t", U32(1), 32, U32(0), 2**63, bytes(256)), "ends before its tensor 't'"),
        (raw(V3, 2, 0, TENSOR, TENSOR, bytes(256)), "names a tensor twice"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(WeightsError, match=says):
        read_header(tmp_path / "m.gguf")


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.gguf"):
        with pytest.raises(WeightsError, match="check the path"):
            read_header(path)


# --- safetensors ------------------------------------------------------------------------------------------------------


def safetensors(header: dict[str, Any] | bytes, data: int) -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(encoded).to_bytes(8, "little") + encoded + bytes(data)


def entry(begin: int, end: int, shape: tuple[int, ...], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


GOOD = {"__metadata__": {"format": "pt"}, "a": entry(0, 24, (2, 3)), "b": entry(24, 28, (2,), "BF16")}


def test_a_whole_file_is_read_as_the_library_writes_it(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"a": np.zeros((2, 3), np.float32), "b": np.zeros(2, np.float16)}, tmp_path / "m.safetensors")
    found = safetensors_header(tmp_path / "m.safetensors")
    assert {name: (one["dtype"], one["shape"]) for name, one in found.items()} == {
        "a": ("F32", [2, 3]),
        "b": ("F16", [2]),
    }
    assert set(BITS) >= {one["dtype"] for one in found.values()}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234567",
        safetensors(GOOD, 28)[:-1],
        safetensors(GOOD, 29),
        safetensors(GOOD, 28)[:40],
        safetensors(b"[]", 0),
        safetensors(b"{", 0),
        safetensors(b"[" * 200_000, 0),
        safetensors({"a": 3}, 0),
        safetensors({"a": {}}, 0),
        safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": 4}}, 4),
        safetensors({"a": {"dtype": "F32", "shape": ["x"], "data_offsets": [0, 4]}}, 4),
        safetensors({"a": entry(0, 24, (2, 4))}, 24),
        safetensors({"a": entry(-4, 0, (1,))}, 0),
        safetensors({"a": entry(0, 4, (1,)), "b": entry(0, 4, (1,))}, 4),
        safetensors({"a": entry(0, 4, (1,)), "b": entry(8, 12, (1,))}, 12),
        safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0.0, 4.0]}}, 4),
        safetensors({"a": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [False, 4]}}, 4),
        safetensors({"a": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}, 4),
        safetensors({"a": entry(0, 4, (2**60,), "NEW")}, 4),
        safetensors({"a": entry(0, 4, (4,), "F6_E2M3")}, 4),
        (2**63).to_bytes(8, "little") + bytes(20),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match="damaged or cut short: fetch it again"):
        safetensors_header(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "no config.json"),
        ({"config.json": b"{"}, "not readable JSON"),
        ({"config.json": b"[1]"}, "does not hold a JSON object"),
        ({"config.json": b'{"auto_map": {}}', "m.safetensors": safetensors(GOOD, 28)}, "code of its own"),
        ({"config.json": b"{}"}, r"no \*.safetensors"),
        ({"config.json": b"{}", "pytorch_model.bin": b"x"}, "convert them to safetensors"),
        ({"config.json": b"{}", "m.safetensors": safetensors(GOOD, 27)}, "cut short"),
        ({"config.json": b"{}", "model.safetensors.index.json": b'{"weight_map": {"a": "x-1.safetensors"}}'}, "lacks"),
        ({"config.json": b"{}", "model.safetensors.index.json": b'{"weight_map": {"a": "../x"}}'}, "lacks"),
        ({"config.json": b"{}", "model.safetensors.index.json": b'{"weight_map": []}'}, r"no \*.safetensors"),
        (
            {"config.json": b"{}", "model.safetensors.index.json": b'{"weight_map": {"a": "%s"}}' % (b"x" * 5000)},
            "lacks",
        ),
    ],
)
def test_directories_that_cannot_be_loaded_say_why(tmp_path: Path, files: dict[str, bytes], says: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=says):
        check_directory(tmp_path)


# --- facts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "language_model."])
@pytest.mark.parametrize(("extra", "read"), [((), 1000), (("lm_head.weight",), 1000), (("a.weight",), 2000)])
def test_facts_of_a_directory_count_what_a_pass_reads(
    tmp_path: Path, prefix: str, extra: tuple[str, ...], read: int
) -> None:
    from vocabularies import write_directory

    write_directory(tmp_path, "qwen2", chat_template="x")
    config = {"model_type": "llama", "num_hidden_layers": 1, "hidden_size": 5, "max_position_embeddings": 64}
    (tmp_path / "config.json").write_text(json.dumps(config))
    names = tuple(prefix + name for name in ("model.embed_tokens.weight", *extra))
    header = {name: entry(1000 * at, 1000 * (at + 1), (50, 5)) for at, name in enumerate(names)}
    (tmp_path / "model.safetensors").write_bytes(safetensors(header, 1000 * len(names)))
    found = facts(Source("m", tmp_path, "hf"))
    assert (found.bytes_per_token, found.parameters) == (read, 250 * len(names))
    assert (found.architecture, found.layers, found.width, found.context) == ("llama", 1, 5, 64)
    assert found.types == {"F32": len(names)}
    assert found.chat_template


def test_facts_of_a_file_without_a_head_of_its_own_count_the_embedding(tmp_path: Path) -> None:
    found = facts(Source("m", write_gguf(tmp_path / "m.gguf", "qwen2"), "gguf"))
    assert (found.bytes_per_token, found.parameters, found.architecture) == (4 * 32 * 4, 128, "llama")
    assert not found.chat_template
    assert read_header(write_metadata(tmp_path / "n.gguf", {"a": None, "b": "x"})).metadata["b"] == "x"


def test_facts_survive_settings_and_tokenizers_that_are_not_understood(tmp_path: Path) -> None:
    fields = {"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": ["a", "b"], "llama.block_count": "many"}
    found = facts(Source("m", write_metadata(tmp_path / "m.gguf", fields), "gguf"))
    assert (found.vocabulary, found.layers, found.chat_template) == (2, 0, False)
    settings = {"text_config": None, "model_type": None, "hidden_size": [1], "num_hidden_layers": None, "vocab_size": 9}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    (tmp_path / "model.safetensors").write_bytes(safetensors(GOOD, 28))
    found = facts(Source("m", tmp_path, "hf"))
    assert (found.architecture, found.width, found.layers, found.vocabulary) == ("unknown", 0, 0, 9)


@pytest.mark.model
def test_facts_of_the_default_model() -> None:
    found = facts(Source("smollm2", models_folder() / "SmolLM2-135M-Instruct.Q4_1.gguf", "gguf"))
    assert found.types == {"Q4_1": 210, "F32": 61, "Q8_0": 1}
    assert found.bytes_per_token == 96_576_768  # 96.44 MB of matrices and 0.14 of norms
    assert (found.architecture, found.layers, found.width, found.context) == ("llama", 30, 576, 8192)
    assert (found.vocabulary, found.parameters, found.chat_template) == (49152, 134_515_008, True)
