"""Tabular: the columns of a row in, its prediction out, and of a classifier the probability of each class."""

from __future__ import annotations

from builder import members
from builder.ensemble import Facts, Pipeline


def pipeline(facts: Facts) -> Pipeline:
    """Return the graph alone: it takes the columns as they are."""
    names = [tensor.name for tensor in facts.outputs]
    return Pipeline(
        description="columns in, prediction and probabilities out",
        samples="columns",
        main="probabilities" if "probabilities" in names else names[0],
        precisions=("fp32",),
        members=(members.graph(facts.inputs, facts.outputs, "rows of a table are of one size", suffix=""),),
    )
