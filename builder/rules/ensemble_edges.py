"""TRN525-TRN528 and TRN530: the tensors of an ensemble against those of its steps.

Triton: core/src/ensemble_scheduler/ensemble_utils.cc.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from builder import ensemble_graph
from builder.completion import completes
from builder.data_types import spelled
from builder.ensemble_graph import End
from builder.layout import Layout, Model
from builder.rule import Fault, Host, closest, rule
from builder.textproto import Key


@rule("TRN525")
def step_tensor_unknown(model: Model, repository: Layout, host: Host) -> Iterator[Fault]:
    """A step maps only tensors that its model has.

    Triton: in ensemble m, ensemble tensor X is mapping to non-existing input Z in model first
    Bad:
        platform: "ensemble"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        ensemble_scheduling {
          step {
            model_name: "first" model_version: -1
            input_map { key: "Z" value: "X" }
            output_map { key: "Y" value: "Y" }
          }
        }
    Good:
        platform: "ensemble"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        ensemble_scheduling {
          step {
            model_name: "first" model_version: -1
            input_map { key: "X" value: "X" }
            output_map { key: "Y" value: "Y" }
          }
        }
    """
    for path, part, step in ensemble_graph.parts(model, repository):
        sides = (
            ("input_map", step.input_map, part.inputs(), "mapping to non-existing input"),
            ("output_map", step.output_map, part.outputs(), "mapped from non-existing output"),
        )
        for field, mapping, existing, words in sides if part.config is not None else ():
            is_open = not existing and completes(part, host)
            for name, tensor in sorted(mapping.items()):
                if name not in existing and not is_open:
                    yield Fault(
                        (*path, field, Key(name)),
                        f"in ensemble {model.name}, ensemble tensor {tensor} is {words} {name} "
                        f"in model {part.name}",
                        _name_one(name, existing),
                    )


@rule("TRN526")
def step_input_unmapped(model: Model, repository: Layout) -> Iterator[Fault]:
    """A step feeds every input of its model that is not optional.

    Triton: in ensemble m, input X in model first is not mapped to any ensemble tensors
    Bad:
        platform: "ensemble"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        ensemble_scheduling {
          step {
            model_name: "both" model_version: -1
            input_map { key: "X" value: "X" }
            output_map { key: "Y" value: "Y" }
          }
        }
        == both/config.pbtxt
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        input { name: "Z" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    Good:
        platform: "ensemble"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        ensemble_scheduling {
          step {
            model_name: "both" model_version: -1
            input_map { key: "X" value: "X" }
            output_map { key: "Y" value: "Y" }
          }
        }
        == both/config.pbtxt
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        input { name: "Z" data_type: TYPE_FP32 dims: [ 4 ] optional: true }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    """
    for path, part, step in ensemble_graph.parts(model, repository):
        for name, tensor in part.inputs().items():
            if name not in step.input_map and not tensor.optional:
                yield Fault(
                    path,
                    f"in ensemble {model.name}, input {name} in model {part.name} is not mapped to any "
                    "ensemble tensors",
                    f"add it to the step's input_map, or mark it optional in {part.name}",
                )


@rule("TRN527")
def edge_data_type(model: Model, repository: Layout) -> Iterator[Fault]:
    """All ends of an ensemble tensor have one data type.

    Triton: in ensemble m, ensemble tensor X: inconsistent data type: TYPE_INT32 is inferred from model m
        while TYPE_FP32 is inferred from model first
    Bad:
        platform: "ensemble"
        input { name: "X" data_type: TYPE_INT32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        ensemble_scheduling {
          step {
            model_name: "first" model_version: -1
            input_map { key: "X" value: "X" }
            output_map { key: "Y" value: "Y" }
          }
        }
    Good:
        platform: "ensemble"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        ensemble_scheduling {
          step {
            model_name: "first" model_version: -1
            input_map { key: "X" value: "X" }
            output_map { key: "Y" value: "Y" }
          }
        }
    """
    for first, end in _pairs(model, repository):
        if end.data_type != first.data_type:
            yield Fault(
                end.field,
                f"in ensemble {model.name}, ensemble tensor {end.tensor}: inconsistent data type: "
                f"{spelled(first.data_type)} is inferred from model {first.owner} "
                f"while {spelled(end.data_type)} is inferred from model {end.owner}",
                _agreed(first, end, model, spelled(first.data_type), spelled(end.data_type)),
            )


@rule("TRN528")
def edge_shape(model: Model, repository: Layout) -> Iterator[Fault]:
    """All ends of an ensemble tensor have shapes that agree; -1 agrees with any size.

    A model that batches has the batch before its dims, one that does not batch may name it in its dims.

    Triton: in ensemble m, ensemble tensor X: inconsistent shape: [5] is inferred from model m while [4] is
        inferred from model first
    Bad:
        platform: "ensemble"
        input { name: "X" data_type: TYPE_FP32 dims: [ 5 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        ensemble_scheduling {
          step {
            model_name: "first" model_version: -1
            input_map { key: "X" value: "X" }
            output_map { key: "Y" value: "Y" }
          }
        }
    Good:
        platform: "ensemble"
        input { name: "X" data_type: TYPE_FP32 dims: [ -1 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        ensemble_scheduling {
          step {
            model_name: "first" model_version: -1
            input_map { key: "X" value: "X" }
            output_map { key: "Y" value: "Y" }
          }
        }
    """
    for first, end in _pairs(model, repository):
        if end.data_type == first.data_type and not end.fits(first):
            yield Fault(
                end.field,
                f"in ensemble {model.name}, ensemble tensor {end.tensor}: inconsistent shape: "
                f"{list(first.dims)} is inferred from model {first.owner} "
                f"while {list(end.dims)} is inferred from model {end.owner}",
                _agreed(first, end, model, f"dims: {list(first.dims)}", f"dims: {list(end.dims)}"),
            )


@rule("TRN530")
def step_output_twice(model: Model, repository: Layout) -> Iterator[Fault]:
    """A step takes no output that its model declares twice; served by itself, such a model loads.

    Triton: in ensemble m, multiple outputs in model twice are mapped to the same ensemble tensor Y
    Bad:
        platform: "ensemble"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        ensemble_scheduling {
          step {
            model_name: "twice" model_version: -1
            input_map { key: "X" value: "X" }
            output_map { key: "Y" value: "Y" }
          }
        }
        == twice/config.pbtxt
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    Good:
        platform: "ensemble"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        ensemble_scheduling {
          step {
            model_name: "twice" model_version: -1
            input_map { key: "X" value: "X" }
            output_map { key: "Y" value: "Y" }
          }
        }
        == twice/config.pbtxt
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    """
    for path, part, step in ensemble_graph.parts(model, repository):
        counts = Counter(tensor.name for tensor in (part.config.output if part.config else ()))
        for name, tensor in sorted(step.output_map.items()):
            if counts[name] > 1:
                yield Fault(
                    (*path, "output_map", Key(name)),
                    f"in ensemble {model.name}, multiple outputs in model {part.name} are mapped to the same "
                    f"ensemble tensor {tensor}",
                    f"keep one of the outputs {name} in {part.name}",
                )


def _pairs(model: Model, repository: Layout) -> Iterator[tuple[End, End]]:
    """Yield the first end of each wire with each of the others, as Triton compares them."""
    wires = ensemble_graph.wires(model, repository) if ensemble_graph.steps(model) else {}
    for wire in wires.values():
        for end in wire.ends[1:]:
            yield wire.ends[0], end


def _agreed(first: End, end: End, model: Model, one: str, other: str) -> str:
    """Return what makes both ends one: an ensemble says what its step does, two steps may both be wrong."""
    if model.name == first.owner:
        return f"write {other} in {model.name}, as {end.owner} has it, unless that is wrong"
    if model.name == end.owner:
        return f"write {one} in {model.name}, as {first.owner} has it, unless that is wrong"
    return f"write {one} in {end.owner} if it can take that, or {other} in {first.owner} if it can make that"


def _name_one(wrong: str, existing: Iterable[str]) -> str:
    near = closest(wrong, existing := list(existing))
    return (
        f"did you mean {near}?"
        if near
        else f"name one of {', '.join(existing) or 'its tensors: it has none'}"
    )
