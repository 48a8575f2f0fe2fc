"""The model of backend tensorrtllm: an engine that `trtllm-build` made, with NVIDIA's tensors.

The backend is told everything as text and takes a parameter that it cannot read for a missing one, so what is
wrong is refused here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from builder.ensemble import HOME, Batching, Member
from builder.errors import UsageError
from builder.inflight_batcher import loading, tables
from builder.inflight_batcher.tables import Types
from builder.rule import closest

BACKEND = "tensorrtllm"
SUFFIX = "_engine"

NEEDED: Mapping[str, Any] = {
    "FORCE_CPU_ONLY_INPUT_TENSORS": "no",
    "gpt_model_type": "inflight_fused_batching",
    "gpt_model_path": HOME,
    # as the backend's own default has it, a greedy token is certain
    "normalize_log_probs": False,
    # the backend does not load without these three, said or not
    "tokenizer_dir": "",
    "guided_decoding_backend": "",
    "xgrammar_tokenizer_info_path": "",
}
"""What is written in any case; where no path is given, the engine is in the version folder."""

TOKENIZER_INFO = "tokenizer_info.json"
"""The file of the version folder that guided decoding reads."""


@dataclass(frozen=True)
class Settings:
    """What a plan decides of the engine's model.

    `parameters` are those of data/inflight_batcher.toml by name, as Python's values. `version` is
    TensorRT-LLM's. Requests wait in the executor, up to `max_queue_size` of them, 0 for any number.
    `ranks` are the engine's, 0 where that is not known. `guided` lets requests ask for guided decoding:
    TOKENIZER_INFO must lie in the version folder.
    """

    max_batch_size: int
    version: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    types: Types = field(default_factory=Types)
    decoupled: bool = True
    guided: bool = False
    max_queue_size: int = 0
    max_queue_delay_microseconds: int = 0
    instances: int = 1
    ranks: int = 0


def member(settings: Settings) -> Member:
    """Return the engine's model; raise UsageError for a parameter that the backend would not understand."""
    inputs, outputs = tables.tensors("tensorrt_llm", settings.version, settings.types)
    return Member(
        suffix=SUFFIX,
        backend=BACKEND,
        max_batch_size=settings.max_batch_size,
        batching=Batching(
            settings.max_queue_delay_microseconds, settings.max_queue_size, (settings.max_batch_size,)
        ),
        decoupled=settings.decoupled,
        instances=settings.instances,
        parameters=texts(settings),
        why="the backend takes every request at once and interleaves their steps",
        inputs=inputs,
        outputs=outputs,
    )


def texts(settings: Settings) -> dict[str, str]:
    """Return the parameters as config.pbtxt says them, in the order of the table."""
    guided = {
        "guided_decoding_backend": "xgrammar",
        "xgrammar_tokenizer_info_path": f"{HOME}/{TOKENIZER_INFO}",
    }
    given = {**NEEDED, **(guided if settings.guided else {}), **settings.parameters}
    known = tables.parameters()
    unknown = sorted(set(given) - set(known))
    if unknown:
        near = closest(unknown[0], known)
        raise UsageError(
            f"backend {BACKEND} has no parameter {unknown[0]!r}",
            expected=f"{near!r}?" if near else f"one of {', '.join(known)}",
        )
    _require_together(given)
    read = {name: _text(name, given[name], known[name]["kind"]) for name in known if name in given}
    loading.require_numbers(given)
    loading.require_devices(read.get("gpu_device_ids", ""), settings.ranks)
    return read


def _require_together(given: Mapping[str, Any]) -> None:
    """Raise UsageError for what says nothing without something else."""
    sizes = [f"lookahead_{name}" for name in ("window_size", "ngram_size", "verification_set_size")]
    if given.get("decoding_mode") == "lookahead" and not all(name in given for name in sizes):
        raise UsageError("decoding_mode is lookahead", expected=f"{', '.join(sizes)} beside it")
    if given["guided_decoding_backend"] and not given["xgrammar_tokenizer_info_path"]:
        raise UsageError(
            "guided_decoding_backend without xgrammar_tokenizer_info_path: the backend would ignore it",
            expected="both, or neither",
        )


def _text(name: str, value: Any, kind: str) -> str:
    """Return a value as the backend reads it (GetParameter of model_state.cc)."""
    words = tuple(kind.split("|"))
    fits = _KINDS[kind](value) if kind in _KINDS else value in ("", *words)
    if not fits or "${" in str(value):
        wanted = kind if kind in _KINDS else f"one of {', '.join(words)}"
        raise UsageError(f"parameter {name} is {value!r}", expected=wanted)
    if kind == "ints":
        return ",".join(map(str, value))
    return str(value).lower() if kind == "bool" else str(value)


def _is_integers(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(type(one) is int for one in value)


_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: type(value) is int,
    "float": lambda value: type(value) in (int, float),
    "string": lambda value: isinstance(value, str),
    "ints": _is_integers,
}
