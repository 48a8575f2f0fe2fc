"""The name of the best label, given by the graph itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import parser  # noqa: E402

from builder.errors import ConversionError  # noqa: E402
from builder.exporting import labels  # noqa: E402

NAMES = ["cat", "Fußgänger, zu zweit", "", "犬"]


def model() -> Any:
    return parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 18]>
        scores (float[rows, 4] x) => (float[rows, 4] scores) { scores = Identity (x) }"""
    )


def test_each_row_has_the_label_of_its_highest_score() -> None:
    graph = model()
    labels.add(graph, "scores", NAMES)
    onnx.checker.check_model(graph)
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    x = np.array([[0, 0, 0, 1], [9, 1, 1, 1], [0, 2, 3, 0], [0, 5, 5, 5]], np.float32)
    scores, found = session.run(["scores", "label"], {"x": x})
    np.testing.assert_array_equal(scores, x)
    assert found.tolist() == [["犬"], ["cat"], [""], ["Fußgänger, zu zweit"]]


def test_it_needs_nothing_that_old_servers_lack() -> None:
    graph = model()
    labels.add(graph, "scores", NAMES)
    assert {(one.domain, one.version) for one in graph.opset_import} == {("", 18), ("ai.onnx.ml", 3)}
    output = graph.graph.output[1].type.tensor_type
    assert output.elem_type == onnx.TensorProto.STRING
    assert [size.dim_param or size.dim_value for size in output.shape.dim] == ["rows", 1]


def test_labels_must_be_as_many_as_scores() -> None:
    with pytest.raises(ConversionError, match="4 scores for 3 labels"):
        labels.add(model(), "scores", NAMES[:3])


def test_there_must_be_scores() -> None:
    with pytest.raises(ConversionError, match="gives scores"):
        labels.add(model(), "logits", NAMES)
