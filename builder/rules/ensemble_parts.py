"""TRN52x: an ensemble against the models of its steps.

Triton: core/src/ensemble_scheduler/ensemble_utils.cc.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from builder import ensemble_graph
from builder.completion import completes
from builder.data_types import spelled
from builder.ensemble_graph import End
from builder.layout import Layout, Model
from builder.rule import Fault, Host, closest, rule
from builder.textproto import Key, Path


@rule("TRN521")
def step_model_unknown(model: Model, repository: Layout) -> Iterator[Fault]:
    """A step runs a model of the repository.

    Triton: ensemble m contains models that are not available or ambiguous: frist
    Bad:
        platform: "ensemble"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        ensemble_scheduling {
          step {
            model_name: "frist" model_version: -1
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
    for place, step in enumerate(ensemble_graph.steps(model)):
        if step.model_name and step.model_name not in repository.models:
            near = closest(step.model_name, repository.models.keys() - {model.name})
            yield Fault(
                (*ensemble_graph.step_path(place), "model_name"),
                f"ensemble {model.name} contains models that are not available or ambiguous: "
                f"{step.model_name}",
                f"did you mean {near}?"
                if near
                else f"add {step.model_name}, name its repository too (`builder check THIS THAT`), "
                "or remove the step",
            )


@rule("TRN522")
def ensemble_circular(model: Model, repository: Layout) -> Iterator[Fault]:
    """No ensemble is, through its steps, a step of itself.

    Triton: circular dependency between ensembles: m -> m
    Bad:
        platform: "ensemble"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        ensemble_scheduling {
          step {
            model_name: "m" model_version: -1
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
    circle = ensemble_graph.circle(model, repository)
    if circle:
        yield Fault(
            ("ensemble_scheduling",),
            f"circular dependency between ensembles: {' -> '.join(circle)}",
            f"take {circle[-2]} out of the steps of one of them",
        )


@rule("TRN523")
def step_version_not_served(model: Model, repository: Layout) -> Iterator[Fault]:
    """A step asks for a version that its model serves, or -1 for the latest; leaving it out asks for 0.

    Triton: ensemble 'm' depends on 'first' whose required version 0 is not loaded.
    Bad:
        platform: "ensemble"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        ensemble_scheduling {
          step {
            model_name: "first"
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
    for path, part, step in _parts(model, repository):
        if step.model_version != -1 and step.model_version not in part.served:
            served = " or ".join(map(str, part.served)) or "none is there"
            yield Fault(
                (*path, "model_version") if step.model_version else path,
                f"ensemble '{model.name}' depends on '{step.model_name}' whose required version "
                f"{step.model_version} is not loaded"
                + ("" if step.model_version else ": no model_version asks for 0"),
                f"write model_version: -1 for the latest, or the version that you mean: {served}",
            )


@rule("TRN524")
def ensemble_batch_too_large(model: Model, repository: Layout) -> Iterator[Fault]:
    """An ensemble takes no larger batch than each of its steps that batch.

    Triton: ensemble m allows maximum batch size 16, but it contains model first which only allows maximum
        batch size to be 8
    Bad:
        platform: "ensemble"
        max_batch_size: 16
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
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
        max_batch_size: 8
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
    parts = [part for _, part, _ in _parts(model, repository) if part.config is not None]
    batching = [part for part in parts if part.config.max_batch_size]
    if not batching:
        return
    least = min(batching, key=lambda part: part.config.max_batch_size)
    allowed = least.config.max_batch_size
    if model.config.max_batch_size > allowed:
        yield Fault(
            ("max_batch_size",),
            f"ensemble {model.name} allows maximum batch size {model.config.max_batch_size}, but it "
            f"contains model {least.name} which only allows maximum batch size to be {allowed}",
            f"write max_batch_size: {allowed}, or raise that of {least.name}",
        )


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
    for path, part, step in _parts(model, repository):
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
    for path, part, step in _parts(model, repository):
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


@rule("TRN529")
def step_after_two_streams(model: Model, repository: Layout) -> Iterator[Fault]:
    """What a decoupled step answers is not joined with what came another way, nor with the ensemble's inputs.

    Triton: step of model 'both' receives inputs originated from different decoupled models
    Bad:
        platform: "ensemble"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        ensemble_scheduling {
          step {
            model_name: "speaker" model_version: -1
            input_map { key: "X" value: "X" }
            output_map { key: "Y" value: "one" }
          }
          step {
            model_name: "speaker" model_version: -1
            input_map { key: "X" value: "X" }
            output_map { key: "Y" value: "other" }
          }
          step {
            model_name: "both" model_version: -1
            input_map { key: "X" value: "one" }
            input_map { key: "Z" value: "other" }
            output_map { key: "Y" value: "Y" }
          }
        }
        == speaker/config.pbtxt
        backend: "python"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        model_transaction_policy { decoupled: true }
        == speaker/1/model.py
        class TritonPythonModel:
            def execute(self, requests):
                for request in requests:
                    request.get_response_sender().send(flags=1)
        == both/config.pbtxt
        backend: "python"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        input { name: "Z" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    Good:
        platform: "ensemble"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        ensemble_scheduling {
          step {
            model_name: "speaker" model_version: -1
            input_map { key: "X" value: "X" }
            output_map { key: "Y" value: "one" }
          }
          step {
            model_name: "quiet" model_version: -1
            input_map { key: "X" value: "one" }
            output_map { key: "Y" value: "other" }
          }
          step {
            model_name: "both" model_version: -1
            input_map { key: "X" value: "one" }
            input_map { key: "Z" value: "other" }
            output_map { key: "Y" value: "Y" }
          }
        }
        == speaker/config.pbtxt
        backend: "python"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        model_transaction_policy { decoupled: true }
        == speaker/1/model.py
        class TritonPythonModel:
            def execute(self, requests):
                for request in requests:
                    request.get_response_sender().send(flags=1)
        == quiet/config.pbtxt
        backend: "python"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        == both/config.pbtxt
        backend: "python"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        input { name: "Z" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    """
    origins: dict[str, int] = {}
    for number, (path, part, step) in enumerate(_parts(model, repository), 1):
        # what no stream has come by is of one origin too
        found = {origins.get(tensor, 0) for tensor in step.input_map.values()}
        if len(found) > 1:
            yield Fault(
                path,
                f"step of model '{part.name}' receives inputs originated from different decoupled models",
                "feed it from one stream only, by which all else that it needs must come too",
            )
        origin = number if ensemble_graph.streams(part, repository) else max(found, default=0)
        origins |= dict.fromkeys(step.output_map.values(), origin)


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
    for path, part, step in _parts(model, repository):
        counts = Counter(tensor.name for tensor in (part.config.output if part.config else ()))
        for name, tensor in sorted(step.output_map.items()):
            if counts[name] > 1:
                yield Fault(
                    (*path, "output_map", Key(name)),
                    f"in ensemble {model.name}, multiple outputs in model {part.name} are mapped to the same "
                    f"ensemble tensor {tensor}",
                    f"keep one of the outputs {name} in {part.name}",
                )


def _parts(model: Model, repository: Layout) -> Iterator[tuple[Path, Model, Any]]:
    """Yield (path, model, step) of every step whose model is there."""
    for place, step in enumerate(ensemble_graph.steps(model)):
        part = repository.models.get(step.model_name)
        if part is not None:
            yield ensemble_graph.step_path(place), part, step


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
