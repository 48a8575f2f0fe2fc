"""Tensors that NVIDIA's onnxruntime backend takes in a way of their own; our own takes the same graphs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import onnxruntime
import pytest
from google.protobuf import json_format
from onnx import TensorProto, helper
from workbench import examples

from backends.onnxruntime import tensors
from backends.onnxruntime.values import Refused
from builder import layout
from builder.check import Choice, check
from builder.finding import Finding
from builder.rule import Host

HOST = Host("26.08", completes=False)
ONLY = Choice(("TRN61", "TRN67"), ("TRN615",))
Dims = Sequence[int | str] | None
FLOAT = TensorProto.FLOAT


def written(folder: Path, config: str, x: Dims, y: Dims = None, kind: int = FLOAT, most: int = 0) -> Path:
    """Write a model whose graph hands X on as Y, and takes what else the config has of inputs beside it."""
    examples.write(f'backend: "onnxruntime"\nmax_batch_size: {most}\n{config}', folder)
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["X"], ["Y"])],
        "graph",
        [info("X", kind, x), *(info(name, FLOAT, [1]) for name in ("W", "V") if f'"{name}"' in config)],
        [info("Y", kind, x if y is None else y)],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "m" / "1" / "model.onnx").write_bytes(made.SerializeToString())
    return folder


def refused(folder: Path) -> str:
    """Return why our own backend refuses a model's tensors, "" where it takes them."""
    model = layout.read(folder).models["m"]
    session = onnxruntime.InferenceSession(str(folder / "m" / "1" / "model.onnx"))
    whole = json.loads(json_format.MessageToJson(model.config, preserving_proto_field_name=True))
    try:
        tensors.require_same({**whole, "name": "m"}, tensors.graph(session))
    except Refused as refusal:
        return str(refusal)
    return ""


def told(folder: Path, host: Host = HOST) -> list[Finding]:
    return check(folder, host=host, choice=ONLY)


def tensor(kind: str, dims: str, more: str = "", data_type: str = "FP32") -> str:
    name = "X" if kind == "input" else "Y"
    return f'{kind} {{ name: "{name}" data_type: TYPE_{data_type} dims: [ {dims} ] {more} }}\n'


RAGGED = "allow_ragged_batch: true"


@pytest.mark.parametrize(
    ("x", "more", "most", "fits"),
    [
        (["n"], RAGGED, 8, True),
        ([4], RAGGED, 8, False),
        (["n", "m"], RAGGED, 8, False),
        ([], RAGGED, 8, False),
        (["n"], f"{RAGGED} optional: true", 0, False),
    ],
)
def test_a_ragged_input_is_flat_in_the_graph(
    tmp_path: Path, x: Dims, more: str, most: int, fits: bool
) -> None:
    output = tensor("output", "-1") + (
        'batch_output { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "Y" source_input: "X" }'
    )
    written(tmp_path, tensor("input", "-1", more) + output, x, most=most)
    found = [(one.code, one.line) for one in told(tmp_path) if one.code != "TRN673"]
    assert found == ([] if fits else [("TRN672", 3)])
    assert (refused(tmp_path) == "") == fits


@pytest.mark.parametrize(
    ("dims", "more", "most", "fits"),
    [
        ("1", "", 0, True),
        ("1, 1", "", 0, True),
        ("1", "reshape { }", 8, True),
        ("1", "", 8, True),
        ("4", "", 0, False),
        ("-1", "", 8, False),
    ],
)
@pytest.mark.parametrize("shape", [[], None], ids=["scalar", "no shape"])
def test_a_scalar_has_no_dim_but_one(
    tmp_path: Path, dims: str, more: str, most: int, fits: bool, shape: Dims
) -> None:
    config = tensor("input", dims, more) + tensor("output", dims, more)
    written(tmp_path, config, shape, most=most)
    found = told(tmp_path)
    assert [(one.code, one.line) for one in found] == ([] if fits else [("TRN674", 3), ("TRN674", 4)])
    refusal = refused(tmp_path)
    assert (refusal == "") == fits
    if not fits:
        assert found[0].message.startswith(refusal)
        assert ("says no shape" in found[0].message) == (shape is None)


