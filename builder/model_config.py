"""config.pbtxt from a planned model, as Triton's own protobuf."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from builder import contract
from builder.ensemble import HOME, Step, Tensor
from builder.plan import Plan
from builder.planning.models import ModelPlan

LABELS = "labels.txt"
"""The file beside config.pbtxt that names the elements of a labelled output, one in a line."""


def text(
    model: ModelPlan, plan: Plan, version: int = 1, facts: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Return the text of one model's config.pbtxt; `facts` are parameters for clients.

    What may differ between versions is not here but in the version folder: on a reload Triton
    applies this file to every version. Where a backend must be told that folder's path, there is only one.
    """
    from google.protobuf import text_format

    comments = [f"# check: ignore {warning}\n" for warning in model.member.accepted]
    return "".join(comments) + str(text_format.MessageToString(message(model, plan, version, facts)))


def message(
    model: ModelPlan, plan: Plan, version: int = 1, facts: Mapping[str, str] = MappingProxyType({})
) -> Any:
    """Return the inference.ModelConfig of one model."""
    from tritonclient.grpc import model_config_pb2

    member = model.member
    config = model_config_pb2.ModelConfig(name=model.name, max_batch_size=member.max_batch_size)
    config.version_policy.latest.num_versions = 1
    for name, value in facts.items():
        config.parameters[name].string_value = value
    for tensor in member.inputs:
        added = config.input.add(
            **_tensor(tensor), optional=tensor.optional, allow_ragged_batch=tensor.ragged
        )
        if tensor.scalar:
            added.reshape.SetInParent()
        if tensor.longest_as:
            config.batch_input.add(
                kind="BATCH_MAX_ELEMENT_COUNT_AS_SHAPE",
                target_name=[tensor.longest_as],
                data_type="TYPE_INT32",
                source_input=[tensor.name],
            )
    for tensor in member.outputs:
        config.output.add(**_tensor(tensor), label_filename=LABELS if tensor.labelled else "")
    if member.steps:
        config.platform = "ensemble"
        for step in member.steps:
            _add_step(config, step, plan)
        return config
    config.backend = member.backend
    if member.backend != "python" and plan.kind != "generation":
        _add_options(config, plan)
    home = f"{contract.MODELS}/{model.name}/{version}"
    for name, value in member.parameters.items():
        config.parameters[name].string_value = value.replace(HOME, home)
    if member.decoupled:
        config.model_transaction_policy.decoupled = True
    if model.instances:
        config.instance_group.add(
            kind=model.instances.kind, count=model.instances.count, gpus=model.instances.gpus
        )
    if member.batching:
        config.dynamic_batching.preferred_batch_size.extend(member.batching.preferred)
        config.dynamic_batching.max_queue_delay_microseconds = member.batching.max_queue_delay_microseconds
        if member.batching.max_queue_size:
            config.dynamic_batching.default_queue_policy.max_queue_size = member.batching.max_queue_size
    return config


def _add_options(config: Any, plan: Plan) -> None:
    """Say what a backend of Triton's own is told: its parameters, and who computes parts of the graph."""
    for name, value in plan.engine_arguments.items():
        config.parameters[name].string_value = str(value)
    accelerators = config.optimization.execution_accelerators
    for name in plan.accelerators:
        if plan.device == "gpu":
            accelerators.gpu_execution_accelerator.add(name=name, parameters=_accelerated(name, plan))
        else:
            accelerators.cpu_execution_accelerator.add(name=name)


def _accelerated(name: str, plan: Plan) -> dict[str, str]:
    if name != "tensorrt":
        return {}
    precision = {"fp16": "FP16", "bf16": "BF16"}.get(plan.quantize, "FP32")
    return {"precision_mode": precision}


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "data_type": f"TYPE_{tensor.data_type}", "dims": tensor.dims}


def _add_step(config: Any, step: Step, plan: Plan) -> None:
    # without a version Triton takes 0, which no model has
    added = config.ensemble_scheduling.step.add(model_name=_name(step.member, plan), model_version=-1)
    added.input_map.update(step.inputs)
    added.output_map.update(step.outputs)


def _name(suffix: str, plan: Plan) -> str:
    """Return what the member of a suffix is called, which may have a name of its own."""
    named = (model.name for model in plan.models if model.member.suffix == suffix)
    return next(named, plan.name + suffix)
