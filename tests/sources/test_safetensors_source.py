"""A Hugging Face folder is read from its headers, and every damage to it is named."""

import json
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from builder import architecture
from builder.errors import SourceError
from builder.safetensors_file import read_header
from builder.source import digest, fetch, open_checkpoint

CONFIG = {
    "model_type": "llama",
    "vocab_size": 16,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def weights():
    family = architecture.load("llama")
    shapes = architecture.expected_tensors(family, CONFIG, "safetensors", ())
    return {name: np.full(shape, index, np.float16) for index, (name, shape) in enumerate(shapes.items())}


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(CONFIG))
    (path / "tokenizer.json").write_text("{}")
    (path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "from config"}))
    save_file(weights(), path / "model.safetensors")
    return path


@pytest.fixture
def sharded(folder):
    tensors = weights()
    half = len(tensors) // 2
    parts = dict(list(tensors.items())[:half]), dict(list(tensors.items())[half:])
    (folder / "model.safetensors").unlink()
    for shard, part in zip(SHARDS, parts, strict=True):
        save_file(part, folder / shard)
    weight_map = {name: shard for shard, part in zip(SHARDS, parts, strict=True) for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def refused(reference, *said):
    with pytest.raises(SourceError) as caught:
        open_checkpoint(reference)
    assert caught.value.expected
    assert caught.value.remedy
    for text in said:
        assert text in caught.value.sentence()


@pytest.mark.parametrize("field", ["vocab_size", "hidden_size", "intermediate_size", "head_dim"])
def test_a_decoder_of_other_sizes_than_its_config_says(folder, field):
    (folder / "config.json").write_text(json.dumps({**CONFIG, field: 10**30}))
    refused(folder, "of shape", "by its config")


def test_single(folder):
    checkpoint = open_checkpoint(folder)
    assert checkpoint.format == "safetensors"
    assert checkpoint.model_type == "llama"
    with safe_open(folder / "model.safetensors", "numpy") as reference:
        assert set(checkpoint.tensors) == set(reference.keys())
        for name, tensor in checkpoint.tensors.items():
            assert list(tensor.shape) == reference.get_slice(name).get_shape()
            assert tensor.dtype == reference.get_slice(name).get_dtype()
            assert tensor.nbytes == reference.get_tensor(name).nbytes
    assert checkpoint.weight_bytes == 2 * sum(tensor.size for tensor in weights().values())
    assert checkpoint.chat_template == "from config"
    assert checkpoint.generation == {"bos_token_id": 1, "eos_token_id": 2}
    assert sorted(checkpoint.tokenizer_files) == ["tokenizer.json", "tokenizer_config.json"]
    assert fetch(checkpoint) is checkpoint


def test_sharded_equals_single(folder, sharded):
    checkpoint = open_checkpoint(sharded)
    assert set(checkpoint.tensors) == set(weights())
    assert [file.name for file in checkpoint.files[:2]] == list(SHARDS)


def test_one_file_named(folder):
    assert open_checkpoint(folder / "model.safetensors").tensors == open_checkpoint(folder).tensors


def test_generation_config_and_template_files_win(folder):
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 5]}))
    (folder / "chat_template.jinja").write_text("from file")
    checkpoint = open_checkpoint(folder)
    assert checkpoint.generation == {"bos_token_id": 1, "eos_token_id": [2, 5]}
    assert checkpoint.chat_template == "from file"


def test_named_templates(folder):
    named = [{"name": "tools", "template": "t"}, {"name": "default", "template": "d"}]
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    assert open_checkpoint(folder).chat_template == "d"


def test_fingerprint_follows_the_files(folder):
    before = open_checkpoint(folder).fingerprint
    assert open_checkpoint(folder).fingerprint == before
    (folder / "tokenizer.json").write_text("{ }")
    assert open_checkpoint(folder).fingerprint != before


def test_missing_folder(tmp_path):
    refused(tmp_path / "none", "none does not exist")


def test_missing_weight_file(tmp_path):
    refused(tmp_path / "model.safetensors", "does not exist")


def test_empty_folder(tmp_path):
    refused(tmp_path, "neither model.safetensors nor model.safetensors.index.json")


@pytest.mark.parametrize("size", [0, 5, 8, 30])
def test_header_cut(folder, size):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    refused(folder, f"is truncated: it has {size} bytes")


def test_data_cut(folder):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    refused(folder, f"it has {len(whole) - 5} bytes", f"{len(whole)} bytes, by its own header")


def test_data_too_long(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes() + b"more")
    refused(folder, "bytes that nothing describes")


def test_no_safetensors_at_all(folder):
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    refused(folder, "announces a header of")


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"{", "not a description"),
        (b"[]", "not a description"),
        (b'{"a": 3}', "not a description"),
        (b'{"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}', "F99"),
        (b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}', "in 4 bytes"),
        (b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}', "gap or overlap"),
    ],
)
def test_damaged_header(folder, header, said):
    raw = struct.pack("<Q", len(header)) + header + bytes(4)
    (folder / "model.safetensors").write_bytes(raw)
    refused(folder, said)


