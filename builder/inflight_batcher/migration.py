"""What becomes of an imported repository on a target that needs no engine: a table, and the command."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from builder import house
from builder.importers.inflight_batcher_llm import MODELS, Imported
from builder.inflight_batcher import rewriting, tables

TARGETS = ("llmapi", "vllm")
CHECKPOINT = "CHECKPOINT"
"""Stands in the command for what no engine knows: the checkpoint that it was made of."""

_ASKED = (*MODELS[3:], MODELS[0])
"""The models that clients ask, the usual one first."""


@dataclass(frozen=True)
class Row:
    """One thing of the repository: what it was, and what it is on the target, "" for nothing, and why."""

    what: str
    was: str
    becomes: str
    why: str = ""


@dataclass(frozen=True)
class Migration:
    """Parameters, inputs and outputs, row by row, and the command that builds it anew."""

    target: str
    rows: tuple[Row, ...]
    command: tuple[str, ...]


def migrate(imported: Imported, target: str, name: str, checkpoint: str | None) -> Migration:
    """Return how a repository is built for a target of TARGETS.

    Args:
        name: what the model is to be served as.
        checkpoint: what its engine was made of, None where nobody told.
    """
    told = tables.parameters()
    mapping = _read()[target]
    rows, settings = [], dict[str, Any]()
    for parameter, value in imported.parameters.items():
        place = mapping.get(parameter, "no: this target has nothing like it")
        rows.append(_parameter(parameter, value, place))
        if place.startswith("engine."):
            kind = told[parameter]["kind"]
            _set(settings, place.removeprefix("engine."), _value(parameter, value, kind))
    rows += _tensors(imported)
    sets = [f"--set=engine.{key}={_spelled(value)}" for key, value in settings.items()]
    command = ["builder", "build", name, "--checkpoint", checkpoint or CHECKPOINT, "--target", target]
    return Migration(target, tuple(rows), (*command, *_sizes(imported), *sets))


def _parameter(name: str, value: str, place: str) -> Row:
    sign, _, reason = place.partition(": ")
    if sign == "no":
        return Row(name, value, "", reason)
    return Row(name, value, "as it is", reason) if sign == "=" else Row(name, value, place)


def _sizes(imported: Imported) -> Iterator[str]:
    """Yield the options that say how large it is, as the engine was built."""
    engine = imported.engine
    if engine is None:
        return
    yield from ("--tp", str(engine.tensor_parallel))
    if engine.pipeline_parallel > 1:
        yield from ("--pp", str(engine.pipeline_parallel))
    if engine.max_seq_len:
        yield from ("--max-context", str(engine.max_seq_len))
    if engine.max_batch_size:
        yield from ("--concurrency", str(engine.max_batch_size))
    if engine.cache == "FP8":
        yield from ("--kv-cache", "fp8")


def _tensors(imported: Imported) -> Iterator[Row]:
    """Yield what clients send and get, of the model that they ask."""
    front = house.load_file(house.folder("ensembles") / "text_generation.py").FRONT
    model = next((name for name in _ASKED if name in imported.models), None)
    if model is None:
        return
    for side, ours in (("input", front.inputs), ("output", front.outputs)):
        known, table = {tensor.name for tensor in ours}, _read()[f"{side}s"]
        for name in dict.fromkeys(tensor.name for tensor in getattr(imported.models[model], side)):
            place = name if name in known else table.get(name, "no: our front has nothing like it")
            row = _parameter(f"{side} {name}", model, place)
            yield row if name not in known else Row(row.what, row.was, "as it is")


def _value(name: str, text: str, kind: str) -> Any:
    value = rewriting.read_value(name, text, kind)
    return value.upper() if name == "batch_scheduler_policy" else value


def _set(settings: dict[str, Any], place: str, value: Any) -> None:
    name, _, inner = place.partition(".")
    if inner:
        settings.setdefault(name, {})[inner] = value
    else:
        settings[name] = value


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@cache
def _read() -> Mapping[str, Mapping[str, str]]:
    path = house.folder("data") / "migrations.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))
