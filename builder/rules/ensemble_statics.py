"""TRN50x: an ensemble by itself.

Triton: ValidateEnsembleSchedulingConfig in core/src/model_config_utils.cc.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from builder import ensemble_graph
from builder.layout import Model
from builder.rule import Fault, closest, rule
from builder.textproto import Key


@rule("TRN501")
def ensemble_without_scheduling(model: Model, config: Any) -> Iterator[Fault]:
    """A model of platform "ensemble" has ensemble_scheduling.

    Triton: ensemble scheduling must be set for ensemble m whose platform is ensemble
    Bad:
        platform: "ensemble"
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
    if config.platform == "ensemble" and not config.HasField("ensemble_scheduling"):
        yield Fault(
            ("platform",),
            f"ensemble scheduling must be set for ensemble {model.name} whose platform is ensemble",
            "write ensemble_scheduling with its steps",
        )


@rule("TRN502")
def scheduling_without_ensemble(model: Model, config: Any) -> Iterator[Fault]:
    """Only a model of platform "ensemble" has ensemble_scheduling.

    Triton: ensemble scheduling cannot be set for model 'm' whose platform is not ensemble
    Bad:
        backend: "python"
        ensemble_scheduling {
          step {
            model_name: "first" model_version: -1
            input_map { key: "X" value: "X" }
            output_map { key: "Y" value: "Y" }
          }
        }
    Good:
        backend: "python"
    """
    if config.platform != "ensemble" and config.HasField("ensemble_scheduling"):
        yield Fault(
            ("ensemble_scheduling",),
            f"ensemble scheduling cannot be set for model '{model.name}' whose platform is not ensemble",
            'write platform: "ensemble" and no backend, or remove ensemble_scheduling',
        )


@rule("TRN503")
def ensemble_with_what_runs_models(model: Model, config: Any) -> Iterator[Fault]:
    """An ensemble runs nothing itself: it has no instance_group, optimization or model_warmup.

    Triton: instance group should not be specified for ensemble 'm'
    Bad:
        platform: "ensemble"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        instance_group { kind: KIND_CPU }
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
    if config.platform != "ensemble":
        return
    words = {
        "instance_group": ("instance group should not", bool(config.instance_group)),
        "optimization": ("optimization should not", config.HasField("optimization")),
        "model_warmup": ("model_warmup can not", bool(config.model_warmup)),
    }
    for field, (phrase, is_set) in words.items():
        if is_set:
            yield Fault(
                (field,),
                f"{phrase} be specified for ensemble '{model.name}'",
                f"move {field} to its steps' models",
            )


@rule("TRN506")
def ensemble_without_steps(model: Model, config: Any) -> Iterator[Fault]:
    """An ensemble has steps.

    Triton: must specify 'step' for ensemble 'm'
    Bad:
        platform: "ensemble"
        ensemble_scheduling { }
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
    if config.HasField("ensemble_scheduling") and not config.ensemble_scheduling.step:
        yield Fault(
            ("ensemble_scheduling",), f"must specify 'step' for ensemble '{model.name}'", "write its steps"
        )


@rule("TRN507")
def step_incomplete(model: Model, config: Any) -> Iterator[Fault]:
    """A step has a model_name, an input_map and an output_map.

    Triton: must specify 'output_map' in step 0 of ensemble 'm'
    Bad:
        platform: "ensemble"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        ensemble_scheduling {
          step { model_name: "first" model_version: -1 input_map { key: "X" value: "X" } }
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
    for place, step in enumerate(config.ensemble_scheduling.step):
        for field in ("model_name", "input_map", "output_map"):
            if not getattr(step, field):
                yield Fault(
                    ensemble_graph.step_path(place),
                    f"must specify '{field}' in step {place} of ensemble '{model.name}'",
                    f"write its {field}",
                )


@rule("TRN508")
def tensor_written_twice(model: Model, config: Any) -> Iterator[Fault]:
    """An ensemble tensor is written by one output of one step.

    Triton: ensemble tensor 'Y' can appear in an output map only once for ensemble 'm' step 1
    Bad:
        platform: "ensemble"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        ensemble_scheduling {
          step {
            model_name: "first" model_version: -1
            input_map { key: "X" value: "X" }
            output_map { key: "Y" value: "Y" }
          }
          step {
            model_name: "second" model_version: -1
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
            output_map { key: "Y" value: "between" }
          }
          step {
            model_name: "second" model_version: -1
            input_map { key: "X" value: "between" }
            output_map { key: "Y" value: "Y" }
          }
        }
    """
    writers: dict[str, int] = {}
    for place, step in enumerate(config.ensemble_scheduling.step):
        for name, tensor in sorted(step.output_map.items()):
            if tensor in writers:
                yield Fault(
                    (*ensemble_graph.step_path(place), "output_map", Key(name)),
                    f"ensemble tensor '{tensor}' can appear in an output map only once for ensemble "
                    f"'{model.name}' step {place}",
                    f"let step {writers[tensor]} write another tensor, and this step read that, or remove "
                    "one of the two",
                )
            writers.setdefault(tensor, place)


@rule("TRN509")
def ensemble_tensor_not_used(model: Model, config: Any) -> Iterator[Fault]:
    """Every input and output of an ensemble is in the map of a step.

    Triton: ensemble input 'Z' for ensemble m' is not used
    Bad:
        platform: "ensemble"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        input { name: "Z" data_type: TYPE_FP32 dims: [ 4 ] }
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
    steps = ensemble_graph.steps(model)
    mapped = {tensor for step in steps for tensor in (*step.input_map.values(), *step.output_map.values())}
    for kind in ("input", "output") if steps else ():
        for place, tensor in enumerate(getattr(config, kind)):
            if tensor.name not in mapped:
                yield Fault(
                    (kind, place),
                    f"ensemble {kind} '{tensor.name}' for ensemble '{model.name}' is not used",
                    f"name {tensor.name} in the {kind}_map of a step that has such an {kind}, or remove it "
                    "here",
                )


