"""A bare ONNX graph, served as it is: the tensors that it takes in and gives out."""

from __future__ import annotations

from builder import graph

HUGGING_FACE_CLASS: str = graph.HUGGING_FACE_CLASS
PIPELINES: tuple[str, ...] = ("tensors",)
EXPORTER: str = "onnx_graph"
PREFIX: str = graph.PREFIX

weights = graph.weights
dimensions = graph.dimensions
