"""Many requests as one run of the graph, and its outputs back to each: what Triton's C++ backends do.

Shapes: a request's tensor is [rows, *dims] in a model that batches, [*dims] in one that does not; a `reshape`
of the config Triton itself has done before a backend sees the input, and does after it sees the output. A
ragged input is handed to the graph flat, [elements of all requests]; `batch_input` tells where each begins.
Triton: backend/src/backend_input_collector.cc, backend_output_responder.cc.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]

_TYPES = {"TYPE_INT32": np.int32, "TYPE_FP32": np.float32}


@dataclass(frozen=True)
class Layout:
    """How a model's requests are laid together.

    `ragged` and `scalars` are inputs; `scattered` gives for an output of `batch_output` the input by whose
    shape it is cut; `dims` are those of each output as the graph has them, without the batch.
    """

    batches: bool
    ragged: frozenset[str]
    scalars: frozenset[str]
    batch_inputs: Sequence[Mapping[str, Any]]
    scattered: Mapping[str, str]
    dims: Mapping[str, Sequence[int]]


def layout(config: Mapping[str, Any], scalars: Iterable[str] = ()) -> Layout:
    """Read a layout of a config; `scalars` are the inputs that have no dims in the graph."""
    return Layout(
        batches=config.get("max_batch_size", 0) > 0,
        ragged=frozenset(one["name"] for one in config.get("input", ()) if one.get("allow_ragged_batch")),
        scalars=frozenset(scalars),
        batch_inputs=config.get("batch_input", ()),
        scattered={
            target: one["source_input"][0]
            for one in config.get("batch_output", ())
            for target in one["target_name"]
        },
        dims={one["name"]: dims(one) for one in config.get("output", ())},
    )


def dims(tensor: Mapping[str, Any]) -> list[int]:
    """Return the dims that a tensor of the config has in the graph."""
    told = tensor["reshape"].get("shape", ()) if "reshape" in tensor else tensor["dims"]
    return [int(dim) for dim in told]


def rows(request: Arrays) -> int:
    """Return how many rows of the batch a request is."""
    return int(next(iter(request.values())).shape[0])


def feeds(requests: Sequence[Arrays], layout: Layout) -> dict[str, NDArray[Any]]:
    """Return the graph's inputs for requests that are run together."""
    found = {name: _together([request[name] for request in requests], name, layout) for name in requests[0]}
    for one in layout.batch_inputs:
        made = _batch_input(one["kind"], [request[one["source_input"][0]] for request in requests])
        found |= dict.fromkeys(one["target_name"], made.astype(_TYPES[one["data_type"]]))
    return found


def parts(name: str, output: NDArray[Any], requests: Sequence[Arrays], layout: Layout) -> list[NDArray[Any]]:
    """Return each request's share of an output.

    Raises:
        ValueError: the output has less than the requests' shares are together.
    """
    if name in layout.scattered:
        sources = [request[layout.scattered[name]] for request in requests]
        return _scattered(name, output, sources, layout)
    if not output.ndim:
        output = output.reshape(layout.dims[name])
    if not layout.batches:
        return [output]
    counts = [rows(request) for request in requests]
    found = output.shape[0] if output.ndim else 0
    _require_enough(name, sum(counts), found)
    if counts == [found]:
        return [output]
    return np.split(output, np.cumsum(counts))[:-1]


def _together(arrays: Sequence[NDArray[Any]], name: str, layout: Layout) -> NDArray[Any]:
    if name in layout.ragged:
        flat = [array.reshape(-1) for array in arrays]
        return flat[0] if len(flat) == 1 else np.concatenate(flat)
    if name in layout.scalars:
        # one value for the whole run, the first request's, as in the C++ backend
        return arrays[0].reshape(-1)[:1].reshape(())
    # what is alone goes to the graph as it lies in shared memory
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _batch_input(kind: str, source: Sequence[NDArray[Any]]) -> NDArray[Any]:
    counts = np.array([array.size for array in source], dtype=np.int64)
    if kind == "BATCH_ELEMENT_COUNT":
        return counts
    if kind == "BATCH_ACCUMULATED_ELEMENT_COUNT":
        return np.cumsum(counts)
    if kind == "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO":
        return np.concatenate([[0], np.cumsum(counts)])
    if kind == "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE":
        return np.zeros(int(counts.max()))
    shapes = np.array([array.shape[1:] for array in source], dtype=np.int64)
    items = np.repeat(shapes, [array.shape[0] for array in source], axis=0)
    if kind == "BATCH_ITEM_SHAPE":
        return items
    if kind == "BATCH_ITEM_SHAPE_FLATTEN":
        return items.reshape(-1)
    raise ValueError(f"unexpected batch input kind '{kind}'")


def _scattered(
    name: str, output: NDArray[Any], sources: Sequence[NDArray[Any]], layout: Layout
) -> list[NDArray[Any]]:
    """Cut a flat output: a share has the output's dims, each open one of the size that the source's has."""
    told = [-1, *layout.dims[name]] if layout.batches else layout.dims[name]
    shapes = [
        [source.shape[axis] if size == -1 else size for axis, size in enumerate(told)] for source in sources
    ]
    ends = np.cumsum([np.prod(shape, dtype=np.int64) for shape in shapes])
    _require_enough(name, int(ends[-1]), output.size)
    shares = np.split(output.reshape(-1), ends)[:-1]
    return [share.reshape(shape) for share, shape in zip(shares, shapes, strict=True)]


def _require_enough(name: str, wanted: int, found: int) -> None:
    if found < wanted:
        raise ValueError(
            f"failed to split the output tensor '{name}' in responses: expected batch size of atleast "
            f"{wanted} in model output, got {found}"
        )
