"""A scikit-learn estimator or pipeline: columns in, prediction and probabilities out."""

from __future__ import annotations

from builder import graph

HUGGING_FACE_CLASS: str = graph.HUGGING_FACE_CLASS
PIPELINES: tuple[str, ...] = ("tabular",)
EXPORTER: str = "sklearn"
PREFIX: str = graph.PREFIX

weights = graph.weights
dimensions = graph.dimensions
