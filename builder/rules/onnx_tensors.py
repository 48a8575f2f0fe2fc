"""TRN672-676: tensors of an .onnx file that NVIDIA's backend takes in a way of their own.

Source: onnxruntime_backend/src/onnxruntime.cc, ModelInstanceState::ValidateInputs and its constructor,
ModelState::AutoCompleteMaxBatch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from builder.layout import Model
from builder.onnx_graph import Graph
from builder.rule import Fault, Host, rule
from builder.rules.onnx_files import both, dims_of, graphs, is_laid_flat, is_onnx

_BF16, _BF16_SINCE = 14, "26.03"


@rule("TRN672")
def onnx_ragged_shape(model: Model, config: Any) -> Iterator[Fault]:
    """A ragged input has in the graph the one dimension -1, in which all requests lie one after the other.

    Triton: unable to load model 'm', configuration expects model provides input with shape [-1]  for ragged
        input 'X', model provides [4]
    Bad:
        backend: "onnxruntime"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] allow_ragged_batch: true }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    Good:
        backend: "onnxruntime"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    """
    for kind, place, mine, theirs in both(model, config):
        if kind == "output" or not mine.allow_ragged_batch:
            continue
        needs = (
            f"unable to load model '{model.name}', configuration expects model provides input with shape [-1]"
        )
        if mine.optional:
            yield Fault(
                (kind, place, "optional"),
                f"{needs} for ragged input '{mine.name}', which is not supported for optional input",
                "remove optional, or allow_ragged_batch",
            )
        elif theirs.dims != (-1,):
            yield Fault(
                (kind, place, "allow_ragged_batch"),
                f"{needs}  for ragged input '{mine.name}', model provides {_spelled(theirs.dims)}",
                "export a graph that takes the elements of all requests flat, with a batch_input that tells "
                "them apart; or remove allow_ragged_batch, and pad",
            )


@rule("TRN673")
def onnx_input_count(model: Model, config: Any, host: Host) -> Iterator[Fault]:
    """As many inputs are told and not optional as the graph has without a value of their own.

    A batch_input counts once, however many targets it names.

    Triton: unable to load model 'm', configuration expects 0 inputs, model provides 1
    Bad:
        backend: "onnxruntime"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] optional: true }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    Good:
        backend: "onnxruntime"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    """
    if _completed(config, host):
        return
    batcher = config.sequence_batching
    expected = sum(not tensor.optional for tensor in config.input) + len(config.batch_input)
    expected += sum(len(tensor.control) for tensor in batcher.control_input) + len(batcher.state)
    for _, graph in graphs(model):
        field, remedy = _miscounted(config, graph)
        if expected != len(graph.inputs) and remedy:
            yield Fault(
                field,
                f"unable to load model '{model.name}', configuration expects {expected} inputs, model "
                f"provides {len(graph.inputs)}",
                remedy,
            )


@rule("TRN674")
def onnx_scalar(model: Model, config: Any) -> Iterator[Fault]:
    """A tensor that is a scalar in the graph, or says no shape there, has in the config no dim but 1.

    Triton: unable to load model 'm', scalar tensor 'X', should only provide 1 in the model configuration when
        the model doesn't support batching. Model configuration provided: [4].
    """
    for kind, place, mine, theirs in both(model, config):
        dims = dims_of(mine)
        if not theirs.dims and not is_laid_flat(config, kind, mine) and any(dim != 1 for dim in dims):
            hint = (
                "" if theirs.dims is not None else f" ('{mine.name}' says no shape, which counts as a scalar)"
            )
            yield Fault(
                (kind, place, "dims"),
                f"unable to load model '{model.name}', scalar tensor '{mine.name}', should only provide 1 in "
                "the model configuration when the model doesn't support batching. Model configuration "
                f"provided: {_spelled(dims)}.{hint}",
                "export it with its shape" if hint else "write dims: [ 1 ]",
            )


@rule("TRN675")
def onnx_autofill(model: Model, config: Any, host: Host) -> Iterator[Fault]:
    """A graph that completes a config with max_batch_size can batch: all its tensors begin with -1.

    Triton: autofill failed for model 'm': model does not support batching while non-zero max_batch_size is
        specified
    """
    told = {tensor.name for tensor in (*config.input, *config.output)}
    for _, graph in graphs(model) if config.max_batch_size > 0 and _completed(config, host) else ():
        # those that the config names are TRN615's
        added = [tensor for tensor in (*graph.inputs, *graph.outputs) if tensor.name not in told]
        fixed = [tensor for tensor in added if (tensor.dims or (0,))[0] != -1]
        if fixed:
            yield Fault(
                ("max_batch_size",),
                f"autofill failed for model '{model.name}': model does not support batching while non-zero "
                f"max_batch_size is specified: '{fixed[0].name}' is {_spelled(fixed[0].dims)} in the graph",
                "export it with a dynamic first axis, or write all inputs and outputs, or max_batch_size: 0",
            )


@rule("TRN676")
def onnx_bf16(model: Model, config: Any, host: Host) -> Iterator[Fault]:
    """An ONNX Runtime model has inputs and outputs of TYPE_BF16 from 26.03 on.

    Triton: unsupported datatype TYPE_BF16 for input 'X' for model 'm'
    """
    if not is_onnx(model) or host.has(_BF16_SINCE):
        return
    for kind in ("input", "output"):
        for place, tensor in enumerate(getattr(config, kind)):
            if tensor.data_type == _BF16:
                yield Fault(
                    (kind, place, "data_type"),
                    f"unsupported datatype TYPE_BF16 for {kind} '{tensor.name}' for model '{model.name}'",
                    f"serve it by {_BF16_SINCE} or later, or export the tensor as FP32",
                )


def _completed(config: Any, host: Host) -> bool:
    """Say whether the backend adds inputs or outputs to a config, which lacks them."""
    told = (config.input or config.batch_input) and config.output
    return host.completes and not told


def _miscounted(config: Any, graph: Graph) -> tuple[tuple[str | int, ...], str]:
    """Return (field, remedy) of what is counted otherwise than the graph does, ("", "") for nothing."""
    free = {tensor.name for tensor in graph.defaults}
    for place, tensor in enumerate(config.input):
        if tensor.optional and config.max_batch_size:
            # TRN617's
            continue
        if tensor.optional and tensor.name not in free:
            return ("input", place, "optional"), "remove optional: the graph has no value for it"
        if not tensor.optional and tensor.name in free:
            if config.max_batch_size:
                return (
                    "input",
                    place,
                ), "remove it: the graph has a value for it, and no model that batches may ask"
            return ("input", place), "write optional: true: the graph has a value for it"
    for place, made in enumerate(config.batch_input):
        if len(made.target_name) > 1:
            return ("batch_input", place, "target_name", 1), "write a batch_input for each target"
    if not config.input and not config.batch_input:
        return (), "write the inputs: this server adds none"
    # a name that is missing or unknown is TRN612's
    return (), ""


def _spelled(dims: Any) -> str:
    return f"[{','.join(map(str, dims or ()))}]"
