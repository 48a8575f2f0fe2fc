"""XLM-RoBERTa, and what shares its graph: BGE-M3, multilingual E5, BGE rerankers, ..."""

from __future__ import annotations

from builder.architectures import roberta

HUGGING_FACE_CLASS: str = "XLMRobertaModel"

PIPELINES = roberta.PIPELINES
EXPORTER = roberta.EXPORTER
PREFIX = roberta.PREFIX
HUGGING_FACE = roberta.HUGGING_FACE
weights = roberta.weights
dimensions = roberta.dimensions
