"""Where the tensors of somebody's repository are not those that NVIDIA's models have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from builder.data_types import spelled
from builder.ensemble import Tensor
from builder.inflight_batcher import tables
from builder.inflight_batcher.imported import ENGINE, MODELS
from builder.inflight_batcher.tables import Types

OLD_NAMES = "0.19"
"""The last minor version whose tensors have the older names."""

NEWEST = "1.2"


def version_of(models: Mapping[str, Any], served: str = "") -> str:
    """Return the version that calls the tensors so, "" where there are none to tell by.

    It is the one they are `served` by where that calls them alike, else the last of the older names or 1.2.
    """
    names = {tensor.name for config in models.values() for tensor in config.input}
    older, newer = tables.changed(OLD_NAMES)
    told = OLD_NAMES if names & older else NEWEST if names & newer else served or (NEWEST if names else "")
    return served if served and tables.changed(told) == tables.changed(served) else told


def of(models: Mapping[str, Any], version: str) -> Iterable[str]:
    """Yield where the tensors of NVIDIA's models are not those of their version."""
    types = _types_of(models)
    for name in MODELS:
        if name in models and version:
            told = tables.tensors(name, version, types)
            for side, expected in zip(("input", "output"), told, strict=True):
                yield from _compared(name, side, list(getattr(models[name], side)), expected)


def _types_of(models: Mapping[str, Any]) -> Types:
    """Return the types that the engine's model has for what its engine decides."""
    names = {"logits": "draft_logits", "features": "encoder_input_features"}
    names["prompt_table"] = "prompt_embedding_table"
    held = {one.name: spelled(one.data_type) for one in models[ENGINE].input} if ENGINE in models else {}
    found = {field: held[name].removeprefix("TYPE_") for field, name in names.items() if name in held}
    return Types(**found)


def _compared(model: str, side: str, found: list[Any], expected: tuple[Tensor, ...]) -> Iterable[str]:
    wanted = {one.name: (f"TYPE_{one.data_type}", list(one.dims)) for one in expected}
    held = {one.name: (spelled(one.data_type), list(one.dims)) for one in found}
    if len(held) < len(found):
        twice = sorted({one.name for one in found if [other.name for other in found].count(one.name) > 1})
        yield f"{model}: {side} {', '.join(twice)} stands there twice; once is written"
    for name in sorted({*wanted, *held}, key=[*wanted, *held].index):
        if name not in held:
            yield f"{model}: {side} {name} of NVIDIA's is not there"
        elif name not in wanted:
            yield f"{model}: {side} {name} is its own, not NVIDIA's"
        elif held[name] != wanted[name]:
            yield f"{model}: {side} {name} is {_shape(held[name])}, NVIDIA's is {_shape(wanted[name])}"


def _shape(told: tuple[str, list[int]]) -> str:
    return f"{told[0]} {told[1]}"
