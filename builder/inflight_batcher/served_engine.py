"""The engine that a model of NVIDIA's backend names: its folder in the repository, and what is wrong with it.

Source: TensorRT-LLM 1.2, triton_backend/inflight_batcher_llm, and the folder that `trtllm-build` writes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from builder import engine_file, reading
from builder.inflight_batcher import engine_folder
from builder.layout import Layout, Model
from builder.rule import Fault
from builder.textproto import Key

PARAMETER = "gpt_model_path"
FIELD = ("parameters", Key(PARAMETER))


def folder(model: Model, config: Any, repository: Layout) -> Path | None:
    """Return the folder of the model's engine, None where it is none of this repository's."""
    if model.backend != "tensorrtllm" or PARAMETER not in config.parameters:
        return None
    return repository.find(config.parameters[PARAMETER].string_value)


def whole(model: Model, config: Any, repository: Layout) -> tuple[Path | None, Mapping[str, Any]]:
    """Return the folder of the model's engine and its config.json, None where TRN641 or TRN642 tell of it."""
    found = folder(model, config, repository)
    told, problem = described(model, found) if found else ({}, "")
    return (None, {}) if problem or engine_folder.misdescribed(told) else (found, told)


def described(model: Model, home: Path) -> tuple[Mapping[str, Any], str]:
    """Return an engine's config.json, and what is wrong with it."""
    path = home / "config.json"
    if not path.is_file():
        return {}, ""
    found, problem = reading.json_of(model.reachable(path))
    if not problem and not isinstance(found, dict):
        problem = "is no object"
    return {} if problem else found, problem


def unlike_its_ranks(model: Model, home: Path, told: Mapping[str, Any]) -> str:
    """Return which files of an engine are missing, empty or of another one, "" for none."""
    size = told["pretrained_config"]["mapping"].get("world_size", 1)
    wanted = {engine_file.RANK.format(rank) for rank in range(size)}
    there = {path.name: path.stat().st_size for path in model.reachable(home).glob("rank*.engine")}
    faults = (
        ("missing", wanted - set(there)),
        ("empty", {name for name in wanted if there.get(name) == 0}),
        ("of another engine", set(there) - wanted),
    )
    parts = [
        f"{', '.join(sorted(names))} {'is' if len(names) == 1 else 'are'} {what}"
        for what, names in faults
        if names
    ]
    return f"the engine was built for {size} rank{'s' * (size != 1)}: {'; '.join(parts)}" if parts else ""


def fault(model: Model, path: Path, message: str, remedy: str) -> Fault:
    """Return a fault in an engine's folder, or in a file of it."""
    return Fault((), message, remedy, file=place(model, path))


def place(model: Model, path: Path) -> str:
    """Return a path relative to the model's folder, which an engine may lie beside."""
    return os.path.relpath(path, model.path)
