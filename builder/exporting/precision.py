"""What a graph computes in: float32, float16, or 8-bit integers where matrices of weights are multiplied.

float16 is torch's own: the family's code says what stays in float32 there, such as rotary angles. Pooling and
scores after the last layer stay in float32 always.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from builder.errors import ConversionError
from builder.exporting import outliers, processor, row_int8

PRECISIONS = ("fp32", "fp16", "int8")


def before_export(model: Any, precision: str) -> None:
    """Change a transformers model to what it is exported in; raise ConversionError for one unknown here."""
    if precision not in PRECISIONS:
        raise ConversionError(
            f"there is no precision {precision}",
            expected=", ".join(PRECISIONS),
            remedy="choose another --quantize",
        )
    if precision == "fp16":
        model.half()


def after_export(graph: Any, precision: str, inputs: Sequence[Mapping[str, Any]] = ()) -> None:
    """Change the exported graph, an onnx ModelProto; raise ConversionError where int8 finds nothing to do.

    `inputs` are what the graph is run on, to see which of its numbers become large.
    """
    if precision == "int8":
        largest = outliers.largest(graph, row_int8.activations(graph), inputs)
        row_int8.quantize(graph, largest, seven_bits=not processor.sums_bytes_exactly())
