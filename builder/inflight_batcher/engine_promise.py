"""An engine against what its model was built for: another one loads as well, and answers otherwise or less.

An engine's config.json has the `pretrained_config` of the checkpoint that it was made of, and the flags of
`trtllm-build` in `build_config` (TensorRT-LLM 1.2, tensorrt_llm/builder.py, EngineConfig and BuildConfig).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from builder import engine_file, reading
from builder.layout import Layout, Model

_NUMBERS = ("architecture", "dtype", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
_QUANTIZATION = ("quant_algo", "kv_cache_quant_algo")
_PLAIN = (None, "", "NO_QUANT")
"""What stands there for numbers that are not quantised."""

_DIVISION = ("tp_size", "pp_size")
_REFUSING, _SLOWING = ("max_seq_len", "max_input_len", "max_beam_width"), ("max_num_tokens",)
"""Limits: beyond the first requests are refused, beyond the others they take more steps."""


@dataclass(frozen=True)
class Promise:
    """What a model was built for; 0 and {} are not told.

    `limits` are flags of `trtllm-build`, `checkpoint` is what its config.json said (`told_of`).
    """

    ranks: int = 0
    hosts: int = 0
    limits: Mapping[str, int] = field(default_factory=dict)
    checkpoint: Mapping[str, Any] = field(default_factory=dict)


def told_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a checkpoint's config.json an engine of it must have; engine.json keeps that."""
    parts: tuple[tuple[str, tuple[str, ...]], ...] = (("quantization", _QUANTIZATION), ("mapping", _DIVISION))
    found = {name: config[name] for name in _NUMBERS if name in config}
    for part, names in parts:
        held = config.get(part)
        if isinstance(held, dict):
            found[part] = {name: held[name] for name in names if name in held}
    return found


def of(model: Model, folder: Path, repository: Layout) -> Promise:
    """Return what the model of an engine's folder was built for.

    By the manifest of its front, and by our record beside the engine, which lies with it.
    """
    record = engine_file.record(folder.parent) or engine_file.record(folder)
    planned = _compilation(model, repository) or record
    arguments = planned.get("arguments")
    words = arguments if isinstance(arguments, list) else []
    flags = {name: value for name, value in pairwise(words) if isinstance(name, str)}
    limits = {name: _number(flags.get(f"--{name}")) for name in (*_REFUSING, *_SLOWING)}
    return Promise(
        ranks=_number(planned.get("ranks")),
        hosts=_number(planned.get("hosts", 1)),
        limits={name: limit for name, limit in limits.items() if limit},
        checkpoint=_checkpoint(folder.parent, record),
    )


def broken(promise: Promise, told: Mapping[str, Any]) -> list[str]:
    """Return why an engine, by its config.json, cannot serve what was promised: both numbers of each."""
    mapping = told["pretrained_config"]["mapping"]
    ranks, hosts = mapping.get("world_size", 1), engine_file.hosts(mapping)
    found = []
    if promise.ranks and ranks != promise.ranks:
        found.append(f"it has {ranks} rank{'s' * (ranks != 1)}, not {promise.ranks}")
    elif promise.hosts and hosts != promise.hosts:
        found.append(f"its ranks are on {hosts} host{'s' * (hosts != 1)}, not on {promise.hosts}")
    return [*found, *_shorter(_REFUSING, promise, told), *_other_numbers(promise, told["pretrained_config"])]


def harmless(promise: Promise, told: Mapping[str, Any]) -> list[str]:
    """Return what is otherwise than planned, and serves the same."""
    mapping = told["pretrained_config"]["mapping"]
    planned = promise.checkpoint.get("mapping", {})
    divided = [
        f"{name} is {mapping[name]}, not {planned[name]}"
        for name in _DIVISION
        if name in mapping and name in planned and mapping[name] != planned[name]
    ]
    return [*divided, *_shorter(_SLOWING, promise, told)]


def _shorter(names: tuple[str, ...], promise: Promise, told: Mapping[str, Any]) -> Iterator[str]:
    for name in names:
        has, wanted = _number(told["build_config"].get(name)), promise.limits.get(name, 0)
        if 0 < has < wanted:
            yield f"{name} is {has}, not {wanted}"


def _other_numbers(promise: Promise, has: Mapping[str, Any]) -> Iterator[str]:
    for name in _NUMBERS:
        if name in has and name in promise.checkpoint and has[name] != promise.checkpoint[name]:
            yield f"{name} is {has[name]}, not {promise.checkpoint[name]}"
    there, wanted = has.get("quantization"), promise.checkpoint.get("quantization")
    if not isinstance(there, dict) or not isinstance(wanted, dict):
        return
    for name in _QUANTIZATION:
        if name in there and name in wanted and _algorithm(there[name]) != _algorithm(wanted[name]):
            yield f"{name} is {_algorithm(there[name])}, not {_algorithm(wanted[name])}"


def _algorithm(told: Any) -> Any:
    return "none" if told in _PLAIN else told


def _compilation(model: Model, repository: Layout) -> dict[str, Any]:
    """Return how the manifest of its front says that the engine of a model is built, {} where none does."""
    for front in repository.models.values():
        for version in reversed(front.served):
            file = front.file(str(version), "manifest.json")
            told = reading.json_of(file)[0] if file is not None else None
            plan = told.get("plan") if isinstance(told, dict) else None
            if isinstance(plan, dict) and model.name in _names(plan):
                found = plan.get("compilation")
                return found if isinstance(found, dict) else {}
    return {}


def _names(plan: Mapping[str, Any]) -> list[Any]:
    models = plan.get("models")
    return [one.get("name") for one in models if isinstance(one, dict)] if isinstance(models, list) else []


def _checkpoint(version: Path, record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the checkpoint's config.json said: by the record, or as it lies beside an engine."""
    told = record.get("config")
    if isinstance(told, dict):
        return told_of(told)
    file = version / str(record.get("source")) / "config.json"
    config = reading.json_of(file)[0] if record and file.is_file() else None
    return told_of(config) if isinstance(config, dict) else {}


def _number(told: Any) -> int:
    """Return a count, which flags have as text; 0 for what is none."""
    if isinstance(told, str) and told.isascii() and told.isdigit() and len(told) < 10:
        return int(told)
    return told if type(told) is int and told > 0 else 0
