"""Tensors at random, answered by the graph or the program as it was given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from builder import house
from builder.proving.sample import Array, Asked, Case, Samples, plain

LAYOUTS = ("one after the other",)
_COUNT = 32
_ASKED = 8


def reference(asked: Asked) -> str:
    """Return what answers for the source: the library that it was made with."""
    return f"the {asked.model_type} model itself"


def samples(asked: Asked) -> Samples:
    """Return random tensors with the source's outputs; sizes that may vary are the same for all."""
    module = house.plugin("proving.originals", asked.model_type, option="model_type")
    predict = module.load(asked.source, asked.config)
    batches = bool(asked.config.get("batches", True))
    cases, asks = [], []
    for number in range(_COUNT):
        made = module.samples(asked.config, 1, number)
        # the originals put a dimension for rows first, also where the graph has none
        rows = {name: values[0] for name, values in predict(made).items()}
        given = made if batches else {name: values[0] for name, values in made.items()}
        cases.append(Case(f"random tensors {number}", given, np.asarray(rows[asked.main])))
        if number < _ASKED:
            inputs = {name: values[0].tolist() for name, values in made.items()}
            outputs = {name: plain(values) for name, values in rows.items() if values.dtype.kind in "fiu"}
            asks.append({"id": f"random tensors {number}", "inputs": inputs, "outputs": outputs})
    return Samples(cases, asks)


def feeds(cases: Sequence[Case], layout: str) -> dict[str, Array]:
    """Return each input with the rows of all cases; a graph that does not batch has one case."""
    if len(cases) == 1:
        return dict(cases[0].given)
    return {name: np.concatenate([case.given[name] for case in cases]) for name in cases[0].given}


def split(output: Array, cases: Sequence[Case]) -> list[Array]:
    """Return each row; a graph that does not batch is asked one case at a time."""
    # by the shape, not the length: the one answer of such a graph may itself be of one row
    return [output] if np.shape(output) == np.shape(cases[0].expected) else list(output)
