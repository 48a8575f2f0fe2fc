"""Inputs, outputs and batching of a config that lacks them, read off the graph; where Triton allows it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backends.onnxruntime import sessions, tensors
from backends.onnxruntime.options import Options
from backends.onnxruntime.tensors import Graph, Tensor
from backends.onnxruntime.values import Refused

_DEFAULT_MAX_BATCH_SIZE = 4
"""Of Triton: `--backend-config=default-max-batch-size`, which no Python model is told."""


def is_whole(config: Mapping[str, Any]) -> bool:
    """Return whether a config says enough that the C++ backend adds nothing to it."""
    return bool((config.get("input") or config.get("batch_input")) and config.get("output"))


def complete(found: Any, graph: Graph) -> None:
    """Add what is missing to pb_utils' ModelConfig; raise Refused where the graph cannot batch as told."""
    config = found.as_dict()
    _complete_batching(found, config, graph)
    for kind, theirs in (("input", graph.inputs), ("output", graph.outputs)):
        if not config.get(kind) and not (kind == "input" and config.get("batch_input")):
            # not by add_input: it knows no reshape
            config[kind] = [_entry(tensor, config["max_batch_size"] > 0) for tensor in theirs]


def read(model: Path, config: Mapping[str, Any]) -> Graph:
    """Return the graph of a version's folder, loaded as lightly as can be."""
    file = sessions.path(str(model.parent), model.name, config)
    return tensors.graph(sessions.load(file, Options(intra_op_threads=1, graph_level="ORT_DISABLE_ALL")))


def _complete_batching(found: Any, config: Mapping[str, Any], graph: Graph) -> None:
    can = all(tensor.shape[:1] == (-1,) for tensor in (*graph.inputs, *graph.outputs))
    if not can:
        if config["max_batch_size"]:
            raise Refused(
                f"autofill failed for model '{config['name']}': model does not support batching while "
                "non-zero max_batch_size is specified"
            )
        return
    if not config["max_batch_size"]:
        found.set_max_batch_size(_DEFAULT_MAX_BATCH_SIZE)
    if config["max_batch_size"] > 1 and "sequence_batching" not in config:
        found.set_dynamic_batching()


def _entry(tensor: Tensor, batches: bool) -> dict[str, Any]:
    if tensor.type not in tensors.TRITON_TYPES:
        raise Refused(
            f"autofill failed: '{tensor.name}' is a {tensor.type}, which Triton does not carry here"
        )
    dims = list(tensor.shape[1:] if batches else tensor.shape)
    entry = {"name": tensor.name, "data_type": tensors.TRITON_TYPES[tensor.type], "dims": dims or [1]}
    return entry | ({"reshape": {"shape": []}} if batches and not dims else {})
