"""An ONNX graph as it came, run by ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.proving.originals.drawing import samples as samples

if TYPE_CHECKING:
    from builder.proving.originals.drawing import Arrays, Original


def load(path: Path, config: Mapping[str, Any]) -> Original:
    """Return the graph as a function of its tensors; one that does not batch is asked row by row."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    ranks = {one.name: len(one.shape) for one in session.get_inputs()}
    names = [one["name"] for one in config["outputs"]]
    return rowwise(config, ranks, lambda inputs: session.run(names, inputs))


def rowwise(config: Mapping[str, Any], ranks: Mapping[str, int], run: Callable[[Arrays], Any]) -> Original:
    """Return a function of arrays [rows, ...] from one that takes tensors as the model itself wants them.

    Args:
        config: what the source wrote of the model.
        ranks: input -> its dimensions in the model, where a number of its own has none beside the batch.
        run: returns the outputs in the config's order.
    """
    import numpy as np

    def shaped(inputs: Arrays) -> Arrays:
        return {name: one.reshape(one.shape[: ranks[name]]) for name, one in inputs.items()}

    def named(found: Any, rows: int) -> Arrays:
        return {
            told["name"]: np.asarray(one).reshape(rows, *(np.asarray(one).shape[1:] or (1,)))
            for told, one in zip(config["outputs"], found, strict=True)
        }

    def answer(inputs: Arrays) -> Arrays:
        rows = len(next(iter(inputs.values())))
        if config["batches"]:
            return named(run(shaped(inputs)), rows)
        every = [
            [np.asarray(one)[None] for one in run(shaped({name: one[row] for name, one in inputs.items()}))]
            for row in range(rows)
        ]
        return named([np.concatenate(column) for column in zip(*every, strict=True)], rows)

    return answer
