"""A program of torch.export: the tensors that it takes in and gives out."""

from __future__ import annotations

from builder import graph

HUGGING_FACE_CLASS: str = graph.HUGGING_FACE_CLASS
PIPELINES: tuple[str, ...] = ("tensors",)
EXPORTER: str = "exported_program"
PREFIX: str = graph.PREFIX

weights = graph.weights
dimensions = graph.dimensions