@rule("TRN510")
def ensemble_output_not_written(model: Model, config: Any) -> Iterator[Fault]:
    """Every output of an ensemble can be made from its inputs.

    Triton: output 'Y' for ensemble 'm' is not written: at least one of its depending tensors, 'between', is
        not connected
    Bad:
        platform: "ensemble"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Z" data_type: TYPE_FP32 dims: [ 4 ] }
        ensemble_scheduling {
          step {
            model_name: "first" model_version: -1
            input_map { key: "X" value: "X" }
            output_map { key: "Y" value: "Z" }
          }
          step {
            model_name: "second" model_version: -1
            input_map { key: "X" value: "between" }
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
            output_map { key: "Y" value: "between" }
          }
          step {
            model_name: "second" model_version: -1
            input_map { key: "X" value: "between" }
            output_map { key: "Y" value: "Y" }
          }
        }
    """
    steps = ensemble_graph.steps(model)
    if not steps:
        return
    known = ensemble_graph.reached(model)
    written = {tensor: step for step in steps for tensor in step.output_map.values()}
    read = {tensor for step in steps for tensor in step.input_map.values()}
    for place, tensor in enumerate(config.output):
        if tensor.name in known or tensor.name not in {*written, *read}:
            continue
        lacking = (
            sorted(set(written[tensor.name].input_map.values()) - known) if tensor.name in written else []
        )
        reason = (
            f": at least one of its depending tensors, '{lacking[0]}', is not connected" if lacking else ""
        )
        yield Fault(
            ("output", place),
            f"output '{tensor.name}' for ensemble '{model.name}' is not written{reason}",
            f"write {lacking[0] if lacking else tensor.name} by an output_map of a step before",
        )


@rule("TRN511")
def ensemble_tensor_unused(model: Model, config: Any) -> Iterator[Fault]:
    """Every tensor between the steps is written by one and read by another.

    Leave an output that nobody reads out of the output_map.

    Triton: ensemble tensor 'more' is unused in ensemble 'm'
    Bad:
        platform: "ensemble"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        ensemble_scheduling {
          step {
            model_name: "first" model_version: -1
            input_map { key: "X" value: "X" }
            output_map { key: "Y" value: "Y" }
          }
          step {
            model_name: "second" model_version: -1
            input_map { key: "X" value: "X" }
            output_map { key: "Y" value: "more" }
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
    steps = ensemble_graph.steps(model)
    outputs = {tensor.name for tensor in config.output}
    known = ensemble_graph.reached(model)
    read = {tensor for step in steps for tensor in step.input_map.values()}
    told: set[str] = set()
    for place, step in enumerate(steps):
        for field in ("output_map", "input_map"):
            for name, tensor in sorted(getattr(step, field).items()):
                if tensor in outputs or tensor in told or (tensor in known and tensor in read):
                    continue
                told.add(tensor)
                reason, remedy = _unused(tensor, step, known, read)
                yield Fault(
                    (*ensemble_graph.step_path(place), field, Key(name)),
                    f"ensemble tensor '{tensor}' is unused in ensemble '{model.name}': {reason}",
                    remedy,
                )


def _unused(tensor: str, step: Any, known: set[str], read: set[str]) -> tuple[str, str]:
    """Return (reason, remedy) of a tensor that nobody writes or nobody reads."""
    if tensor not in known:
        near = closest(tensor, known - {tensor})
        remedy = f"did you mean {near}?" if near else "write it by an output_map of a step before"
        return "nobody writes it", remedy
    if known.isdisjoint(read & set(step.output_map.values())) and len(step.output_map) == 1:
        return "nobody reads it", "remove the step, or read the tensor by an input_map of a step after"
    return "nobody reads it", "remove it from the map, or read it by an input_map of a step after"
