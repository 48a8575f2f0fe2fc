"""What tensors are kept in, and what their numbers stand for: by hand, and as the engines compute them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_decoders

from builder import kept
from builder.artifact_formats import gguf, onnx, safetensors
from builder.errors import ConversionError
from builder.kept import Count, Kept, StandIn

WIDE = Kept("blk.0.ffn_down.weight", (64, 576), "Q5_0", 25_344, is_matrix=True)


def test_counts_and_stand_ins_by_hand() -> None:
    tensors = [
        Kept("output_norm.weight", (576,), "F32", 2304, is_matrix=False),
        Kept("blk.0.attn_q.weight", (64, 512), "Q4_K", 18_432, is_matrix=True),
        Kept("blk.0.ffn_up.weight", (64, 512), "F16", 65_536, is_matrix=True),
        WIDE,
        WIDE,
    ]
    assert kept.counts(tensors) == (
        Count("F16", 1, 1, 65_536),
        Count("Q5_0", 2, 2, 50_688),
        Count("Q4_K", 1, 1, 18_432),
        Count("F32", 1, 0, 2304),
    )
    assert kept.stand_ins(gguf, tensors, ("Q4_K", "Q6_K")) == (
        StandIn("F16", "Q4_K", 1, "chosen otherwise"),
        StandIn("Q5_0", "Q4_K", 2, "rows of 576 are no whole blocks of 256"),
    )
    # a mixture promises nothing
    assert kept.stand_ins(gguf, tensors, ()) == ()


def test_numbers_in_blocks_by_hand() -> None:
    # two rows of five, in blocks of four: the last block holds one number, and what fills it up is left out
    numbers = np.array([[[0x21, 0x43], [0x05, 0x00]], [[0xFF, 0x00], [0x08, 0x00]]], np.uint8)
    scales = np.array([[1.0, 10.0], [0.5, 2.0]], np.float32)
    found = onnx.unpacked(numbers, scales, None, None, 4, 4, (2, 5))
    assert found.tolist() == [[-7, -6, -5, -4, -30], [3.5, 3.5, -4, -4, 0]]
    # zero points of both blocks of a row share a byte: 1 and 2, then 15 and 8
    zeros = np.array([[0x21], [0x8F]], np.uint8)
    found = onnx.unpacked(numbers, scales, zeros, None, 4, 4, (2, 5))
    assert found.tolist() == [[0, 1, 2, 3, 30], [0, 0, -7.5, -7.5, 0]]


def test_bits_that_fill_no_byte_are_refused() -> None:
    with pytest.raises(ConversionError, match="weights of 3 bits"):
        onnx.unpacked(np.zeros((1, 1, 3), np.uint8), np.ones((1, 1), np.float32), None, None, 3, 8, (1, 8))


@pytest.mark.parametrize("has_zeros", [False, True])
@pytest.mark.parametrize(("bits", "block"), [(4, 16), (4, 64), (8, 32)])
def test_numbers_in_blocks_are_those_that_onnx_runtime_computes_with(
    bits: int, block: int, has_zeros: bool
) -> None:
    """The operator itself, on the rows of the identity: it answers with the matrix."""
    ort = pytest.importorskip("onnxruntime")
    onnx_library = pytest.importorskip("onnx")
    helper = onnx_library.helper
    rows, columns = 24, 72
    blocks = -(-columns // block)
    random = np.random.default_rng(bits)
    parts = {
        "numbers": random.integers(0, 256, (rows, blocks, block * bits // 8), np.uint8),
        "scales": random.random((rows, blocks), np.float32),
    }
    if has_zeros:
        parts["zeros"] = random.integers(0, 256, (rows, -(-blocks * bits // 8)), np.uint8)
    node = helper.make_node(
        "MatMulNBits", ["x", *parts], ["y"], domain="com.microsoft",
        K=columns, N=rows, bits=bits, block_size=block,
    )  # fmt: skip
    tensors = [onnx_library.numpy_helper.from_array(value, name) for name, value in parts.items()]
    told = [
        helper.make_tensor_value_info(name, onnx_library.TensorProto.FLOAT, shape)
        for name, shape in (("x", (columns, columns)), ("y", (columns, rows)))
    ]
    graph = helper.make_graph([node], "one", told[:1], told[1:], tensors)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {"x": np.eye(columns, dtype=np.float32)})
    found = onnx.unpacked(
        parts["numbers"], parts["scales"], parts.get("zeros"), None, bits, block, (rows, columns)
    )
    np.testing.assert_allclose(answer.T, found, atol=1e-5)


SIZES: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 256,
    "num_attention_heads": 4,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
}


@pytest.mark.parametrize("tied", [False, True])
def test_a_gguf_holds_the_checkpoint_s_own_numbers(tmp_path: Path, tied: bool) -> None:
    pytest.importorskip("gguf")
    pytest.importorskip("torch")
    from builder.gguf import writing

    told = tiny_decoders.config("llama", **SIZES, tie_word_embeddings=tied)
    source = tiny_decoders.write(tmp_path / "source", told, tiny_decoders.weights(told))
    (tmp_path / "model").mkdir()
    writing.write(source, tmp_path / "model" / "model.gguf", lambda done, total: None)
    form = kept.format_of(tmp_path / "model")
    found = dict(form.weights(tmp_path / "model", told))
    expected = tiny_decoders.weights(told)
    if tied:
        expected["lm_head.weight"] = expected["model.embed_tokens.weight"]
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    # embedding, head where there is one, and seven matrices of each layer
    matrices = [one for one in form.tensors(tmp_path / "model") if one.is_matrix]
    assert len(matrices) == 2 * 7 + (1 if tied else 2)
    assert {one.kind for one in matrices} == {"F32"}


def test_a_checkpoint_is_read_by_its_header(tmp_path: Path) -> None:
    told = tiny_decoders.config("llama")
    folder = tiny_decoders.write(tmp_path / "source", told, tiny_decoders.weights(told), shards=2)
    form = kept.format_of(folder)
    assert form is safetensors
    (count,) = kept.counts(form.tensors(folder))
    assert count.kind == "F32" and count.size == 4 * sum(
        one.size for one in tiny_decoders.weights(told).values()
    )


def test_a_folder_without_weights_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({}))
    with pytest.raises(ConversionError, match="holds no weights that can be read"):
        kept.format_of(tmp_path)
