"""TRN22x: states that the sequence batcher keeps. Triton: core/src/sequence_batch_scheduler/sequence_state.cc
and sequence_batch_scheduler.cc."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from builder.data_types import BYTES, elements, spelled
from builder.layout import Model
from builder.rule import Fault, rule
from builder.textproto import Path


@rule("TRN221")
def one_initial_state(model: Model, config: Any) -> Iterator[Fault]:
    """A state has at most one initial_state.

    Triton: initial_state field for state input 'I' must contain exactly one or zero element. Found '2'
        elements.
    Bad:
        sequence_batching {
          state {
            input_name: "I" output_name: "O" data_type: TYPE_FP32 dims: [ 1 ]
            initial_state { name: "a" data_type: TYPE_FP32 dims: [ 1 ] zero_data: true }
            initial_state { name: "b" data_type: TYPE_FP32 dims: [ 1 ] zero_data: true }
          }
        }
    Good:
        sequence_batching {
          state {
            input_name: "I" output_name: "O" data_type: TYPE_FP32 dims: [ 1 ]
            initial_state { name: "a" data_type: TYPE_FP32 dims: [ 1 ] zero_data: true }
          }
        }
    """
    for path, state in _states(config):
        if len(state.initial_state) > 1:
            yield Fault(
                (*path, "initial_state", 1),
                f"initial_state field for state input '{state.input_name}' must contain exactly one or zero "
                f"element. Found '{len(state.initial_state)}' elements.",
                "keep one of them",
            )


@rule("TRN222")
def initial_state_data_type(model: Model, config: Any) -> Iterator[Fault]:
    """An initial state has the data type of its state.

    Triton: The data type used for 'initial_state' field of state 'I' does not match the state data type.
    Bad:
        sequence_batching {
          state {
            input_name: "I" output_name: "O" data_type: TYPE_FP32 dims: [ 1 ]
            initial_state { name: "a" data_type: TYPE_INT32 dims: [ 1 ] zero_data: true }
          }
        }
    Good:
        sequence_batching {
          state {
            input_name: "I" output_name: "O" data_type: TYPE_FP32 dims: [ 1 ]
            initial_state { name: "a" data_type: TYPE_FP32 dims: [ 1 ] zero_data: true }
          }
        }
    """
    for path, state, initial in _initials(config):
        if initial.data_type != state.data_type:
            yield Fault(
                (*path, "data_type"),
                f"The data type used for 'initial_state' field of state '{state.input_name}' does not match "
                f"the state data type: {spelled(initial.data_type)}, {spelled(state.data_type)}",
                f"write data_type: {spelled(state.data_type)}",
            )


@rule("TRN223")
def initial_state_name(model: Model, config: Any) -> Iterator[Fault]:
    """An initial state has a name.

    Triton: Field 'name' must be set when using initial_state for state input 'I'.
    Bad:
        sequence_batching {
          state {
            input_name: "I" output_name: "O" data_type: TYPE_FP32 dims: [ 1 ]
            initial_state { data_type: TYPE_FP32 dims: [ 1 ] zero_data: true }
          }
        }
    Good:
        sequence_batching {
          state {
            input_name: "I" output_name: "O" data_type: TYPE_FP32 dims: [ 1 ]
            initial_state { name: "zeros" data_type: TYPE_FP32 dims: [ 1 ] zero_data: true }
          }
        }
    """
    for path, state, initial in _initials(config):
        if not initial.name:
            yield Fault(
                path,
                f"Field 'name' must be set when using initial_state for state input '{state.input_name}'.",
                "write any name",
            )


@rule("TRN224")
def state_input_once(model: Model, config: Any) -> Iterator[Fault]:
    """A state has an input of its own.

    Triton notices it only where both states have an initial_state, and mixes them up where not.

    Triton: State input name 'I' specified more than once.
    Bad:
        sequence_batching {
          state {
            input_name: "I" output_name: "O" data_type: TYPE_FP32 dims: [ 1 ]
            initial_state { name: "a" data_type: TYPE_FP32 dims: [ 1 ] zero_data: true }
          }
          state {
            input_name: "I" output_name: "P" data_type: TYPE_FP32 dims: [ 1 ]
            initial_state { name: "b" data_type: TYPE_FP32 dims: [ 1 ] zero_data: true }
          }
        }
    Good:
        sequence_batching {
          state {
            input_name: "I" output_name: "O" data_type: TYPE_FP32 dims: [ 1 ]
            initial_state { name: "a" data_type: TYPE_FP32 dims: [ 1 ] zero_data: true }
          }
          state {
            input_name: "J" output_name: "P" data_type: TYPE_FP32 dims: [ 1 ]
            initial_state { name: "b" data_type: TYPE_FP32 dims: [ 1 ] zero_data: true }
          }
        }
    """
    initialized: dict[str, bool] = {}
    for path, state in _states(config):
        name, has_initial = state.input_name, bool(state.initial_state)
        if name in initialized:
            yield Fault(
                (*path, "input_name"),
                f"State input name '{name}' specified more than once.",
                "give each state an input of its own",
                severity=None if has_initial and initialized[name] else "warning",
            )
        initialized[name] = has_initial or initialized.get(name, False)


@rule("TRN225")
def initial_state_dims(model: Model, config: Any) -> Iterator[Fault]:
    """An initial state's dims are all known, and fit those of its state.

    Triton: 'initial_state' field for state input name 'I' contains variable dimensions.
    Bad:
        sequence_batching {
          state {
            input_name: "I" output_name: "O" data_type: TYPE_FP32 dims: [ -1 ]
            initial_state { name: "a" data_type: TYPE_FP32 dims: [ -1 ] zero_data: true }
          }
        }
    Good:
        sequence_batching {
          state {
            input_name: "I" output_name: "O" data_type: TYPE_FP32 dims: [ -1 ]
            initial_state { name: "a" data_type: TYPE_FP32 dims: [ 4 ] zero_data: true }
          }
        }
    """
    for path, state, initial in _initials(config):
        message = _dims_problem(state, initial)
        if message:
            dims = ", ".join(str(size if size > 0 else 1) for size in state.dims)
            yield Fault((*path, "dims"), message, f"write dims such as [ {dims} ]")


@rule("TRN226")
def initial_state_data(model: Model, config: Any) -> Iterator[Fault]:
    """An initial state says where its data come from: zero_data or data_file.

    Triton: initial_state setting expects state'I' to have state_data set
    Bad:
        sequence_batching {
          state {
            input_name: "I" output_name: "O" data_type: TYPE_FP32 dims: [ 1 ]
            initial_state { name: "a" data_type: TYPE_FP32 dims: [ 1 ] }
          }
        }
    Good:
        sequence_batching {
          state {
            input_name: "I" output_name: "O" data_type: TYPE_FP32 dims: [ 1 ]
            initial_state { name: "a" data_type: TYPE_FP32 dims: [ 1 ] zero_data: true }
          }
        }
    """
    for path, state, initial in _initials(config):
        if initial.WhichOneof("state_data") is None:
            yield Fault(
                path,
                f"initial_state setting expects state'{state.input_name}' to have state_data set",
                "write zero_data: true, or data_file with a file of initial_state/",
            )


@rule("TRN227")
def initial_state_file(model: Model, config: Any) -> Iterator[Fault]:
    """A data_file is in the folder initial_state/ of the model and holds exactly one state.

    Triton: failed to open text file for read m/initial_state/f: No such file or directory
    Bad:
        sequence_batching {
          state {
            input_name: "I" output_name: "O" data_type: TYPE_FP32 dims: [ 2 ]
            initial_state { name: "a" data_type: TYPE_FP32 dims: [ 2 ] data_file: "f" }
          }
        }
    Good:
        sequence_batching {
          state {
            input_name: "I" output_name: "O" data_type: TYPE_FP32 dims: [ 2 ]
            initial_state { name: "a" data_type: TYPE_FP32 dims: [ 2 ] data_file: "f" }
          }
        }
        == m/initial_state/f
        12345678
    """
    for path, state, initial in _initials(config):
        if initial.WhichOneof("state_data") != "data_file":
            continue
        file = model.path / "initial_state" / initial.data_file
        if not file.is_file():
            message = f"failed to open text file for read {model.name}/initial_state/{initial.data_file}"
            yield Fault((*path, "data_file"), message, "put the file there, or write zero_data: true")
        elif state.data_type in BYTES and not _dims_problem(state, initial):
            wanted = BYTES[state.data_type] * elements(initial.dims)
            if (held := file.stat().st_size) < wanted:
                yield Fault(
                    (*path, "data_file"),
                    f"initial_state setting expects {wanted} bytes, but the data provided from "
                    f"{initial.data_file} only has {held} bytes.",
                    f"write {wanted} bytes: {elements(initial.dims)} elements of {spelled(state.data_type)}",
                )


def _dims_problem(state: Any, initial: Any) -> str:
    name = state.input_name
    if len(initial.dims) != len(state.dims):
        return (
            f"Number of dimensions in 'initial_state' doesn't match the size of 'state' dimensions for state "
            f"input '{name}'. {len(initial.dims)} != {len(state.dims)}"
        )
    for mine, wanted in zip(initial.dims, state.dims, strict=True):
        if mine < 0:
            return f"'initial_state' field for state input name '{name}' contains variable dimensions."
        if wanted != -1 and mine != wanted:
            return (
                f"'initial_state' dim for input name '{name}' doesn't match 'state' dim description. "
                f"{mine} != {wanted}"
            )
    return ""


def _states(config: Any) -> Iterator[tuple[Path, Any]]:
    for place, state in enumerate(config.sequence_batching.state):
        yield ("sequence_batching", "state", place), state


def _initials(config: Any) -> Iterator[tuple[Path, Any, Any]]:
    for path, state in _states(config):
        for place, initial in enumerate(state.initial_state[:1]):
            yield (*path, "initial_state", place), state, initial
