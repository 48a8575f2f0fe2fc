"""What decides an artifact's bytes: it is kept in the cache by the digest of all that."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from builder import architecture, files, house, modules, quantization
from builder.calibration import texts
from builder.plan import Plan
from builder.planning import versions


def exporter_files(model_type: str) -> list[Path]:
    """Return the files of a family's exporter, none where the target brings its own converter."""
    exporter = architecture.load(model_type).EXPORTER
    home = Path(__file__).parent
    return modules.reached(home, [home / "exporting" / f"{exporter}.py"], "builder") if exporter else []


def tools(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of those distributions that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def identity(plan: Plan, digests: dict[str, str], draft: dict[str, str] | None = None) -> dict[str, Any]:
    """Return all that decides the artifact of a plan; `digests` are those of the checkpoint's files."""
    return {
        "source": digests,
        **({"draft": draft} if draft else {}),
        "target": plan.target,
        "quantize": plan.quantize,
        "device": plan.device,
        "arguments": list(plan.converter_arguments),
        "tools": tools(house.plugin("targets", plan.target, option="--target").TOOLS),
        **({"types": dict(plan.mixture.tensors)} if plan.mixture else {}),
        **_of_own_converter(plan),
        **_of_single_pass(plan),
    }


def _of_own_converter(plan: Plan) -> dict[str, Any]:
    """Return what decides the files that a converter of ours writes for each GPU: it is unnumbered too."""
    found = converter_files(plan)
    if not found:
        return {}
    return {
        "split": [plan.split.tensor, plan.split.pipeline, *_groups(plan.split.experts)],
        **({"hosts": plan.split.hosts} if plan.split.hosts > 1 else {}),
        "cache": plan.cache_type,
        "converter": _digest(found),
        **_of_texts(plan),
    }


def _groups(experts: int) -> list[int]:
    # nothing for one: artifacts keep their keys
    return [experts] if experts > 1 else []


def _of_texts(plan: Plan) -> dict[str, str | int]:
    """Return which texts scales are measured with, nothing where none are."""
    chosen = None if plan.stored else house.plugin("quantizations", plan.quantize, option="--quantize")
    if chosen is None or not chosen.QUANTIZATION.calibrated:
        return {}
    asked = {"samples": plan.calibration_samples, "length": plan.calibration_length}
    return {
        "calibration": _digest([Path(plan.calibration or texts.SHIPPED)]),
        # nothing for what is usual: artifacts keep their keys
        **{f"calibration_{what}": number for what, number in asked.items() if number},
    }


def converter_files(plan: Plan) -> list[Path]:
    """Return the files of a converter of ours: the quantization's, or one that writes a part for each GPU.

    Raises UsageError where it has none for the plan's quantization.
    """
    target = house.plugin("targets", plan.target, option="--target")
    found = "" if plan.stored else quantization.converter(plan.quantize, plan.target)
    if not found and not hasattr(target, "converter"):
        return []
    home = Path(__file__).parent
    file = home / "exporting" / f"{found or target.converter(plan.quantize)}.py"
    return modules.reached(home, [file], "builder")


def _digest(sources: Iterable[Path]) -> str:
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in sources)).hexdigest()


def _of_single_pass(plan: Plan) -> dict[str, Any]:
    """Return what decides the graph of a model in one pass besides; its exporter is ours and unnumbered."""
    if plan.kind == "generation":
        return {}
    return {
        "pipeline": plan.pipeline,
        "tokens": plan.memory.context,
        "image": list(plan.facts.image),
        "runtime": runtime(plan),
        # which reads the operators of the standard alone
        "for_tensorrt": "tensorrt" in plan.accelerators,
        "exporter": _digest(exporter_files(plan.model_type)),
    }


def key(identity: dict[str, Any]) -> str:
    """Return the sha256 of an identity in hexadecimal."""
    return hashlib.sha256(files.dump(identity).encode()).hexdigest()


def runtime(plan: Plan) -> str:
    """Return the ONNX Runtime of the planned container; beside the embedded server the installed one runs."""
    return "" if plan.container.tag == versions.DEFAULT_TAG else plan.container.onnxruntime
