"""TRN30x: inputs and outputs. Triton: ValidateModelInput, ValidateModelOutput and ValidateIOShape in
core/src/model_config_utils.cc."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from builder.completion import completes
from builder.data_types import BYTES, elements
from builder.layout import Model
from builder.rule import Fault, Host, rule
from builder.textproto import Path

_LARGEST = 2**63 - 1


@rule("TRN301")
def tensor_without_name(model: Model, config: Any) -> Iterator[Fault]:
    """Every input and output has a name.

    Triton: model input must specify 'name' for m
    Bad:
        input { data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    Good:
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    """
    for path, kind, tensor in _tensors(config):
        if not tensor.name:
            yield Fault(path, f"model {kind} must specify 'name' for {model.name}", "write its name")


@rule("TRN302")
def tensor_without_data_type(model: Model, config: Any, host: Host) -> Iterator[Fault]:
    """Every input and output has a data type, unless the backend reads it from the model's file.

    Triton: model input 'X' must specify 'data_type' for m
    Bad:
        input { name: "X" dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    Good:
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    """
    for path, kind, tensor in _tensors(config):
        if tensor.name and not tensor.data_type and not completes(model, host):
            yield Fault(
                path,
                f"model {kind} '{tensor.name}' must specify 'data_type' for {model.name}",
                "write data_type, such as TYPE_FP32; text is TYPE_STRING",
            )


@rule("TRN303")
def tensor_without_dims(model: Model, config: Any, host: Host) -> Iterator[Fault]:
    """Every input and output has dims, unless the backend reads them from the model's file.

    A scalar is written as `dims: [ 1 ]`. With max_batch_size above 0 the dims leave out the batch.

    Triton: model input 'X' must specify 'dims' for m
    Bad:
        input { name: "X" data_type: TYPE_FP32 }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    Good:
        input { name: "X" data_type: TYPE_FP32 dims: [ 1 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    """
    for path, kind, tensor in _tensors(config):
        if tensor.name and not tensor.dims and not completes(model, host):
            yield Fault(
                path,
                f"model {kind} '{tensor.name}' must specify 'dims' for {model.name}",
                "write dims, such as [ -1 ] for any length",
            )


@rule("TRN304")
def empty_reshape_needs_batches(model: Model, config: Any) -> Iterator[Fault]:
    """Only a model that batches may reshape a tensor to nothing but the batch.

    Triton: model input 'X' cannot have empty reshape for non-batching model as scalar tensors are not
        supported for m
    Bad:
        input { name: "X" data_type: TYPE_FP32 dims: [ 1 ] reshape { shape: [ ] } }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    Good:
        max_batch_size: 8
        input { name: "X" data_type: TYPE_FP32 dims: [ 1 ] reshape { shape: [ ] } }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    """
    for path, kind, tensor in _tensors(config):
        if tensor.HasField("reshape") and not tensor.reshape.shape and config.max_batch_size == 0:
            yield Fault(
                (*path, "reshape"),
                f"model {kind} '{tensor.name}' cannot have empty reshape for non-batching model as scalar "
                f"tensors are not supported for {model.name}",
                "write reshape { shape: [ 1 ] }, or remove reshape",
            )


@rule("TRN305")
def dimension_positive(model: Model, config: Any) -> Iterator[Fault]:
    """A dimension is 1 or more, or -1 where it may vary.

    Triton: model input 'X' dimension must be integer >= 1, or -1 to indicate a variable-size dimension for m
    Bad:
        input { name: "X" data_type: TYPE_FP32 dims: [ 0, 3 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    Good:
        input { name: "X" data_type: TYPE_FP32 dims: [ -1, 3 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    """
    for path, kind, tensor in _tensors(config):
        lists = [("", (*path, "dims"), tensor.dims)]
        lists += [("reshape ", (*path, "reshape", "shape"), tensor.reshape.shape)]
        for word, where, dims in lists:
            noun = "dimensions" if word else "dimension"
            for place, size in enumerate(dims):
                if size < 1 and size != -1:
                    yield Fault(
                        (*where, place),
                        f"model {kind} '{tensor.name}' {word}{noun} must be integer >= 1, or -1 to indicate "
                        f"a variable-size dimension for {model.name}: it is {size}",
                        "write -1 if it may vary, else its size",
                    )


@rule("TRN306")
def reshape_keeps_size(model: Model, config: Any) -> Iterator[Fault]:
    """A reshape keeps the number of elements, between any two variable dimensions too.

    Triton: model input 'X' has different size for dims and reshape for m
    Bad:
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] reshape { shape: [ 3 ] } }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    Good:
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] reshape { shape: [ 2, 2 ] } }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    """
    for path, kind, tensor in _tensors(config):
        if not tensor.HasField("reshape") or not tensor.dims:
            continue
        dims, shape = list(tensor.dims), list(tensor.reshape.shape)
        if not shape and math.prod(dims) == 1:
            continue
        problem = ""
        if dims.count(-1) != shape.count(-1):
            problem = "has different number of variable-size dimensions for dims and reshape"
        elif _segments(dims) != _segments(shape) or not shape:
            problem = "has different size for dims and reshape"
        if problem:
            yield Fault(
                (*path, "reshape", "shape"),
                f"model {kind} '{tensor.name}' {problem} for {model.name}: {dims}, {shape}",
                f"write a shape of {elements(dims)} elements"
                if min(dims) > 0
                else "write a shape of the same number of elements, and of variable dimensions",
            )


@rule("TRN307")
def image_has_three_dims(model: Model, config: Any) -> Iterator[Fault]:
    """An input of format NHWC or NCHW has 3 dims.

    Triton: model input NHWC/NCHW require 3 dims for m
    Bad:
        input { name: "X" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 224, 224 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    Good:
        input { name: "X" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 3, 224, 224 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    """
    for place, tensor in enumerate(config.input):
        if tensor.format != tensor.FORMAT_NONE and len(tensor.dims) != 3:
            yield Fault(
                ("input", place, "dims"),
                f"model input NHWC/NCHW require 3 dims for {model.name}: "
                f"'{tensor.name}' has {len(tensor.dims)}",
                "write the three dims without the batch, or remove format",
            )


@rule("TRN308")
def shape_tensor_is_tensorrt(model: Model, config: Any) -> Iterator[Fault]:
    """Only TensorRT has shape tensors.

    Triton: shape tensors are only supported for TensorRT platform for m
    Bad:
        input { name: "X" data_type: TYPE_INT32 dims: [ 4 ] is_shape_tensor: true }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    Good:
        input { name: "X" data_type: TYPE_INT32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    """
    for path, kind, tensor in _tensors(config):
        if tensor.is_shape_tensor and not _is_tensorrt(config):
            yield Fault(
                (*path, "is_shape_tensor"),
                f"shape tensors are only supported for TensorRT platform: "
                f"{kind} '{tensor.name}' of {model.name}",
                "remove is_shape_tensor",
            )


@rule("TRN309")
def non_linear_format_is_tensorrt(model: Model, config: Any) -> Iterator[Fault]:
    """Only TensorRT has non-linear formats, and only of 3 dims.

    Triton: Non-linear IO format is only supported for the TensorRT platform
    Bad:
        input { name: "X" data_type: TYPE_FP16 dims: [ 3, 8, 8 ] is_non_linear_format_io: true }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    Good:
        input { name: "X" data_type: TYPE_FP16 dims: [ 3, 8, 8 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    """
    for path, kind, tensor in _tensors(config):
        if not tensor.is_non_linear_format_io:
            continue
        problem = "is only supported for the TensorRT platform" if not _is_tensorrt(config) else ""
        if not problem and len(tensor.dims) != 3:
            problem = f"{kind} requires 3 dims"
        if problem:
            yield Fault(
                (*path, "is_non_linear_format_io"),
                f"Non-linear IO format {problem}: '{tensor.name}' of {model.name}",
                "remove is_non_linear_format_io",
            )


@rule("TRN310")
def size_overflows(model: Model, config: Any, host: Host) -> Iterator[Fault]:
    """The bytes of a tensor can be counted in 64 bits (26.03 and later refuse; earlier ones miscount)."""
    for path, kind, tensor in _tensors(config):
        known = math.prod(size for size in tensor.dims if size > 0)
        if known * BYTES.get(tensor.data_type, 4) * max(1, config.max_batch_size) > _LARGEST:
            yield Fault(
                (*path, "dims"),
                f"the dims of {kind} '{tensor.name}' of {model.name} overflow 64 bits",
                "write the dims that the model has",
                severity=None if host.has("26.03") else "warning",
            )


def _tensors(config: Any) -> Iterator[tuple[Path, str, Any]]:
    for kind in ("input", "output"):
        for place, tensor in enumerate(getattr(config, kind)):
            yield (kind, place), kind, tensor


def _segments(dims: Sequence[int]) -> list[int]:
    """Return the number of elements before, between and after the variable dimensions."""
    found = [1]
    for size in dims:
        if size == -1:
            found.append(1)
        else:
            found[-1] *= size
    return found


def _is_tensorrt(config: Any) -> bool:
    return bool(config.backend == "tensorrt" or config.platform == "tensorrt_plan")
