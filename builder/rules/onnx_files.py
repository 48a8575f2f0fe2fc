"""TRN61x: an .onnx file against the config that serves it. Triton: onnxruntime_backend/src/onnxruntime.cc."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from builder import onnx_graph
from builder.data_types import spelled
from builder.layout import Model
from builder.onnx_graph import TRITON_TYPES, Graph
from builder.planning import versions
from builder.rule import Fault, Host, rule


@rule("TRN611")
def onnx_truncated(model: Model) -> Iterator[Fault]:
    """An .onnx file is whole: every field ends where the file ends.

    Bad:
        backend: "onnxruntime"
        == m/1/model.onnx
        This is no ONNX.
    Good:
        backend: "onnxruntime"
        == m/1/model.onnx
    """
    for version in model.served:
        for path in model.files_below(version, ".onnx"):
            try:
                onnx_graph.read(path)
            except onnx_graph.Broken as problem:
                yield Fault(
                    (),
                    f"{path.name} is no whole ONNX file: {problem} ({path.stat().st_size:,} bytes are there)",
                    "copy the file again, or build this version again with `builder build`",
                    file=str(path.relative_to(model.path)),
                )


@rule("TRN612")
def onnx_tensor_unknown(model: Model, config: Any) -> Iterator[Fault]:
    """The config's inputs and outputs are those of the graph, all of its inputs among them.

    Controls and states of the sequence batcher and batch_input are inputs too.

    Triton: configuration expects 1 inputs, model provides 2
    """
    more = {tensor.name for tensor in config.sequence_batching.control_input}
    more |= {state.input_name for state in config.sequence_batching.state}
    more |= {name for tensor in config.batch_input for name in tensor.target_name}
    for path, graph in graphs(model):
        for kind, tensors in (("input", graph.inputs), ("output", graph.outputs)):
            names = {tensor.name for tensor in tensors}
            free = {tensor.name for tensor in graph.defaults} if kind == "input" else set()
            told = [tensor.name for tensor in getattr(config, kind)]
            for place, name in enumerate(told):
                if name not in names | free:
                    yield Fault(
                        (kind, place),
                        f"unexpected inference {kind} '{name}', allowed {kind}s are: "
                        f"{', '.join(sorted(names))}",
                        f"write one of the names that {path.name} has",
                    )
            missing = sorted(names - set(told) - more) if kind == "input" and told else []
            if missing:
                yield Fault(
                    ("input", 0),
                    f"unable to load model '{model.name}', configuration expects {len(told) + len(more)} "
                    f"inputs, model provides {len(names)}: {', '.join(missing)} lacks",
                    "add it to the config",
                )


@rule("TRN613")
def onnx_data_type(model: Model, config: Any) -> Iterator[Fault]:
    """A tensor has in the config the data type that it has in the graph.

    Triton: configuration expects datatype TYPE_INT32 for input 'X', model provides TYPE_INT64
    """
    for kind, place, mine, theirs in both(model, config):
        wanted = TRITON_TYPES.get(theirs.element_type)
        if mine.data_type and wanted and mine.data_type != wanted:
            yield Fault(
                (kind, place, "data_type"),
                f"unable to load model '{model.name}', configuration expects datatype "
                f"{spelled(mine.data_type)} for {kind} '{mine.name}', model provides {spelled(wanted)}",
                f"write data_type: {spelled(wanted)}",
            )


@rule("TRN614")
def onnx_shape(model: Model, config: Any) -> Iterator[Fault]:
    """A tensor has in the config the dims that it has in the graph; with max_batch_size without the batch.

    Where the graph leaves a dimension open, an input may be told narrower, an output may not.

    Triton: model 'm', tensor 'X': the model expects 2 dimensions (shape [-1,4]) but the model configuration
        specifies 3 dimensions (an initial batch dimension because max_batch_size > 0 followed by the explicit
        tensor shape, making complete shape [-1,-1,4])
    """
    batches = config.max_batch_size > 0
    for kind, place, mine, theirs in both(model, config):
        # scalars and ragged inputs have rules of their own
        if not theirs.dims or not mine.dims or is_laid_flat(config, kind, mine):
            continue
        wanted, dims = list(theirs.dims), dims_of(mine)
        told = [-1, *dims] if batches else dims
        hint = ""
        if len(told) == len(wanted) + 1 and batches:
            hint = " (max_batch_size is above 0: leave the batch out of dims)"
        first = 1 if batches else 0
        fits = len(told) == len(wanted) and all(
            theirs_ == mine_ or (theirs_ == -1 and kind == "input")
            for mine_, theirs_ in zip(told[first:], wanted[first:], strict=True)
        )
        if not fits:
            yield Fault(
                (kind, place, "dims"),
                f"model '{model.name}', tensor '{mine.name}': the model expects {len(wanted)} dimensions "
                f"(shape {wanted}) "
                f"but the model configuration specifies {len(told)} dimensions ({told}){hint}",
                f"write dims: {wanted[1:] if batches else wanted}",
            )


@rule("TRN615")
def onnx_batch_axis_fixed(model: Model, config: Any) -> Iterator[Fault]:
    """With max_batch_size the first axis of every tensor of the graph is open.

    Triton: model does not support batching while non-zero max_batch_size is specified
    """
    for kind, _, mine, theirs in both(model, config) if config.max_batch_size > 0 else ():
        if theirs.dims and theirs.dims[0] != -1 and not is_laid_flat(config, kind, mine):
            yield Fault(
                ("max_batch_size",),
                f"model '{model.name}', tensor '{mine.name}': for the model to support batching the shape "
                "should have at least 1 dimension and the first dimension must be -1; but shape expected by "
                f"the model is {list(theirs.dims)}",
                "export it with a dynamic first axis, or write max_batch_size: 0 and all dims",
            )


@rule("TRN616")
def onnx_too_new(model: Model, host: Host) -> Iterator[Fault]:
    """A graph's opset and IR version are ones that the server's ONNX Runtime knows.

    See https://onnxruntime.ai/docs/reference/compatibility.html.
    """
    runtime = versions.before(host.triton).onnxruntime
    known = versions.opset("onnxruntime", runtime)
    for path, graph in graphs(model):
        if known and (graph.opset > known[0] or graph.ir_version > known[1]):
            yield Fault(
                (),
                f"{path.name} has opset {graph.opset} and IR version {graph.ir_version}; ONNX Runtime "
                f"{runtime} of Triton {host.triton} knows up to {known[0]} and {known[1]}",
                f"export it with opset {known[0]}, or serve it by a later release",
                file=str(path.relative_to(model.path)),
            )


@rule("TRN617")
def onnx_optional_input_batches(model: Model, config: Any) -> Iterator[Fault]:
    """The onnxruntime backend has optional inputs only in models that do not batch.

    Triton: optional input 'X' is not supported for models that support batching
    """
    if model.backend != "onnxruntime" or not config.max_batch_size:
        return
    for place, tensor in enumerate(config.input):
        if tensor.optional:
            yield Fault(
                ("input", place, "optional"),
                f"optional input '{tensor.name}' is not supported for models that support batching",
                "remove optional, or max_batch_size",
            )


@rule("TRN618")
def onnx_data_missing(model: Model) -> Iterator[Fault]:
    """The files that hold an .onnx file's weights lie beside it.

    Triton: Non-zero status code returned while running: external data file not found
    """
    for path, graph in graphs(model):
        folder = path.parent.relative_to(model.path)
        for name in graph.data:
            if model.file(str(folder), name) is None:
                yield Fault(
                    (),
                    f"{path.name} keeps weights in {name}, which is not beside it",
                    f"copy {name} into {model.name}/{folder}",
                    file=str(folder / name),
                )


def is_onnx(model: Model) -> bool:
    """Say whether Triton's onnxruntime backend runs a model, by what its config names."""
    return model.config is not None and "onnxruntime" in (
        model.backend,
        str(model.config.platform).split("_")[0],
    )