def test_index_names_absent_shard(sharded):
    (sharded / SHARDS[1]).unlink()
    refused(sharded, SHARDS[1], "1 of 2")


@pytest.mark.parametrize("place", ["../{}", "../../llama/{}", "shards/{}", "{folder}/{}", "./{}"])
def test_index_names_shards_elsewhere(sharded, place):
    """There or not: a checkpoint is one folder, and what is beside it is another model's."""
    (sharded.parent / SHARDS[1]).write_bytes((sharded / SHARDS[1]).read_bytes())
    index, named = sharded / "model.safetensors.index.json", place.format(SHARDS[1], folder=sharded)
    weight_map = json.loads(index.read_text())["weight_map"]
    moved = {name: named if shard == SHARDS[1] else shard for name, shard in weight_map.items()}
    index.write_text(json.dumps({"weight_map": moved}))
    refused(sharded, f"names {named}, which is no file of", "files beside the index")


def test_index_names_tensor_its_shard_lacks(sharded):
    index = sharded / "model.safetensors.index.json"
    weight_map = json.loads(index.read_text())["weight_map"]
    index.write_text(json.dumps({"weight_map": weight_map | {"model.extra.weight": SHARDS[0]}}))
    refused(sharded, "model.extra.weight", SHARDS[0])


def test_index_without_a_map(sharded):
    (sharded / "model.safetensors.index.json").write_text("{}")
    refused(sharded, "has no weight_map")


def test_lost_layer(folder):
    tensors = weights()
    del tensors["model.layers.0.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors")
    refused(folder, "lacks the tensor model.layers.0.mlp.up_proj.weight")


def test_config_missing(folder):
    (folder / "config.json").unlink()
    refused(folder, "config.json does not exist")


def test_config_without_fields(folder):
    lesser = {key: value for key, value in CONFIG.items() if key not in ("hidden_size", "vocab_size")}
    (folder / "config.json").write_text(json.dumps(lesser))
    refused(folder, "vocab_size, hidden_size")


def test_config_without_model_type(folder):
    (folder / "config.json").write_text("{}")
    refused(folder, "lacks model_type")


@pytest.mark.parametrize("text", ["{", "[1]", "\udcff"])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_invalid_json(folder, name, text):
    (folder / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    refused(folder, name, "JSON")


def test_unknown_model_type(folder):
    (folder / "config.json").write_text(json.dumps(CONFIG | {"model_type": "mistrall"}))
    refused(folder, "'mistrall'", "llama, mistral, mixtral, qwen2, qwen3", "did you mean 'mistral'?")


def test_tokenizer_missing(folder):
    (folder / "tokenizer.json").unlink()
    refused(folder, "only tokenizer_config.json", "tokenizer.json")


def test_pickles(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused(folder, "pytorch_model.bin is a pickle", "runs whatever code")
    refused(folder / "pytorch_model.bin", "is a pickle")


def test_digests_are_remembered(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("BUILDER_CACHE", str(tmp_path / "cache"))
    import hashlib

    seen = []
    first = digest(open_checkpoint(folder), lambda done, total: seen.append((done, total)))
    content = (folder / "model.safetensors").read_bytes()
    assert first["model.safetensors"] == hashlib.sha256(content).hexdigest()
    assert set(first) == {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"}
    assert seen[-1][0] == seen[-1][1]
    assert seen == sorted(seen)
    memory = tmp_path / "cache" / "digests.json"
    memory.write_text(memory.read_text().replace(first["model.safetensors"], "remembered"))
    assert digest(open_checkpoint(folder))["model.safetensors"] == "remembered"
    memory.write_text("damaged")
    assert digest(open_checkpoint(folder)) == first
    (folder / "tokenizer.json").write_text('{"a": 1}')
    assert digest(open_checkpoint(folder))["tokenizer.json"] != first["tokenizer.json"]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_a_source_error_or_accepted_by_the_library_too(folder, data):
    path = folder / "model.safetensors"
    save_file(weights(), path)
    raw = bytearray(path.read_bytes())
    cut = data.draw(st.integers(0, len(raw)))
    position = data.draw(st.integers(0, len(raw) - 1))
    raw[position] = data.draw(st.integers(0, 255))
    path.write_bytes(raw[:cut] if data.draw(st.booleans()) else raw)
    try:
        tensors = read_header(path).tensors
    except SourceError:
        return
    try:
        with safe_open(path, "numpy") as reference:
            assert set(reference.keys()) == set(tensors)
    except SafetensorError as error:
        pytest.fail(f"the library refuses what was accepted: {error}")
