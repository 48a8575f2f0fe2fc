"""A bare `.onnx` file: its inputs and outputs are read without the onnx package, its weights not at all."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from builder import graph, onnx_graph, reading
from builder.errors import SourceError
from builder.onnx_graph import Graph, Tensor
from builder.source import Checkpoint, fingerprint

SUFFIX = ".onnx"
EXPECTED = "a whole .onnx file"

DATA_TYPES = {
    1: "FP32", 2: "UINT8", 3: "INT8", 4: "UINT16", 5: "INT16", 6: "INT32", 7: "INT64", 8: "STRING",
    9: "BOOL", 10: "FP16", 11: "FP64", 12: "UINT32", 13: "UINT64",
}  # fmt: skip
"""Triton's names by ONNX's TensorProto.DataType; its backend carries BF16 only from release 26.03 on."""


def recognises(reference: str) -> bool:
    """Say whether the reference is called like an ONNX file."""
    return reference.lower().endswith(SUFFIX) and not reference.startswith("package:")


def read(reference: str, revision: str | None) -> Checkpoint:
    """Read what a graph says of its tensors; `revision` has no meaning for it.

    The config holds `inputs` and `outputs` (name, Triton's data type, dims), `batches` (every tensor begins
    with an open dimension, which the dims then leave out), `opset`, `ir_version` and `weight_bytes`.

    Raises:
        SourceError: no whole ONNX file, weights that lie elsewhere, or tensors that Triton cannot carry.
    """
    path = Path(reference)
    graph.require_file(path, EXPECTED)
    try:
        found = onnx_graph.read(path)
    except (onnx_graph.Broken, reading.Refused) as problem:
        raise SourceError(
            f"{path} is no whole ONNX file: {problem}", expected=EXPECTED, remedy="fetch or export it again"
        ) from problem
    files = (path, *_data_files(path, found))
    config = {
        "model_type": "onnx",
        **_tensors(path, found),
        "opset": found.opset,
        "ir_version": found.ir_version,
        "weight_bytes": sum(file.stat().st_size for file in files),
    }
    return Checkpoint(
        format="onnx",
        origin=reference,
        path=path,
        files=files,
        config=config,
        tensors={},
        tokenizer_files={},
        chat_template=None,
        fingerprint=fingerprint(files, [repr(found).encode()]),
        revision=revision or "",
    )


def _data_files(path: Path, found: Graph) -> list[Path]:
    """Return the files of weights beside the model; raise SourceError for one that is absent or elsewhere."""
    for name in found.data:
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts:
            raise SourceError(
                f"{path} keeps weights in {name}, outside of its own folder",
                expected="external data beside the model",
                remedy="save the model again, with its external data beside it",
            )
        if not (path.parent / name).is_file():
            raise SourceError(
                f"{path} keeps weights in {name}, which is not beside it",
                expected=str(path.parent / name),
                remedy=f"put {name} beside {path.name}",
            )
    return [path.parent / name for name in found.data]


def _tensors(path: Path, found: Graph) -> dict[str, Any]:
    inputs = [_tensor(path, "input", one) for one in found.inputs]
    outputs = [_tensor(path, "output", one) for one in found.outputs]
    if not inputs or not outputs:
        raise SourceError(
            f"{path} has {len(inputs)} inputs and {len(outputs)} outputs",
            expected="at least one of each",
            remedy="export the model with its inputs and outputs",
        )
    every = [*inputs, *outputs]
    return graph.without_batch(inputs, outputs, all(one["dims"][:1] == [-1] for one in every))


def _tensor(path: Path, kind: str, found: Tensor) -> dict[str, Any]:
    if found.dims is None:
        raise SourceError(
            f"{path}: {kind} {found.name!r} states no shape",
            expected="a number or a name for each of its dimensions",
            remedy="write the shapes into the graph: onnx.shape_inference.infer_shapes_path(MODEL)",
        )
    if found.element_type not in DATA_TYPES:
        raise SourceError(
            f"{path}: {kind} {found.name!r} has ONNX's element type {found.element_type}",
            expected=f"a tensor of {', '.join(DATA_TYPES.values())}, which Triton carries",
            remedy=f"cast it inside the graph, or export the model without that {kind}",
        )
    return graph.tensor(found.name, DATA_TYPES[found.element_type], found.dims)
