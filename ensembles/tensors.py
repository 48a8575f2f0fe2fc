"""Tensors: a graph as it is, the tensors that it takes in and those that it gives out."""

from __future__ import annotations

from builder import members
from builder.ensemble import Facts, Pipeline


def pipeline(facts: Facts) -> Pipeline:
    """Return the graph alone; it batches where all its tensors begin with a dimension for that."""
    why = (
        "every tensor begins with a dimension for the rows of a batch"
        if facts.batches
        else "not every tensor of the graph begins with a dimension that may vary"
    )
    return Pipeline(
        description="tensors in, tensors out",
        samples="tensors",
        main=facts.outputs[0].name,
        precisions=("fp32",),
        members=(members.graph(facts.inputs, facts.outputs, why, suffix="", batches=facts.batches),),
    )
