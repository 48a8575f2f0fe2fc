"""The name of the best label, as a string tensor that the graph itself gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from builder.errors import ConversionError

OUTPUT = "label"
_DOMAIN, _VERSION = "ai.onnx.ml", 3


def add(model: Any, scores: str, labels: Sequence[str]) -> None:
    """Give an onnx ModelProto an output `label`, string [rows, 1]: of the highest of `scores` [rows, labels].

    Of equal scores the first wins. Strings live in main memory: ONNX Runtime computes this on the CPU,
    whatever runs the rest.

    Raises:
        ConversionError: there is no output `scores`, or not one score for each label.
    """
    from onnx import TensorProto, helper

    graph = model.graph
    found = next((one for one in graph.output if one.name == scores), None)
    if found is None:
        raise ConversionError(
            f"the graph gives {', '.join(one.name for one in graph.output)}", expected=f"{scores} among them"
        )
    columns = found.type.tensor_type.shape.dim[-1].dim_value
    if columns != len(labels):
        raise ConversionError(
            f"the graph gives {columns} scores for {len(labels)} labels",
            expected="one score for each",
            remedy="make id2label and the classifier of the checkpoint agree",
        )
    best = f"{OUTPUT}/number"
    graph.node.append(helper.make_node("ArgMax", [scores], [best], name=best, axis=-1, keepdims=1))
    graph.node.append(
        helper.make_node(
            "LabelEncoder",
            [best],
            [OUTPUT],
            name=OUTPUT,
            domain=_DOMAIN,
            keys_int64s=range(len(labels)),
            values_strings=list(labels),
        )
    )
    rows = found.type.tensor_type.shape.dim[0].dim_param or "rows"
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.STRING, [rows, 1]))
    if _DOMAIN not in {one.domain for one in model.opset_import}:
        model.opset_import.append(helper.make_opsetid(_DOMAIN, _VERSION))
