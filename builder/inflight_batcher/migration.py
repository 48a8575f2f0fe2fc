"""What becomes of an imported repository that is built anew: a table, and the command.

As an engine it keeps NVIDIA's models, so that clients change nothing; without one they meet our front.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from builder import house
from builder.inflight_batcher import build_command, build_line, rewriting, tables
from builder.inflight_batcher.build_line import ENGINES
from builder.inflight_batcher.imported import ENGINE, MODELS, Imported

TARGETS = ("llmapi", ENGINES, "vllm")

_ASKED = (*MODELS[3:], MODELS[0])
"""The models that clients ask, the usual one first."""

_NEWEST = "1.2"
_REFUSED = frozenset(
    ("image_input", "image_bytes_input", "image_url_input", "video_bytes_input", "num_draft_tokens")
) | {"use_draft_logits"}
"""Inputs of tensorrt_llm_bls that ours refuses by name (backends/nvidia/streaming.py)."""


@dataclass(frozen=True)
class Row:
    """One thing of the repository: what it was, and what it is on the target, "" for nothing, and why."""

    what: str
    was: str
    becomes: str
    why: str = ""


@dataclass(frozen=True)
class Migration:
    """Parameters, inputs and outputs, row by row, and the command that builds it anew.

    `unknown` are the words of the command that stand for what nobody told, with what is to be put there.
    """

    target: str
    rows: tuple[Row, ...]
    command: tuple[str, ...]
    unknown: Mapping[str, str]


def migrate(imported: Imported, target: str, name: str, checkpoint: str | None) -> Migration:
    """Return how a repository is built for a target of TARGETS.

    Args:
        name: what the model is to be served as.
        checkpoint: what its engine was made of, None where nobody told.

    Raises UsageError for a name or a parameter that could not be built.
    """
    told = tables.parameters()
    mapping = places(target)
    rows, settings = [], dict[str, Any]()
    for parameter, value in imported.parameters.items():
        place = _known(mapping.get(parameter, "no: this target has nothing like it"), value, target)
        rows.append(_parameter(parameter, value, place))
        if place.startswith("engine."):
            kind = told[parameter]["kind"]
            _set(settings, place.removeprefix("engine."), _value(parameter, value, kind, target))
    rows += _policy(imported)
    rows += _kept(imported) if target == ENGINES else _tensors(imported, target)
    sets = [f"--set=engine.{key}={_spelled(value)}" for key, value in settings.items()]
    command = (*build_line.words(imported, target, name, checkpoint), *sets)
    return Migration(target, tuple(rows), command, build_line.unknown(imported, checkpoint))


def places(target: str) -> Mapping[str, str]:
    """Return what becomes of each parameter, as data/migrations.toml says it."""
    known = _read()[target]
    if target != ENGINES:
        return known
    backend = build_command.kinds()["backend"]
    told = {name: kind if _is_told(kind) else f"engine.{name}" for name, kind in backend.items()}
    return {**told, **known}


def _is_told(kind: str) -> bool:
    """Say whether what may be set of an engine is an option of its own, or nothing."""
    return kind.startswith(("no: ", "--"))


def _known(place: str, value: str, target: str) -> str:
    """Return a place, or why a value has none: an engine of a draft's heads is not built."""
    name = place.removeprefix("engine.")
    words = build_command.settable().get(name, "") if target == ENGINES and name != place else ""
    if "|" in words and value not in words.split("|"):
        return f"no: it can be {', '.join(words.split('|'))}"
    return place


def _parameter(name: str, value: str, place: str) -> Row:
    sign, _, reason = place.partition(": ")
    if sign == "no":
        return Row(name, value, "", reason)
    return Row(name, value, "as it is", reason) if sign == "=" else Row(name, value, place)


def _policy(imported: Imported) -> Iterator[Row]:
    """Yield what a model that answered once for all becomes: each one here answers in parts."""
    engine = imported.models.get(ENGINE)
    if engine is not None and not engine.model_transaction_policy.decoupled:
        why = "Triton refuses infer then: clients ask generate, generate_stream or gRPC streams"
        yield Row("decoupled", "false", "true", why)


def _kept(imported: Imported) -> Iterator[Row]:
    """Yield what clients send and get of every model that they ask: NVIDIA's own, under its own names."""
    refused = _read()["inputs"]
    for model in (name for name in _ASKED if name in imported.models):
        known = tables.tensors(model, _NEWEST)
        for side, ours in zip(("input", "output"), known, strict=True):
            names = {tensor.name for tensor in ours}
            for name in dict.fromkeys(tensor.name for tensor in getattr(imported.models[model], side)):
                later = next(
                    (one for one in names if tables.name_of(one, imported.version or _NEWEST) == name), ""
                )
                row = Row(f"{side} {name}", model, "as it is" if later == name else later)
                if side == "input" and name in _REFUSED:
                    row = Row(row.what, model, "", refused[name].removeprefix("no: "))
                elif not later:
                    row = Row(row.what, model, "", "it is none of NVIDIA's")
                yield row


def _tensors(imported: Imported, target: str) -> Iterator[Row]:
    """Yield what clients send and get, of the model that they ask."""
    front = house.load_file(house.folder("ensembles") / "text_generation.py").FRONT
    model = next((name for name in _ASKED if name in imported.models), None)
    if model is None:
        return
    for side, ours in (("input", front.inputs), ("output", front.outputs)):
        fewer = _read().get(f"{target}_{side}s", {})
        known, table = {tensor.name for tensor in ours} - set(fewer), {**_read()[f"{side}s"], **fewer}
        for name in dict.fromkeys(tensor.name for tensor in getattr(imported.models[model], side)):
            place = name if name in known else table.get(name, "no: our front has nothing like it")
            row = _parameter(f"{side} {name}", model, place)
            yield row if name not in known else Row(row.what, row.was, "as it is")


def _value(name: str, text: str, kind: str, target: str) -> Any:
    value = rewriting.read_value(name, text, kind)
    # the LLM API has the words of the backend in capitals
    return value.upper() if name == "batch_scheduler_policy" and target != ENGINES else value


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
