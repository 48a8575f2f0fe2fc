"""TRN728-TRN730 and TRN732: what Triton takes in an ensemble, and its clients regret."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from builder import ensemble_graph, ensemble_pruning
from builder.completion import completes
from builder.layout import Layout, Model
from builder.rule import Fault, Host, rule


@rule("TRN728", "warning")
def queue_limit_after_stream(model: Model, repository: Layout, host: Host) -> Iterator[Fault]:
    """A step after a decoupled one has no queue limit and no timeout: a response that it refuses is lost.

    The stream then falls silent for ever instead of ending with an error; from 26.03 on a full queue ends it.

    Bad:
        platform: "ensemble"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        ensemble_scheduling {
          step {
            model_name: "speaker" model_version: -1
            input_map { key: "X" value: "X" }
            output_map { key: "Y" value: "token" }
          }
          step {
            model_name: "writer" model_version: -1
            input_map { key: "X" value: "token" }
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
        == writer/config.pbtxt
        backend: "python"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        dynamic_batching { default_queue_policy { max_queue_size: 4 } }
    Good:
        platform: "ensemble"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        ensemble_scheduling {
          step {
            model_name: "speaker" model_version: -1
            input_map { key: "X" value: "X" }
            output_map { key: "Y" value: "token" }
          }
          step {
            model_name: "writer" model_version: -1
            input_map { key: "X" value: "token" }
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
        == writer/config.pbtxt
        backend: "python"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        dynamic_batching { }
    """
    streamed: set[str] = set()
    for place, step in enumerate(ensemble_graph.steps(model)):
        part = repository.models.get(step.model_name)
        if part is None or part.config is None:
            continue
        policy = part.config.dynamic_batching.default_queue_policy
        after = not streamed.isdisjoint(step.input_map.values())
        is_silent = policy.default_timeout_microseconds or (policy.max_queue_size and not host.has("26.03"))
        if after and is_silent:
            yield Fault(
                (*ensemble_graph.step_path(place), "model_name"),
                f"in ensemble {model.name}, {part.name} comes after a decoupled step and may refuse a "
                "request by its queue's limit or timeout: the stream then falls silent for ever",
                f"bound the load before the stream begins, and remove max_queue_size and "
                f"default_timeout_microseconds from {part.name}",
            )
        if after or part.config.model_transaction_policy.decoupled:
            streamed |= set(step.output_map.values())


@rule("TRN729", "warning")
def cancel_stops_at_the_ensemble(model: Model, repository: Layout) -> Iterator[Fault]:
    """A model that looks for cancels is asked for itself: an ensemble hands none to a step that runs.

    Whoever leaves an ensemble's stream leaves its step at work until it ends by itself.

    Bad:
        platform: "ensemble"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        ensemble_scheduling {
          step {
            model_name: "patient" model_version: -1
            input_map { key: "X" value: "X" }
            output_map { key: "Y" value: "token" }
          }
          step {
            model_name: "writer" model_version: -1
            input_map { key: "X" value: "token" }
            output_map { key: "Y" value: "Y" }
          }
        }
        == patient/config.pbtxt
        backend: "python"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        == patient/1/model.py
        class TritonPythonModel:
            def execute(self, requests):
                return [None if request.is_cancelled() else None for request in requests]
        == writer/config.pbtxt
        backend: "python"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    Good:
        platform: "ensemble"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        ensemble_scheduling {
          step {
            model_name: "patient" model_version: -1
            input_map { key: "X" value: "X" }
            output_map { key: "Y" value: "token" }
          }
          step {
            model_name: "writer" model_version: -1
            input_map { key: "X" value: "token" }
            output_map { key: "Y" value: "Y" }
          }
        }
        == patient/config.pbtxt
        backend: "python"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        == writer/config.pbtxt
        backend: "python"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    """
    for place, step in enumerate(ensemble_graph.steps(model)):
        part = repository.models.get(step.model_name)
        if part is not None and part.backend == "python" and part.code_mentions("is_cancelled"):
            yield Fault(
                (*ensemble_graph.step_path(place), "model_name"),
                f"{part.name} looks for cancels, and as a step of ensemble {model.name} it gets none",
                f"have clients that cancel ask {part.name} itself; where that is known, write "
                f"`# check: ignore TRN729` into {model.name}'s config.pbtxt",
            )


@rule("TRN730", "warning")
def step_without_batches(model: Model, config: Any, repository: Layout, host: Host) -> Iterator[Fault]:
    """In an ensemble that batches a step batches too, or has the batch as its first, variable dimension.

    Triton loads it, and refuses every batch of two or more.

    Bad:
        platform: "ensemble"
        max_batch_size: 8
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        ensemble_scheduling {
          step {
            model_name: "single" model_version: -1
            input_map { key: "X" value: "X" }
            output_map { key: "Y" value: "Y" }
          }
        }
        == single/config.pbtxt
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    Good:
        platform: "ensemble"
        max_batch_size: 8
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        ensemble_scheduling {
          step {
            model_name: "single" model_version: -1
            input_map { key: "X" value: "X" }
            output_map { key: "Y" value: "Y" }
          }
        }
        == single/config.pbtxt
        input { name: "X" data_type: TYPE_FP32 dims: [ -1, 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ -1, 4 ] }
    """
    for place, step in enumerate(ensemble_graph.steps(model)):
        part = repository.models.get(step.model_name)
        if part is None or part.config is None or config.max_batch_size < 2:
            continue
        if part.config.max_batch_size or completes(part, host):
            continue
        inputs = [tensor for name, tensor in part.inputs().items() if name in step.input_map]
        if any(tensor.dims and tensor.dims[0] != -1 for tensor in inputs):
            yield Fault(
                (*ensemble_graph.step_path(place), "model_name"),
                f"ensemble {model.name} takes batches of {config.max_batch_size}, {part.name} takes none: "
                "Triton refuses each of two or more",
                f"write max_batch_size in {part.name} if its code can, or remove that of {model.name}",
            )


@rule("TRN732", "warning")
def output_refused_alone(model: Model) -> Iterator[Fault]:
    """Every output of an ensemble can be asked for alone.

    Triton leaves out the steps that a request does not need, and with them a step whose output another step
    takes, or whose output nothing but the client takes: it then answers "unexpected deadlock, at least one
    output is not set while no more ensemble steps can be made". Who asks for all outputs sees nothing of it.

    Bad:
        platform: "ensemble"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "middle" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        ensemble_scheduling {
          step {
            model_name: "first" model_version: -1
            input_map { key: "X" value: "X" }
            output_map { key: "Y" value: "middle" }
          }
          step {
            model_name: "second" model_version: -1
            input_map { key: "X" value: "middle" }
            output_map { key: "Y" value: "Y" }
          }
        }
    Good:
        platform: "ensemble"
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "middle" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
        ensemble_scheduling {
          step {
            model_name: "first" model_version: -1
            input_map { key: "X" value: "X" }
            output_map { key: "Y" value: "between" }
          }
          step {
            model_name: "handing_on" model_version: -1
            input_map { key: "X" value: "between" }
            output_map { key: "X_as_it_came" value: "middle" }
            output_map { key: "Y" value: "Y" }
          }
        }
        == handing_on/config.pbtxt
        input { name: "X" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "X_as_it_came" data_type: TYPE_FP32 dims: [ 4 ] }
        output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
    """
    taken = {tensor for step in ensemble_graph.steps(model) for tensor in step.input_map.values()}
    remedy = (
        "let the step that takes it hand it on as an output of its own"
        if taken.intersection(model.outputs())
        else "let the first step have an output that another step takes"
    )
    refused = ensemble_pruning.refused_alone(model)
    for place, name in enumerate(model.outputs()):
        if name in refused:
            yield Fault(
                ("output", place),
                f"who asks ensemble {model.name} for {name} alone gets an error: unexpected deadlock",
                f"{remedy}, or have all clients ask for all outputs; where they do, write "
                f"`# check: ignore TRN732` into {model.name}'s config.pbtxt",
            )
