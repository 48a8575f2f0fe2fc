"""TRN31x: batch_input and batch_output. Triton: ValidateBatchIO in core/src/model_config_utils.cc."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from builder.data_types import enum_name, spelled
from builder.layout import Model
from builder.rule import Fault, rule
from builder.textproto import Path


@rule("TRN311")
def batch_input_source(model: Model, config: Any) -> Iterator[Fault]:
    """A batch_input is made from exactly one input.

    Triton: batch input kind 'BATCH_ELEMENT_COUNT' expects 1 source input, got 0
    Bad:
        max_batch_size: 4
        batch_input { kind: BATCH_ELEMENT_COUNT target_name: "COUNT" data_type: TYPE_FP32 }
    Good:
        max_batch_size: 4
        batch_input { kind: BATCH_ELEMENT_COUNT target_name: "COUNT" data_type: TYPE_FP32 source_input: "X" }
    """
    yield from _one_source(config, "batch_input", "batch input")


@rule("TRN312")
def batch_input_data_type(model: Model, config: Any) -> Iterator[Fault]:
    """A batch_input is TYPE_INT32 or TYPE_FP32.

    Triton: batch input data type must be TYPE_INT32 or TYPE_FP32
    Bad:
        max_batch_size: 4
        batch_input { kind: BATCH_ELEMENT_COUNT target_name: "COUNT" data_type: TYPE_INT64 source_input: "X" }
    Good:
        max_batch_size: 4
        batch_input { kind: BATCH_ELEMENT_COUNT target_name: "COUNT" data_type: TYPE_INT32 source_input: "X" }
    """
    for place, tensor in enumerate(config.batch_input):
        if spelled(tensor.data_type) not in ("TYPE_INT32", "TYPE_FP32"):
            yield Fault(
                ("batch_input", place, "data_type"),
                f"batch input data type must be TYPE_INT32 or TYPE_FP32: it is {spelled(tensor.data_type)}",
                "write data_type: TYPE_INT32",
            )


@rule("TRN313")
def batch_source_unknown(model: Model, config: Any) -> Iterator[Fault]:
    """The source of a batch_input or batch_output is an input of the model.

    Triton: unknown source input name 'Z'
    Bad:
        max_batch_size: 4
        batch_input { kind: BATCH_ELEMENT_COUNT target_name: "COUNT" data_type: TYPE_FP32 source_input: "Z" }
    Good:
        max_batch_size: 4
        batch_input { kind: BATCH_ELEMENT_COUNT target_name: "COUNT" data_type: TYPE_FP32 source_input: "X" }
    """
    for path, tensor in _all(config):
        for place, name in enumerate(tensor.source_input):
            if name not in model.inputs():
                yield Fault(
                    (*path, "source_input", place),
                    f"unknown source input name '{name}'",
                    f"name one of {', '.join(model.inputs()) or 'the inputs, of which there are none'}",
                )


@rule("TRN314")
def batch_output_source(model: Model, config: Any) -> Iterator[Fault]:
    """A batch_output is cut by the shapes of exactly one input.

    Triton: batch output kind 'BATCH_SCATTER_WITH_INPUT_SHAPE' expects 1 source input, got 0
    Bad:
        max_batch_size: 4
        batch_output { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "Y" }
    Good:
        max_batch_size: 4
        batch_output { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "Y" source_input: "X" }
    """
    yield from _one_source(config, "batch_output", "batch output")


@rule("TRN315")
def batch_output_unknown(model: Model, config: Any) -> Iterator[Fault]:
    """The target of a batch_output is an output of the model.

    Triton: unknown target output name 'Z'
    Bad:
        max_batch_size: 4
        batch_output { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "Z" source_input: "X" }
    Good:
        max_batch_size: 4
        batch_output { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "Y" source_input: "X" }
    """
    for number, tensor in enumerate(config.batch_output):
        for place, name in enumerate(tensor.target_name):
            if name not in model.outputs():
                yield Fault(
                    ("batch_output", number, "target_name", place),
                    f"unknown target output name '{name}'",
                    f"name one of {', '.join(model.outputs()) or 'the outputs, of which there are none'}",
                )


@rule("TRN316")
def batch_output_once(model: Model, config: Any) -> Iterator[Fault]:
    """An output is the target of one batch_output.

    Triton takes no notice when two batch_output name it.

    Triton: target output name 'Y' can only be specified once
    Bad:
        max_batch_size: 4
        batch_output { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: [ "Y", "Y" ] source_input: "X" }
    Good:
        max_batch_size: 4
        batch_output { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "Y" source_input: "X" }
    """
    before: set[str] = set()
    for number, tensor in enumerate(config.batch_output):
        for place, name in enumerate(tensor.target_name):
            if name in (here := tensor.target_name[:place]) or name in before:
                yield Fault(
                    ("batch_output", number, "target_name", place),
                    f"target output name '{name}' can only be specified once",
                    "remove it here",
                    severity=None if name in here else "warning",
                )
        before |= set(tensor.target_name)


@rule("TRN317", "fatal")
def batch_output_without_target(config: Any) -> Iterator[Fault]:
    """A batch_output names the outputs that it cuts: without any the whole server crashes.

    Triton: Signal (11) received
    Bad:
        max_batch_size: 4
        batch_output { kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "X" }
    Good:
        max_batch_size: 4
        batch_output { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "Y" source_input: "X" }
    """
    for number, tensor in enumerate(config.batch_output):
        if not tensor.target_name:
            yield Fault(
                ("batch_output", number),
                "this batch_output has no target_name: Triton crashes when it loads the model",
                "name the outputs as target_name, or remove the batch_output",
            )


def _one_source(config: Any, field: str, words: str) -> Iterator[Fault]:
    for place, tensor in enumerate(getattr(config, field)):
        if len(tensor.source_input) != 1:
            kind = enum_name(tensor, "kind")
            yield Fault(
                (field, place, "source_input", 1) if tensor.source_input else (field, place),
                f"{words} kind '{kind}' expects 1 source input, got {len(tensor.source_input)}",
                "name one input as source_input",
            )


def _all(config: Any) -> Iterator[tuple[Path, Any]]:
    for field in ("batch_input", "batch_output"):
        for place, tensor in enumerate(getattr(config, field)):
            yield (field, place), tensor
