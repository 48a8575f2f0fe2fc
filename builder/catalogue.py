"""Everything that can be named on the command line, read from the files that offer it."""

from __future__ import annotations

from typing import Any

from builder import house, recipe
from builder.planning import placement, versions
from builder.quantization import Quantization


def catalogue() -> dict[str, list[dict[str, Any]]]:
    """Return recipes, targets, contracts, quantizations, architectures, GPUs and containers as plain rows."""
    return {
        "recipes": [_recipe(name) for name in recipe.names()],
        "targets": [_target(name) for name in house.plugin_names("targets")],
        "contracts": [_contract(name) for name in house.plugin_names("contracts")],
        "quantizations": [_quantization(name) for name in house.plugin_names("quantizations")],
        "architectures": [{"name": name} for name in house.plugin_names("architectures")],
        "gpus": [
            {"name": card.name, "title": card.title, "memory": card.memory, "compute": card.compute}
            for card in placement.gpus().values()
        ],
        "containers": [
            {"name": tag, "triton": row.triton, "vllm": row.vllm, "tensorrtllm": row.tensorrtllm}
            for tag, row in versions.containers().items()
        ],
    }


def _recipe(name: str) -> dict[str, Any]:
    known = recipe.load(name)
    return {
        "name": name,
        "pipeline": known.pipeline,
        "parameters": known.dimensions().parameters,
        "checkpoint": known.checkpoint,
        "description": known.description,
    }


def _target(name: str) -> dict[str, Any]:
    target = house.plugin("targets", name, option="--target")
    return {"name": name, "title": target.TITLE, "spans_gpus": target.SPANS_GPUS}


def _contract(name: str) -> dict[str, Any]:
    contract = house.plugin("contracts", name, option="--contract")
    return {"name": name, "title": contract.TITLE, "targets": list(contract.TARGETS)}


def _quantization(name: str) -> dict[str, Any]:
    found: Quantization = house.plugin("quantizations", name, option="--quantize").QUANTIZATION
    serves = {target: sorted(support.devices) for target, support in found.targets.items()}
    return {"name": name, "title": found.title, "serves": serves}
