"""TRN21x: the sequence batcher. Triton: ValidateModelConfig in core/src/model_config_utils.cc."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from builder.data_types import enum_name, spelled
from builder.layout import Model
from builder.rule import Fault, rule
from builder.textproto import Path

_BATCHER = "sequence_batching"
_VALUES = ("int32_false_true", "fp32_false_true", "bool_false_true")
_ONCE = (
    "CONTROL_SEQUENCE_START",
    "CONTROL_SEQUENCE_END",
    "CONTROL_SEQUENCE_READY",
    "CONTROL_SEQUENCE_CORRID",
)
_CORRELATION_TYPES = ("TYPE_UINT64", "TYPE_INT64", "TYPE_UINT32", "TYPE_INT32", "TYPE_STRING")


@rule("TRN211")
def control_without_name(model: Model, config: Any) -> Iterator[Fault]:
    """A control input of the sequence batcher has a name.

    Triton: sequence batching control tensor must have a name for m
    Bad:
        sequence_batching {
          control_input { control { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } }
        }
    Good:
        sequence_batching {
          control_input { name: "START" control { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } }
        }
    """
    for path, tensor in _inputs(config):
        if not tensor.name:
            yield Fault(
                path,
                f"sequence batching control tensor must have a name for {model.name}",
                "write `name: ` with the name of the model's input",
            )


@rule("TRN212")
def control_of_two_kinds(model: Model, config: Any) -> Iterator[Fault]:
    """A control input is told of once.

    Triton: sequence batching control tensor 'S' is specified for multiple control kinds for m
    Bad:
        sequence_batching {
          control_input { name: "S" control { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } }
          control_input { name: "S" control { kind: CONTROL_SEQUENCE_END int32_false_true: [ 0, 1 ] } }
        }
    Good:
        sequence_batching {
          control_input { name: "S" control { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } }
          control_input { name: "E" control { kind: CONTROL_SEQUENCE_END int32_false_true: [ 0, 1 ] } }
        }
    """
    seen: set[str] = set()
    for path, tensor in _inputs(config):
        if tensor.name in seen:
            yield Fault(
                path,
                f"sequence batching control tensor '{tensor.name}' is specified for multiple control kinds "
                f"for {model.name}",
                "give each kind of control an input of its own",
            )
        seen.add(tensor.name)


@rule("TRN213")
def control_twice(model: Model, config: Any) -> Iterator[Fault]:
    """Each kind of control has one input.

    Triton: sequence batching specifies multiple CONTROL_SEQUENCE_START tensors for m
    Bad:
        sequence_batching {
          control_input { name: "A" control { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } }
          control_input { name: "B" control { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } }
        }
    Good:
        sequence_batching {
          control_input { name: "A" control { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } }
        }
    """
    named: dict[str, list[str]] = {}
    for path, tensor in _inputs(config):
        for place, control in enumerate(tensor.control):
            kind = enum_name(control, "kind")
            names = named.setdefault(kind, [])
            names.append(tensor.name)
            if len(names) == 2 and kind in _ONCE:
                yield Fault(
                    (*path, "control", place),
                    f"sequence batching specifies multiple {kind} tensors for {model.name}: "
                    f"{names[0]}, {names[1]}",
                    "keep one of them",
                )


@rule("TRN214")
def control_values_missing(model: Model, config: Any) -> Iterator[Fault]:
    """A start, end or ready control says which two values mean no and yes, in one type.

    Triton: sequence batching must specify either 'int32_false_true', 'fp32_false_true' or 'bool_false_true'
        for CONTROL_SEQUENCE_START for m
    Bad:
        sequence_batching {
          control_input { name: "START" control { kind: CONTROL_SEQUENCE_START } }
        }
    Good:
        sequence_batching {
          control_input {
            name: "START"
            control { kind: CONTROL_SEQUENCE_START bool_false_true: [ false, true ] }
          }
        }
    """
    for path, control, kind in _controls(config):
        given = [name for name in _VALUES if getattr(control, name)]
        if kind == "CONTROL_SEQUENCE_CORRID" or len(given) == 1:
            continue
        names = "'int32_false_true', 'fp32_false_true' and 'bool_false_true'"
        message = (
            f"sequence batching specifies more than one from {names} for {kind} for {model.name}"
            if given
            else f"sequence batching must specify either {names.replace(' and', ' or')} "
            f"for {kind} for {model.name}"
        )
        yield Fault(
            (*path, given[1]) if given else path,
            message,
            "write one of them, such as int32_false_true: [ 0, 1 ]",
        )


@rule("TRN215")
def control_values_are_two(model: Model, config: Any) -> Iterator[Fault]:
    """A control has exactly two values: for no and for yes.

    Triton: sequence batching control 'int32_false_true' must have exactly 2 entries for
        CONTROL_SEQUENCE_START for m
    Bad:
        sequence_batching {
          control_input { name: "START" control { kind: CONTROL_SEQUENCE_START int32_false_true: [ 1 ] } }
        }
    Good:
        sequence_batching {
          control_input { name: "START" control { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } }
        }
    """
    for path, control, kind in _controls(config):
        for name in _VALUES if kind != "CONTROL_SEQUENCE_CORRID" else ():
            values = getattr(control, name)
            if values and len(values) != 2:
                yield Fault(
                    (*path, name),
                    f"sequence batching control '{name}' must have exactly 2 entries for {kind} for "
                    f"{model.name}: it has {len(values)}",
                    "write the value for no, then that for yes",
                )


@rule("TRN216")
def correlation_with_values(model: Model, config: Any) -> Iterator[Fault]:
    """The control that carries the sequence's id has no values for no and yes.

    Triton: sequence batching must not specify either 'int32_false_true', 'fp32_false_true' or
        'bool_false_true' for CONTROL_SEQUENCE_CORRID for m
    Bad:
        sequence_batching {
          control_input {
            name: "ID"
            control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 int32_false_true: [ 0, 1 ] }
          }
        }
    Good:
        sequence_batching {
          control_input { name: "ID" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } }
        }
    """
    for path, control, kind in _controls(config):
        for name in _VALUES:
            if kind == "CONTROL_SEQUENCE_CORRID" and getattr(control, name):
                yield Fault(
                    (*path, name),
                    f"sequence batching must not specify either 'int32_false_true', 'fp32_false_true' or "
                    f"'bool_false_true' for {kind} for {model.name}",
                    f"remove {name}",
                )


@rule("TRN217")
def correlation_data_type(model: Model, config: Any) -> Iterator[Fault]:
    """The sequence's id is an integer of 32 or 64 bits, or a string.

    Triton: unexpected data type for control CONTROL_SEQUENCE_CORRID for m. Allowed data types are
        TYPE_UINT64, TYPE_INT64, TYPE_UINT32, TYPE_INT32 and TYPE_STRING
    Bad:
        sequence_batching {
          control_input { name: "ID" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_FP32 } }
        }
    Good:
        sequence_batching {
          control_input { name: "ID" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_STRING } }
        }
    """
    for path, control, kind in _controls(config):
        data_type = spelled(control.data_type)
        if kind == "CONTROL_SEQUENCE_CORRID" and data_type not in _CORRELATION_TYPES:
            yield Fault(
                (*path, "data_type"),
                f"unexpected data type for control {kind} for {model.name}: {_told(data_type)}. Allowed data "
                "types are TYPE_UINT64, TYPE_INT64, TYPE_UINT32, TYPE_INT32 and TYPE_STRING",
                "write data_type: TYPE_UINT64, or TYPE_STRING where clients name their sequences by text",
            )


@rule("TRN218")
def sequence_preferred_batch_size(model: Model, config: Any) -> Iterator[Fault]:
    """A preferred batch size of the oldest-first strategy is from 1 to max_batch_size.

    Triton: sequence batching preferred batch size must be positive for m
    Bad:
        max_batch_size: 4
        sequence_batching { oldest { max_candidate_sequences: 4 preferred_batch_size: [ 0 ] } }
    Good:
        max_batch_size: 4
        sequence_batching { oldest { max_candidate_sequences: 4 preferred_batch_size: [ 4 ] } }
    """
    for place, size in enumerate(config.sequence_batching.oldest.preferred_batch_size):
        bound = "positive" if size < 1 else f"<= max batch size {config.max_batch_size}"
        if size < 1 or size > config.max_batch_size:
            yield Fault(
                (_BATCHER, "oldest", "preferred_batch_size", place),
                f"sequence batching preferred batch size must be {bound} for {model.name}: it is {size}",
                f"remove it, or write a size from 1 to {config.max_batch_size}",
            )


@rule("TRN219")
def slot_utilization_in_range(model: Model, config: Any) -> Iterator[Fault]:
    """minimum_slot_utilization is a share of the slots, more than none and at most all.

    Triton: sequence batching minimum slot utilization must be in range (0.0, 1.0] for m
    Bad:
        max_batch_size: 4
        sequence_batching { direct { minimum_slot_utilization: 1.5 } }
    Good:
        max_batch_size: 4
        sequence_batching { direct { minimum_slot_utilization: 0.5 } }
    """
    share = config.sequence_batching.direct.minimum_slot_utilization
    if not 0 <= share <= 1:
        yield Fault(
            (_BATCHER, "direct", "minimum_slot_utilization"),
            f"sequence batching minimum slot utilization must be in range (0.0, 1.0] for {model.name}: "
            f"it is {share:g}",
            "write a share of the slots, such as 0.5",
        )


def _inputs(config: Any) -> Iterator[tuple[Path, Any]]:
    for place, tensor in enumerate(config.sequence_batching.control_input):
        yield (_BATCHER, "control_input", place), tensor


def _told(data_type: str) -> str:
    return "none is given" if data_type == "TYPE_INVALID" else data_type


def _controls(config: Any) -> Iterator[tuple[Path, Any, str]]:
    for path, tensor in _inputs(config):
        for place, control in enumerate(tensor.control):
            yield (*path, "control", place), control, enum_name(control, "kind")