def graphs(model: Model) -> Iterator[tuple[Path, Graph]]:
    """Yield the file of each served version with its graph, those that can be read."""
    for version in model.served if is_onnx(model) else ():
        path = model.file(str(version), model.config.default_model_filename or "model.onnx")
        if path is not None:
            try:
                yield path, onnx_graph.read(path)
            except onnx_graph.Broken:
                continue


def is_laid_flat(config: Any, kind: str, tensor: Any) -> bool:
    """Say whether the graph has a tensor of the config without its rows: a ragged input, a cut output."""
    if kind == "input":
        return bool(tensor.allow_ragged_batch)
    return any(tensor.name in cut.target_name for cut in config.batch_output)


def dims_of(tensor: Any) -> list[int]:
    """Return the dims that the config tells the graph's tensor to have, without the batch."""
    return list(tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims)


def both(model: Model, config: Any) -> Iterator[tuple[str, int, Any, onnx_graph.Tensor]]:
    """Yield "input" or "output", the place in the config, the config's tensor and the graph's."""
    for _, graph in graphs(model):
        inputs = (*graph.inputs, *graph.defaults)
        for kind, tensors in (("input", inputs), ("output", graph.outputs)):
            named = {tensor.name: tensor for tensor in tensors}
            for place, tensor in enumerate(getattr(config, kind)):
                if tensor.name in named:
                    yield kind, place, tensor, named[tensor.name]
