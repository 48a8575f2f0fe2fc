"""Rules about the wires between the steps of an ensemble."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from builder.check import Finding
from builder.layout import Layout, Model


def step_model_unknown(model: Model, repository: Layout) -> Iterator[Finding]:
    """A step must run a model of the repository."""
    for step in _steps(model):
        if step.model_name not in repository.models:
            yield _finding(
                "step-model-unknown",
                model,
                f"ensemble {model.name} contains models that are not available or ambiguous: "
                f"{step.model_name}",
                f"name one of {', '.join(name for name in repository.models if name != model.name)}",
            )


def step_version_zero(model: Model, repository: Layout) -> Iterator[Finding]:
    """A step without model_version asks for version 0, protobuf's default."""
    for step in _steps(model):
        part = repository.models.get(step.model_name)
        if step.model_version == 0 and part is not None and 0 not in part.versions:
            yield _finding(
                "step-version-zero",
                model,
                f"ensemble '{model.name}' depends on '{step.model_name}' "
                "whose required version 0 is not loaded.",
                "write `model_version: -1` in the step",
            )


def step_tensor_unknown(model: Model, repository: Layout) -> Iterator[Finding]:
    """A step may map only tensors that its model has."""
    for step in _steps(model):
        part = repository.models.get(step.model_name)
        if part is None or part.config is None:
            continue
        for name, tensor in step.input_map.items():
            if name not in part.inputs():
                message = (
                    f"ensemble tensor {tensor} is mapping to non-existing input {name} in model {part.name}"
                )
                yield _unknown(model, message, part.inputs())
        for name, tensor in step.output_map.items():
            if name not in part.outputs():
                message = (
                    f"ensemble tensor {tensor} is mapped from non-existing output {name} in model {part.name}"
                )
                yield _unknown(model, message, part.outputs())


def step_input_unmapped(model: Model, repository: Layout) -> Iterator[Finding]:
    """Every input of a step's model that is not optional must be fed."""
    for step in _steps(model):
        part = repository.models.get(step.model_name)
        if part is None:
            continue
        for name, tensor in part.inputs().items():
            if name not in step.input_map and not tensor.optional:
                yield _finding(
                    "step-input-unmapped",
                    model,
                    f"in ensemble {model.name}, input {name} in model {part.name} is not mapped to any "
                    "ensemble tensors",
                    f"add it to the step's input_map, or mark it optional in {part.name}",
                )


def edge_data_type(model: Model, repository: Layout) -> Iterator[Finding]:
    """All ends of one ensemble tensor must have one data type."""
    if model.config is None:
        return
    first: dict[str, tuple[str, str]] = {}
    for tensor, data_type, owner in _ends(model, repository):
        seen_type, seen_owner = first.setdefault(tensor, (data_type, owner))
        if seen_type != data_type:
            yield _finding(
                "edge-data-type",
                model,
                f"in ensemble {model.name}, ensemble tensor {tensor}: inconsistent data type: {seen_type} is "
                f"inferred from model {seen_owner} while {data_type} is inferred from model {owner}",
                f"give {seen_owner} and {owner} the same data type for it",
            )


def ensemble_batch_too_large(model: Model, repository: Layout) -> Iterator[Finding]:
    """An ensemble may not take a larger batch than one of its steps."""
    for step in _steps(model):
        part = repository.models.get(step.model_name)
        if part is None or part.config is None:
            continue
        allowed, asked = part.config.max_batch_size, model.config.max_batch_size
        if asked > allowed:
            yield _finding(
                "ensemble-batch-too-large",
                model,
                f"ensemble {model.name} allows maximum batch size {asked}, but it contains model {part.name} "
                f"which only allows maximum batch size to be {allowed}",
                f"write max_batch_size: {allowed} in {model.name}",
            )


def _steps(model: Model) -> Iterator[Any]:
    if model.config is not None:
        yield from model.config.ensemble_scheduling.step


def _ends(model: Model, repository: Layout) -> Iterator[tuple[str, str, str]]:
    """Yield (ensemble tensor, data type, model) for every end of every wire."""
    from tritonclient.grpc import model_config_pb2

    spell = model_config_pb2.DataType.Name
    for tensor in (*model.config.input, *model.config.output) if list(_steps(model)) else ():
        yield tensor.name, spell(tensor.data_type), model.name
    for step in _steps(model):
        part = repository.models.get(step.model_name)
        if part is None:
            continue
        for wires, tensors in ((step.input_map, part.inputs()), (step.output_map, part.outputs())):
            for name, tensor in wires.items():
                if name in tensors:
                    yield tensor, spell(tensors[name].data_type), part.name


def _finding(code: str, model: Model, message: str, remedy: str) -> Finding:
    return Finding(code, "error", f"{model.name}/config.pbtxt", message, remedy)


def _unknown(model: Model, message: str, existing: Mapping[str, Any]) -> Finding:
    message = f"in ensemble {model.name}, {message}"
    return _finding("step-tensor-unknown", model, message, f"name one of {', '.join(existing)}")
