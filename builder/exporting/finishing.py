"""From a graph as torch exports it to the file that is served: fusible, quantized, labelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from builder.exporting import fused_attention, fusible, graph_file, labels, precision

LABELLED = ("classification", "image_classification")
"""Pipelines whose answer is one label of a whole input."""


def finish(model: Any, asked: Mapping[str, Any], inputs: Sequence[Mapping[str, Any]] = ()) -> None:
    """Write an onnx ModelProto as the request asks.

    Read are `out`, `output`, `pipeline`, `precision` and `labels`; further `device`, cpu or gpu,
    `onnxruntime`, the version that will serve, and `strings`, whether the best label's name is an output,
    which by default are the CPU, the version that is here, and yes; and `fused`, whether operators of ONNX
    Runtime's own may be used. `inputs` are what the graph can be run on.

    Raises:
        ConversionError: the labels do not fit, nothing can be quantized, or the graph breaks a rule of ONNX.
    """
    import onnxruntime

    runtime = asked.get("onnxruntime") or onnxruntime.__version__
    fusible.prepare(model, asked.get("device", "cpu"), runtime)
    if asked.get("fused"):
        fused_attention.merge_projections(model)
    precision.after_export(model, asked["precision"], inputs)
    if asked["pipeline"] in LABELLED and asked.get("strings", True):
        labels.add(model, asked["output"], asked["labels"])
    _forget_traces(model)
    graph_file.write(model, Path(asked["out"]), _bytes(model))


def _forget_traces(model: Any) -> None:
    """Drop where in which source file each node came from: it differs between machines."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""


def _bytes(model: Any) -> int:
    return sum(len(weight.raw_data) for weight in model.graph.initializer)