@pytest.mark.parametrize(
    ("config", "line", "numbers"),
    [
        (tensor("input", "4"), 0, ""),
        (tensor("input", "4", "optional: true"), 3, "expects 0 inputs, model provides 1"),
        (
            tensor("input", "4") + 'batch_input { kind: BATCH_ELEMENT_COUNT target_name: [ "W", "V" ]'
            ' data_type: TYPE_FP32 source_input: "X" }\n',
            4,
            "expects 2 inputs, model provides 3",
        ),
        ("", 0, "expects 0 inputs, model provides 1"),
    ],
)
def test_as_many_inputs_as_the_graph_has(tmp_path: Path, config: str, line: int, numbers: str) -> None:
    written(tmp_path, config + tensor("output", "4"), [4])
    found = told(tmp_path)
    assert [(one.code, one.line) for one in found] == ([("TRN673", line)] if numbers else [])
    assert numbers in "".join(one.message for one in found)
    # ours counts targets, where NVIDIA's counts what names them
    if "target_name" not in config:
        assert numbers in refused(tmp_path)


def test_inputs_that_the_backend_adds_are_not_missing(tmp_path: Path) -> None:
    written(tmp_path, tensor("output", "4"), [4])
    assert told(tmp_path, Host("26.08")) == []


@pytest.mark.parametrize(
    ("x", "config", "most", "completes", "expected"),
    [
        ([4], tensor("input", "4"), 8, True, ["TRN675"]),
        ([4], tensor("output", "4"), 0, True, []),
        (["n", 4], tensor("output", "4"), 8, True, []),
        (["n", 4], tensor("input", "4"), 8, True, []),
        ([], tensor("output", "1"), 8, True, ["TRN675"]),
        ([4], tensor("input", "4") + tensor("output", "4"), 8, True, []),
        ([4], tensor("input", "4"), 8, False, []),
    ],
)
def test_what_completes_a_config_that_batches_can_batch(
    tmp_path: Path, x: Dims, config: str, most: int, completes: bool, expected: list[str]
) -> None:
    written(tmp_path, config, x, most=most)
    found = told(tmp_path, Host("26.08", completes=completes))
    assert [(one.code, one.line) for one in found if one.code != "TRN614"] == [(code, 2) for code in expected]


@pytest.mark.parametrize(
    ("release", "expected"), [("24.10", ["TRN676"] * 2), ("26.02", ["TRN676"] * 2), ("26.03", [])]
)
def test_bf16_came_late(tmp_path: Path, release: str, expected: list[str]) -> None:
    config = tensor("input", "4", data_type="BF16") + tensor("output", "4", data_type="BF16")
    written(tmp_path, config, [4], kind=TensorProto.BFLOAT16)
    found = told(tmp_path, Host(release))
    assert [one.code for one in found] == expected
    assert [one.line for one in found] == [3, 4][: len(expected)]


def test_an_optional_input_has_the_type_that_it_has_in_the_graph(tmp_path: Path) -> None:
    written(tmp_path, tensor("input", "4") + tensor("output", "4"), [4])
    file = tmp_path / "m" / "1" / "model.onnx"
    graph = helper.make_graph(
        [helper.make_node("Mul", ["X", "W"], ["Y"])],
        "graph",
        [helper.make_tensor_value_info(name, FLOAT, [4]) for name in "XW"],
        [helper.make_tensor_value_info("Y", FLOAT, [4])],
        [helper.make_tensor("W", FLOAT, [4], [1.0] * 4)],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    file.write_bytes(made.SerializeToString())
    config = tmp_path / "m" / "config.pbtxt"
    optional = 'input { name: "W" data_type: TYPE_INT32 dims: [ 4 ] optional: true }\n'
    config.write_text(config.read_text() + optional)
    (one,) = told(tmp_path)
    assert (one.code, one.line) == ("TRN613", 6)
    assert "datatype TYPE_INT32" in refused(tmp_path)
    config.write_text(config.read_text().replace("INT32", "FP32"))
    assert told(tmp_path) == []
    assert refused(tmp_path) == ""
