"""TRN40x: instance groups and the rate limiter. Triton: ValidateInstanceGroup in
core/src/model_config_utils.cc and core/src/rate_limiter.cc."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from builder.layout import Model
from builder.rule import Fault, Host, rule
from builder.textproto import Path


@rule("TRN401")
def gpus_of_a_model_kind(model: Model, config: Any) -> Iterator[Fault]:
    """An instance group of KIND_MODEL names no GPUs: the backend chooses them.

    Triton: instance group m_0 of model m has kind KIND_MODEL but specifies one or more GPUs
    Bad:
        instance_group { kind: KIND_MODEL gpus: [ 0 ] }
    Good:
        instance_group { kind: KIND_MODEL }
    """
    for path, name, group in _groups(model, config):
        if group.kind == group.KIND_MODEL and group.gpus:
            yield Fault(
                (*path, "gpus"),
                f"instance group {name} of model {model.name} has kind KIND_MODEL "
                "but specifies one or more GPUs",
                "remove gpus",
            )


@rule("TRN402")
def gpus_of_a_cpu_kind(model: Model, config: Any, host: Host) -> Iterator[Fault]:
    """An instance group of KIND_CPU names no GPUs; KIND_AUTO becomes KIND_CPU where there is no GPU.

    Triton: instance group m_0 of model m has kind KIND_CPU but specifies one or more GPUs
    Bad:
        instance_group { kind: KIND_CPU gpus: [ 0 ] }
    Good:
        instance_group { kind: KIND_CPU }
    """
    for path, name, group in _groups(model, config):
        on_cpu = group.kind == group.KIND_CPU or (group.kind == group.KIND_AUTO and host.gpus == 0)
        if on_cpu and group.gpus:
            yield Fault(
                (*path, "gpus"),
                f"instance group {name} of model {model.name} has kind KIND_CPU "
                "but specifies one or more GPUs",
                "remove gpus, or write kind: KIND_GPU for a server that has them",
            )


@rule("TRN403")
def gpus_that_are_not_there(model: Model, config: Any, host: Host) -> Iterator[Fault]:
    """An instance group's GPUs are those of the server (`--gpus N` says how many it has).

    Triton: instance group m_0 of model m has kind KIND_GPU but no GPUs are available
    Bad:
        instance_group { kind: KIND_GPU }
    Good:
        instance_group { kind: KIND_CPU }
    """
    if host.gpus is None:
        return
    for path, name, group in _groups(model, config):
        beyond = [gpu for gpu in group.gpus if not 0 <= gpu < host.gpus]
        problem = ""
        if group.kind == group.KIND_GPU and host.gpus == 0:
            problem = "has kind KIND_GPU but no GPUs are available"
        elif beyond and group.kind in (group.KIND_GPU, group.KIND_AUTO) and host.gpus:
            problem = f"specifies invalid or unsupported gpu id {beyond[0]}: the server has {host.gpus}"
        if problem:
            yield Fault(
                (*path, "gpus") if beyond else (*path, "kind"),
                f"instance group {name} of model {model.name} {problem}",
                "write kind: KIND_CPU" if host.gpus == 0 else f"name GPUs from 0 to {host.gpus - 1}",
            )


@rule("TRN404")
def profile_is_tensorrt(model: Model, config: Any) -> Iterator[Fault]:
    """Only TensorRT has optimisation profiles, which are numbers.

    Triton: instance group m_0 of model m and platform specifies profile field which is only supported for
        TensorRT models
    Bad:
        instance_group { kind: KIND_CPU profile: [ "0" ] }
    Good:
        instance_group { kind: KIND_CPU }
    """
    is_tensorrt = config.backend == "tensorrt" or config.platform == "tensorrt_plan"
    for path, name, group in _groups(model, config):
        wrong = [
            place for place, profile in enumerate(group.profile) if not is_tensorrt or not profile.isdigit()
        ]
        if wrong:
            problem = (
                f"specifies invalid profile {group.profile[wrong[0]]}"
                if is_tensorrt
                else f"and platform {config.platform}specifies profile field which is only supported for "
                "TensorRT models"
            )
            yield Fault(
                (*path, "profile", wrong[0]),
                f"instance group {name} of model {model.name} {problem}",
                "write a profile's number" if is_tensorrt else "remove profile",
            )


@rule("TRN405")
def secondary_devices_are_nvdla(model: Model, config: Any) -> Iterator[Fault]:
    """Secondary devices go with one GPU group of TensorRT."""
    for path, name, group in _groups(model, config):
        if (
            group.secondary_devices
            and config.backend not in ("tensorrt", "")
            and config.platform != "tensorrt_plan"
        ):
            yield Fault(
                (*path, "secondary_devices"),
                f"instance group {name} of model {model.name} names secondary devices, "
                "which only TensorRT uses",
                "remove secondary_devices",
                severity="warning",
            )


@rule("TRN406", "warning")
def resource_global_and_not(model: Model, config: Any) -> Iterator[Fault]:
    """A resource of the rate limiter is either global or the device's own, in all instance groups.

    A server started with --rate-limit=execution_count refuses it; without that it ignores all resources.

    Triton: Resource "R" is present as both global and device-specific resource in the model configuration.
    Bad:
        instance_group {
          kind: KIND_CPU
          rate_limiter { resources { name: "R" global: true count: 1 } }
        }
        instance_group {
          kind: KIND_CPU
          rate_limiter { resources { name: "R" count: 1 } }
        }
    Good:
        instance_group {
          kind: KIND_CPU
          rate_limiter { resources { name: "R" global: true count: 1 } }
        }
    """
    scope: dict[str, bool] = {}
    for path, _, group in _groups(model, config):
        for place, resource in enumerate(group.rate_limiter.resources):
            is_global = getattr(resource, "global")
            if scope.setdefault(resource.name, is_global) != is_global:
                yield Fault(
                    (*path, "rate_limiter", "resources", place),
                    f'Resource "{resource.name}" is present as both global and device-specific resource in '
                    "the model configuration.",
                    "write global: true for it in all groups, or in none",
                )


def _groups(model: Model, config: Any) -> Iterator[tuple[Path, str, Any]]:
    for place, group in enumerate(config.instance_group):
        yield ("instance_group", place), group.name or f"{model.name}_{place}", group
