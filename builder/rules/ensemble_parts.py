"""TRN521-TRN524 and TRN529: an ensemble against the models of its steps.

Triton: core/src/ensemble_scheduler/ensemble_utils.cc.
"""

from __future__ import annotations

from collections.abc import Iterator

from builder import ensemble_graph
from builder.layout import Layout, Model
from builder.rule import Fault, closest, rule


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
    for path, part, step in ensemble_graph.parts(model, repository):
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
    parts = [part for _, part, _ in ensemble_graph.parts(model, repository) if part.config is not None]
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
    for number, (path, part, step) in enumerate(ensemble_graph.parts(model, repository), 1):
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
