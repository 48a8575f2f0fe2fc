"""A finished graph -> `model.onnx` in a folder, as Triton's onnxruntime backend looks for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from builder.errors import ConversionError

NAME, DATA = "model.onnx", "model.onnx.data"
OPSET = 18
MOST_BYTES = (2 << 30) - (1 << 20)
"""Protobuf ends at 2 GiB; a mebibyte is left for what is not weights."""

OLD_IR, OLD_OPSET = 10, 22
"""The IR version that ONNX Runtime 1.19, of Triton 24.10, knows; the last opset that needs no newer."""


def write(model: Any, folder: Path, weight_bytes: int = 0) -> None:
    """Write a ModelProto whose weights are loaded; above 2 GiB they go into a file beside it.

    Args:
        model: an onnx.ModelProto; its IR version is lowered to what older servers read, where that is safe.
        folder: is made where it is not there.
        weight_bytes: the size of all weights.

    Raises:
        ConversionError: the graph breaks a rule of ONNX.
    """
    import onnx

    if opset(model) <= OLD_OPSET:
        # newer versions of the format add types and fields that no graph of such an opset has
        model.ir_version = min(model.ir_version, OLD_IR)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    if weight_bytes > MOST_BYTES:
        onnx.save_model(model, path, save_as_external_data=True, all_tensors_to_one_file=True, location=DATA)
    else:
        path.write_bytes(model.SerializeToString(deterministic=True))
    check(path)


def check(path: Path) -> None:
    """Raise ConversionError where a graph breaks a rule of ONNX."""
    import onnx

    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        raise ConversionError(
            f"the graph breaks a rule of ONNX: {error}",
            expected="a graph that onnx.checker accepts",
            remedy="export it again with a current exporter, then check it: onnx.checker.check_model(FILE)",
        ) from error


def opset(model: Any) -> int:
    """Return the opset of ONNX's own domain, 0 for a graph that uses none of it."""
    return max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=0)
