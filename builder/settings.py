"""Settings: what the Python models of a deployment are told of their source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from builder import facts, pooling, source
from builder.errors import ConversionError
from builder.facts import PREPROCESSOR
from builder.plan import Plan


def read(plan: Plan, folder: Path) -> dict[str, Any]:
    """Return the settings as JSON would hold them; each model is told those that its member names."""
    return _of_generation(folder) if plan.kind == "generation" else _of_single_pass(plan, folder)


def _of_generation(folder: Path) -> dict[str, Any]:
    """Return bos_id, end_ids and pad_id; generation_config.json wins over config.json."""
    both = {**_json(folder / "config.json"), **_json(folder / "generation_config.json")}
    end = both.get("eos_token_id")
    ends = end if isinstance(end, list) else [] if end is None else [end]
    return {"bos_id": both.get("bos_token_id"), "end_ids": ends, "pad_id": both.get("pad_token_id")}


def _of_single_pass(plan: Plan, folder: Path) -> dict[str, Any]:
    wanted = {name for model in plan.models for name in model.member.settings}
    found = pooling.read(folder) if folder.is_dir() else None
    config = _json(folder / "config.json")
    every: dict[str, Any] = {
        "max_tokens": plan.memory.context,
        "truncate": plan.truncates,
        "pad_id": config.get("pad_token_id") or 0,
        "lower_case": bool(found and found.lower_case),
        "labels": list(plan.facts.labels),
        "strategy": "simple",
        "preprocessor": facts.preprocessor(config, folder),
    }
    if "preprocessor" in wanted and not every["preprocessor"]:
        raise ConversionError(
            f"{folder} holds no {PREPROCESSOR}",
            expected="how images are resized and normalised",
            remedy="fetch it from the model's repository",
        )
    return {name: value for name, value in every.items() if name in wanted | {"labels", "max_tokens"}}


def _json(path: Path) -> dict[str, Any]:
    return source.read_json(path) if path.is_file() else {}
